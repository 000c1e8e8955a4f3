"""A loader's position, whatever reads ahead, and loops of others that drive the sampler."""

import itertools
import logging

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lsr_ext.data import GroupedBatchSampler, ResumableLoader

LABELS = np.arange(60) % 3


class NoisyItems(Dataset):
    """Items whose noise stands for augmentation."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return {"index": index, "noise": torch.rand(2)}


def make(workers=0, batches=None, **options):
    sampler = GroupedBatchSampler(LABELS, group_size=5, groups_per_batch=2, seed=1, batches=batches)
    return ResumableLoader(
        NoisyItems(),
        sampler,
        with_groups=True,
        seed=7,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
        **options,
    )


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a
    )


def test_epochs_differ_and_runs_are_alike():
    loader = make()
    first, second = list(loader), list(loader)
    assert not same(first, second)
    assert same(first + second, list(itertools.chain(*(list(other) for other in [make()] * 2))))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("done", [0, 2, 6])
def test_it_goes_on_where_it_stopped_with_any_number_of_workers(workers, done):
    whole = list(make())
    stopped = make(workers)
    seen = list(itertools.islice(iter(stopped), done))
    state = stopped.state_dict()
    assert state["batch"] == done
    resumed = make()
    resumed.load_state_dict(state)
    if done == len(whole):
        following = make()
        list(following)
        assert same(list(resumed), list(following))
    else:
        assert same(seen + list(resumed), whole)


def test_it_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(make())
    assert torch.equal(torch.rand(1), expected)


class Faulty(NoisyItems):
    def __getitem__(self, index):
        raise ValueError("the slide is damaged")


@pytest.mark.long
def test_an_error_of_a_worker_is_a_line():
    sampler = GroupedBatchSampler(LABELS, group_size=5, groups_per_batch=2)
    loader = ResumableLoader(Faulty(), sampler, num_workers=1, multiprocessing_context="forkserver")
    with pytest.raises(ValueError, match=r"^the slide is damaged$"):
        next(iter(loader))


def test_ranks_augment_differently():
    first, second = (
        next(
            iter(ResumableLoader(NoisyItems(), GroupedBatchSampler(LABELS, 5, 2, rank=rank, world_size=2), seed=7))
        )
        for rank in (0, 1)
    )
    assert not torch.equal(first["noise"], second["noise"])


class Recorder:
    """What Lightning's loop was given, by epoch."""

    def __init__(self, lightning):
        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.zeros(1))
                self.seen = {}

            def training_step(self, batch, batch_idx):
                self.seen.setdefault(self.current_epoch, []).append(tuple(batch.tolist()))
                return (self.weight * batch.float().mean()).sum()

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 1e-3)

        self.module = Module()
        self.trainer_of = lambda **options: lightning.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            **options,
        )

    def fit(self, checkpoint=None, **options):
        sampler = GroupedBatchSampler(LABELS, 5, 2)
        trainer = self.trainer_of(**options)
        trainer.fit(self.module, DataLoader(torch.arange(60), batch_sampler=sampler), ckpt_path=checkpoint)
        return trainer


@pytest.mark.filterwarnings("ignore")
def test_lightning_sees_another_order_in_every_epoch_and_the_same_when_resumed(tmp_path):
    lightning = pytest.importorskip("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    cut_short = Recorder(lightning)
    cut_short.fit(max_epochs=4, limit_train_batches=3)
    assert len({batch for batches in cut_short.module.seen.values() for batch in batches}) == 12
    whole, half, resumed = (Recorder(lightning) for _ in range(3))
    whole.fit(max_epochs=4)
    half.fit(max_epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    resumed.fit(tmp_path / "half.ckpt", max_epochs=4)
    assert half.module.seen | resumed.module.seen == whole.module.seen
    assert whole.module.seen[0] != whole.module.seen[2]


def test_a_batch_sampler_has_what_loops_ask_of_one():
    sampler = GroupedBatchSampler(LABELS, 5, 2)
    assert (sampler.batch_size, sampler.drop_last, sampler.sampler) == (10, False, sampler)
