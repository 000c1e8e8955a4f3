"""Training batches in the order of a sampler that remembers its place, and held-out blocks."""

from __future__ import annotations

from collections.abc import Callable

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lsr_ext.data import GroupedBatchSampler


class BlockDataModule(lightning.LightningDataModule):
    """Training batches of groups of blocks with one label.

    The training is one epoch of `steps` batches. The position in it is part of a checkpoint, so that a resumed
    run goes on with the batch that would have come next.

    Args:
        train_set: items of blocks.
        labels: (N,) or (N, L), those of the items, to group them by; see `GroupedBatchSampler`.
        steps: batches to train on.
        group_size: blocks per group; 1 where the loss knows no groups.
        groups_per_batch: groups per batch and device.
        seed: of the order.
        collate: from a list of items to a batch; None: torch's default.
    """

    def __init__(
        self,
        train_set: Dataset,
        labels: np.ndarray,
        steps: int,
        group_size: int,
        groups_per_batch: int,
        seed: int = 0,
        collate: Callable | None = None,
    ) -> None:
        super().__init__()
        self.train_set = train_set
        self.labels = labels
        self.steps = steps
        self.group_size = group_size
        self.groups_per_batch = groups_per_batch
        self.seed = seed
        self.collate = collate

    def train_dataloader(self) -> DataLoader:
        """Batches of groups."""
        sampler = GroupedBatchSampler(
            self.labels,
            self.group_size,
            self.groups_per_batch,
            self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            batches=self.steps,
        )
        # Blocks are cut from memory, so workers would gain nothing. The loader's own generator keeps it from
        # drawing on the global one, whose state the module sets for every step.
        return _ResumableLoader(
            self.train_set, batch_sampler=sampler, collate_fn=self.collate, generator=torch.Generator()
        )


class _ResumableLoader(DataLoader):
    """What Lightning asks of a loader to keep its position in a checkpoint."""

    def state_dict(self) -> dict[str, int]:
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.load_state_dict(state)
