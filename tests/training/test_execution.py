"""Precision, compilation, accumulation, workers and loggers."""

import copy
import csv

import pytest
import torch
from tiny_runs import write_masks_run

from lsr_ext.config import TrainingConfig, load_config
from lsr_ext.inference import load_model
from lsr_ext.report.curves import read_curves
from lsr_ext.training import SegmentationModule, train
from lsr_ext.training.execution import check_execution, choose_workers, describe_execution


def weights(config, method="intra+inter"):
    return torch.load(config.output / method / "last.ckpt", weights_only=True)["state_dict"]


def furthest(one, other):
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def run(tmp_path, name="run", **training):
    config = load_config(write_masks_run(tmp_path, training=training), {"output": tmp_path / name})
    train(config)
    return config


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_a_lower_precision_trains_near_the_full_one(tmp_path, precision):
    full, lower = run(tmp_path), run(tmp_path, "lower", precision=precision)
    dtype = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert {tensor.dtype for tensor in weights(lower).values()} == {dtype}
    assert 0 < furthest(weights(full), weights(lower)) < 0.1
    model = load_model(lower.output / "intra+inter/model")
    assert next(model.network.parameters()).dtype == torch.float32


@pytest.mark.long
def test_a_compiled_network_trains_alike(tmp_path):
    plain, compiled = run(tmp_path), run(tmp_path, "compiled", compile=True)
    assert weights(plain).keys() == weights(compiled).keys()
    assert furthest(weights(plain), weights(compiled)) < 1e-2


def test_the_layout_of_memory_changes_rounding_alone(tmp_path):
    assert furthest(weights(run(tmp_path)), weights(run(tmp_path, "other", channels_last=False))) < 1e-2


def test_half_precision_on_the_cpu_is_refused():
    with pytest.raises(ValueError, match="16-mixed needs a GPU; on the CPU use bf16-mixed or 32"):
        check_execution(TrainingConfig(precision="16-mixed", accelerator="cpu"))


def test_precision_32_may_be_a_number():
    assert TrainingConfig(precision=32).precision == "32"
    with pytest.raises(ValueError, match="precision"):
        TrainingConfig(precision=64)


def test_execution_may_change_when_a_run_goes_on_but_not_precision(tmp_path):
    run(tmp_path)
    run(tmp_path, devices=1, compile=True, channels_last=False, workers=1, checkpoint_every_steps=3)
    with pytest.raises(ValueError, match=r"training\.precision was 32, now it is bf16-mixed"):
        run(tmp_path, precision="bf16-mixed")


def test_gradients_are_not_accumulated_over_groups(tmp_path):
    with pytest.raises(ValueError, match=r"accumulate_batches: 'intra\+inter' compares the blocks of a group"):
        load_config(write_masks_run(tmp_path, training={"accumulate_batches": 2}))


def test_accumulated_gradients_of_intra_are_those_of_one_large_batch(tmp_path, monkeypatch):
    settings = {"optimizer": {"name": "SGD", "params": {"lr": 0.1}}, "gradient_clip_norm": None, "steps": 1}
    settings |= {"ungrouped_batch_size": 2, "accumulate_batches": 2, "schedule": "constant"}
    seen, start = [], {}
    original = SegmentationModule.training_step

    def step(self, batch, batch_idx):
        seen.append(batch)
        start.setdefault("module", copy.deepcopy(self).to("cpu"))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationModule, "training_step", step)
    config = load_config(write_masks_run(tmp_path, methods=["intra"], training=settings))
    train(config)
    assert [len(batch["image"]) for batch in seen] == [2, 2]
    module = start["module"]
    images, labels = (torch.cat([batch[name] for batch in seen]) for name in ("image", "label"))
    module.zero_grad()
    module.loss(module(images), labels).backward()
    for name, parameter in module.network.named_parameters():
        expected = parameter.detach() - 0.1 * parameter.grad
        assert torch.allclose(weights(config, "intra")[f"network.{name}"], expected, atol=1e-5)


def test_workers_are_those_of_the_machine_where_blocks_are_read_from_files(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert choose_workers(TrainingConfig(), reads_files=True) == 7
    assert choose_workers(TrainingConfig(devices=2), reads_files=True) == 3
    assert choose_workers(TrainingConfig(), reads_files=False) == 0
    assert choose_workers(TrainingConfig(workers=5), reads_files=False) == 5
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert choose_workers(TrainingConfig(), reads_files=True) == 1


def test_what_was_chosen_is_said():
    line = describe_execution(TrainingConfig(accelerator="cpu", precision="bf16-mixed"), workers=2)
    assert line == "on cpu, precision bf16-mixed, channels last, blocks read by 2 workers"


def test_curves_are_written_by_the_named_loggers(tmp_path):
    config = run(tmp_path, loggers=["tensorboard", "csv"])
    folder = config.output / "intra+inter"
    with next(folder.glob("curves/*/metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    events = read_curves(folder)["loss"]
    assert [int(row["step"]) for row in rows] == events[:, 0].tolist()
    assert [float(row["loss"]) for row in rows] == pytest.approx(events[:, 1].tolist(), rel=1e-5)


def test_curves_of_csv_alone_are_read_too(tmp_path):
    both = run(tmp_path, "both", loggers=["tensorboard", "csv"])
    table = run(tmp_path, "table", loggers=["csv"])
    expected, found = (read_curves(config.output / "intra+inter") for config in (both, table))
    assert expected.keys() == found.keys()
    for name, curve in expected.items():
        assert found[name] == pytest.approx(curve, rel=1e-5)


def test_a_logger_that_is_not_installed_names_its_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"'wandb' needs .*pip install lsr_ext\[wandb\]"):
        check_execution(TrainingConfig(loggers=["wandb"]))
