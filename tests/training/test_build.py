import numpy as np
import pytest
import torch
from tiny_runs import write_masks_run

from lsr_ext.config import METHODS, OptimizerConfig, load_config
from lsr_ext.sources import prepare_data
from lsr_ext.training import train
from lsr_ext.training.build import build_batches, build_optimizer


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("RMSpop", {}, "expected the name of a class of torch.optim, got 'RMSpop'"),
        ("lr_scheduler", {}, "expected the name of a class of torch.optim, got 'lr_scheduler'"),
        ("SGD", {"rate": 1}, "SGD does not take .*rate"),
        ("SGD", {"lr": -1.0}, "SGD does not take .*Invalid learning rate"),
    ],
)
def test_a_faulty_optimizer_is_refused_by_its_key(name, params, message):
    with pytest.raises(ValueError, match=rf"training\.optimizer: {message}"):
        build_optimizer(OptimizerConfig(name=name, params=params))


def test_it_is_refused_before_the_data_are_read(tmp_path, monkeypatch):
    config = load_config(write_masks_run(tmp_path, training={"optimizer": {"name": "RMSpop"}}))
    monkeypatch.setattr("lsr_ext.training.run.prepare_data", lambda _: pytest.fail("the data were read"))
    with pytest.raises(ValueError, match=r"training\.optimizer"):
        train(config)


class _Trainer:
    global_rank, world_size = 0, 1


@pytest.mark.parametrize("name", ["intra", "intra+inter"])
def test_groups_of_one_label_carry_ids(tmp_path, name):
    config = load_config(write_masks_run(tmp_path))
    data = prepare_data(config)
    batches = build_batches(METHODS[name], data.train, config.training, config.seed, config.output)
    batches.trainer = _Trainer()
    for batch in batches.train_dataloader():
        if name == "intra":
            assert "group" not in batch
            continue
        assert torch.equal(batch["group"], torch.tensor([0, 0, 1, 1]))
        labels = batch["label"].numpy()
        assert all(len(np.unique(labels[batch["group"] == group])) == 1 for group in (0, 1))
