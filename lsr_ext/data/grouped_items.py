"""Batches whose items know the group that they were drawn for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset, Sampler

from lsr_ext.data.sampler import GroupedBatchSampler

Drawn = tuple[int, int]  # the index of an item, and its group in the batch


class GroupNumbers(Sampler[list[Drawn]]):
    """The batches of a sampler, each index with the number of its group in the batch. For `GroupedItems`.

    Example:
        >>> import numpy as np
        >>> sampler = GroupedBatchSampler(np.array([0, 0, 1, 1]), group_size=2, groups_per_batch=2)
        >>> [group for _, group in next(iter(GroupNumbers(sampler)))]
        [0, 0, 1, 1]
    """

    def __init__(self, sampler: GroupedBatchSampler) -> None:
        self.sampler = sampler

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[Drawn]]:
        for batch in self.sampler:
            yield [(index, position // self.sampler.group_size) for position, index in enumerate(batch)]


class GroupedItems(Dataset[dict[str, Any]]):
    """The items of a dataset, with "group": the number of the group in its batch, for the loss.

    A group is an id and not a place in the batch, because a dataset may leave items out, as `CohortDataset` does
    with blocks that cannot be read; it then has `__getitems__`, and its items have "index".

    Args:
        dataset: map-style, of dicts.

    Example:
        >>> items = GroupedItems([{"image": "a"}, {"image": "b"}])
        >>> items.__getitems__([(1, 0), (0, 1)])
        [{'image': 'b', 'group': 0}, {'image': 'a', 'group': 1}]
    """

    def __init__(self, dataset: Dataset[dict[str, Any]]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, drawn: Drawn) -> dict[str, Any]:
        index, group = drawn
        return {**self.dataset[index], "group": group}

    def __getitems__(self, batch: Sequence[Drawn]) -> list[dict[str, Any]]:
        """The items of a batch that the dataset can give, in order."""
        if not hasattr(self.dataset, "__getitems__"):
            return [self[drawn] for drawn in batch]
        waiting = iter(batch)
        items = []
        for item in self.dataset.__getitems__([index for index, _ in batch]):
            group = next(group for index, group in waiting if index == item["index"])
            items.append({**item, "group": group})
        return items
