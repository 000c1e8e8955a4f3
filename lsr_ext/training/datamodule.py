"""Training batches in the order of a sampler that remembers its place."""

from __future__ import annotations

from collections.abc import Callable

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from lsr_ext.data import GroupedBatchSampler, ResumableLoader


class BlockDataModule(lightning.LightningDataModule):
    """Training batches of blocks, in groups of one label or one by one.

    The training is one epoch of `steps` batches. The position in it is part of a checkpoint, so that a resumed
    run goes on with the batch that would have come next.

    Args:
        train_set: N items, dicts.
        labels: int64 (N,) or (N, L), those of the items, to draw them by; see `GroupedBatchSampler`. None: items
            are drawn at random, for one holds blocks of several labels.
        steps: batches to train on.
        batch_size: items per batch and device.
        group_size: blocks per group, which divides `batch_size`; None: the loss is of single blocks. With labels
            (N,) an item then has "group", its group's number in the batch; with labels (N, L) it has none, and the
            loss finds the groups by the labels.
        seed: of the order.
        collate: from a list of items to a batch.
    """

    def __init__(
        self,
        train_set: Dataset,
        labels: np.ndarray | None,
        steps: int,
        batch_size: int,
        group_size: int | None = None,
        seed: int = 0,
        collate: Callable[[list], dict] = default_collate,
    ) -> None:
        super().__init__()
        self.train_set = train_set
        self.labels = labels
        self.steps = steps
        self.batch_size = batch_size
        self.group_size = group_size
        self.seed = seed
        self.collate = collate

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
            batches=self.steps,
        )
        return ResumableLoader(
            self.train_set,
            sampler,
            with_groups=draws_groups and self.labels.ndim == 1,
            seed=self.seed,
            collate_fn=self.collate,
        )

    def random_images(self) -> torch.Tensor:
        """As many training images, of any label, as a batch holds, float32 (N, C, H, W)."""
        chosen = np.random.default_rng(self.seed).permutation(len(self.train_set))[: self.batch_size].tolist()
        fetch = getattr(self.train_set, "__getitems__", None)  # it leaves out what cannot be read
        items = fetch(chosen) if fetch else [self.train_set[index] for index in chosen]
        return torch.stack([item["image"] for item in items])
