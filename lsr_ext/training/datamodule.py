"""Grouped training batches of blocks, with or without pixel masks, and the held-out blocks."""

from __future__ import annotations

from dataclasses import replace

import lightning
import torch
from torch.utils.data import DataLoader

from lsr_ext.data import BlockCollection, BlockDataset, GroupedBatchSampler


class BlockDataModule(lightning.LightningDataModule):
    """Training batches from `GroupedBatchSampler`, and held-out blocks in order for prediction.

    The training is one epoch of `steps` batches. The position in it is part of a checkpoint, so that a resumed
    run goes on with the batch that would have come next.

    Args:
        train, test: the two sides of a split.
        steps: batches to train on.
        group_size: blocks per group; 1 where the loss knows no groups.
        groups_per_batch: groups per batch and device.
        with_masks: give pixel masks, for full supervision. Otherwise they are taken out of reach here.
        augment: flip and turn the training blocks.
        seed: of the order.

    Raises:
        ValueError: `with_masks`, and the training collection has none.
    """

    def __init__(
        self,
        train: BlockCollection,
        test: BlockCollection,
        steps: int,
        group_size: int,
        groups_per_batch: int,
        with_masks: bool = False,
        augment: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.train_set = BlockDataset(train if with_masks else replace(train, masks=None), with_masks, augment)
        self.test_set = BlockDataset(replace(test, masks=None))
        self.steps = steps
        self.group_size = group_size
        self.groups_per_batch = groups_per_batch
        self.seed = seed

    def train_dataloader(self) -> DataLoader:
        """Batches of groups."""
        sampler = GroupedBatchSampler(
            self.train_set.collection.labels,
            self.group_size,
            self.groups_per_batch,
            self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            batches=self.steps,
        )
        # Blocks are cut from memory, so workers would gain nothing. The loader's own generator keeps it from
        # drawing on the global one, whose state the module sets for every step.
        return _ResumableLoader(self.train_set, batch_sampler=sampler, generator=torch.Generator())

    def predict_dataloader(self) -> DataLoader:
        """The held-out blocks in order."""
        return DataLoader(self.test_set, batch_size=self.group_size * self.groups_per_batch)


class _ResumableLoader(DataLoader):
    """What Lightning asks of a loader to keep its position in a checkpoint."""

    def state_dict(self) -> dict[str, int]:
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batch_sampler.load_state_dict(state)
