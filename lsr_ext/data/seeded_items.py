"""Batches whose random augmentation depends on their number alone, and not on the process that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, Sampler

from lsr_ext.data.sampler import GroupedBatchSampler

_SEEDS_APART = 1_000_003  # so that two seeds share no batch's seed


class SeededBatch(NamedTuple):
    """What a sampler drew for a batch, and the seed of the batch's augmentation."""

    seed: int
    drawn: Sequence[Any]


class SeededBatches(Sampler[SeededBatch]):
    """The batches of a sampler, each with a seed of its own. For `SeededItems`.

    Args:
        sampler: knows the epoch and the position in it.
        seed: of the augmentation.
        batches: the sampler itself, or what wraps it, such as `GroupNumbers`.

    Example:
        >>> sampler = GroupedBatchSampler([0, 0, 1, 1], group_size=2, groups_per_batch=1)
        >>> [batch.seed for batch in SeededBatches(sampler, seed=0, batches=sampler)]
        [0, 1]
    """

    def __init__(self, sampler: GroupedBatchSampler, seed: int, batches: Sampler[Sequence[Any]]) -> None:
        self.sampler = sampler
        self.seed = seed
        self.batches = batches

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[SeededBatch]:
        for drawn in self.batches:
            number = self.sampler.epoch * len(self.sampler) + self.sampler.position - 1
            own = number * self.sampler.world_size + self.sampler.rank
            yield SeededBatch(batch_seed(self.seed, own), drawn)


class SeededItems(Dataset[dict[str, Any]]):
    """The items of a dataset, augmented by the random numbers of their batch's seed.

    So a batch is the same in any worker process, and when a resumed run reads it again. The state of torch's
    generator is left as it was.

    Args:
        dataset: map-style; it draws from torch's global generator.

    Example:
        >>> class Noise(Dataset):
        ...     def __getitem__(self, index):
        ...         return {"index": index, "noise": torch.rand(1).item()}
        >>> items = SeededItems(Noise())
        >>> items.__getitems__(SeededBatch(5, [2])) == items.__getitems__(SeededBatch(5, [2]))
        True
    """

    def __init__(self, dataset: Dataset[dict[str, Any]]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, batch: SeededBatch) -> list[dict[str, Any]]:
        """The items of a batch that the dataset can give, in order."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(batch.seed)
            if hasattr(self.dataset, "__getitems__"):
                return self.dataset.__getitems__(batch.drawn)
            return [self.dataset[drawn] for drawn in batch.drawn]


def batch_seed(seed: int, number: int) -> int:
    """The seed of a batch's random draws, by the run's seed and the batch's number from 0."""
    return seed * _SEEDS_APART + number
