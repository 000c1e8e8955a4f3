"""Training batches in the order of a sampler that remembers its place, and batches to validate on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from lsr_ext.data import GroupedBatchSampler, ResumableLoader


class Feeding(NamedTuple):
    """How batches are read.

    Attributes:
        workers: processes that read ahead; 0: this process reads.
        prefetch_batches: batches that each of them reads ahead.
        pin_memory: copy batches to memory that a GPU can read from directly.
    """

    workers: int = 0
    prefetch_batches: int = 2
    pin_memory: bool = False

    def options(self) -> dict[str, object]:
        """What a `DataLoader` is given."""
        if not self.workers:
            return {"pin_memory": self.pin_memory}
        return {
            "num_workers": self.workers,
            "prefetch_factor": self.prefetch_batches,
            "pin_memory": self.pin_memory,
            "persistent_workers": True,
            # Not forked, because the threads of this process, which decode slides, would be missing.
            "multiprocessing_context": "forkserver" if sys.platform == "linux" else "spawn",
        }


class ValidationBlocks(NamedTuple):
    """The blocks to validate on: a dataset, and the items of each batch."""

    dataset: Dataset
    batches: list[list[int]]


class BlockDataModule(lightning.LightningDataModule):
    """Training batches of blocks, in groups of one label or one by one.

    The training is one epoch of `batches` batches. The position in it is part of a checkpoint, so that a resumed
    run goes on with the batch that would have come next. Augmentation depends on the seed and the batch's number
    alone, so batches are the same for any number of workers.

    Args:
        train_set: N items, dicts.
        labels: int64 (N,) or (N, L), those of the items, to draw them by; see `GroupedBatchSampler`. None: items
            are drawn at random, for one holds blocks of several labels.
        batches: batches to train on.
        batch_size: items per batch and device.
        group_size: blocks per group, which divides `batch_size`; None: the loss is of single blocks. With labels
            (N,) an item then has "group", its group's number in the batch; with labels (N, L) it has none, and the
            loss finds the groups by the labels.
        seed: of the order.
        collate: from a list of items to a batch.
        feeding: the processes that read.
        validation: None: there is no validation.
    """

    def __init__(
        self,
        train_set: Dataset,
        labels: np.ndarray | None,
        batches: int,
        batch_size: int,
        group_size: int | None = None,
        seed: int = 0,
        collate: Callable[[list], dict] = default_collate,
        feeding: Feeding = Feeding(),  # noqa: B008
        validation: ValidationBlocks | None = None,
    ) -> None:
        super().__init__()
        self.train_set = train_set
        self.labels = labels
        self.batches = batches
        self.batch_size = batch_size
        self.group_size = group_size
        self.seed = seed
        self.collate = collate
        self.feeding = feeding
        self.validation = validation

    def train_dataloader(self) -> DataLoader:
        """The batches of the whole training."""
        draws_groups = self.group_size is not None and self.labels is not None
        group_size = self.group_size if draws_groups else 1
        sampler = GroupedBatchSampler(
            np.zeros(len(self.train_set), np.int64) if self.labels is None else self.labels,
            group_size,
            self.batch_size // group_size,
            self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            batches=self.batches,
        )
        return ResumableLoader(
            self.train_set,
            sampler,
            with_groups=draws_groups and self.labels.ndim == 1,
            seed=self.seed,
            collate_fn=self.collate,
            **self.feeding.options(),
        )

    def val_dataloader(self) -> DataLoader | list:
        """The batches to validate on; none where there is no validation."""
        if self.validation is None:
            return []
        return DataLoader(
            self.validation.dataset,
            batch_sampler=self.validation.batches,
            collate_fn=self.collate,
            generator=torch.Generator(),
            # One worker, because it stays, with its open slides, while the others train.
            **self.feeding._replace(workers=min(1, self.feeding.workers)).options(),
        )

    def random_images(self) -> torch.Tensor:
        """As many training images, of any label, as a batch holds, float32 (N, C, H, W)."""
        chosen = np.random.default_rng(self.seed).permutation(len(self.train_set))[: self.batch_size].tolist()
        fetch = getattr(self.train_set, "__getitems__", None)  # it leaves out what cannot be read
        items = fetch(chosen) if fetch else [self.train_set[index] for index in chosen]
        return torch.stack([item["image"] for item in items])
