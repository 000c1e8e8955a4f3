"""A loader that knows how many batches were used, so that a training can go on from there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lsr_ext.data.grouped_items import GroupedItems, GroupNumbers
from lsr_ext.data.sampler import GroupedBatchSampler
from lsr_ext.data.seeded_items import SeededBatches, SeededItems


class ResumableLoader(DataLoader):
    """A `DataLoader` over a `GroupedBatchSampler` whose position can be saved and loaded.

    The position counts the batches that the loop was given, not those that workers read ahead. Lightning saves and
    loads it with its checkpoints; in your own loop call `state_dict` and `load_state_dict`.

    Args:
        dataset: map-style, of dicts.
        sampler: draws its batches.
        with_groups: give each item "group", the number of its group in the batch: for labels (N,).
        seed: of the augmentation, which then depends on the batch's number alone: it is the same for any number of
            workers, and in a resumed run. None: it depends on torch's global generator, or on that of each worker.
        options: of `DataLoader`, such as `num_workers` and `collate_fn`.

    Example:
        >>> items = [{"label": index % 2} for index in range(8)]
        >>> def make():
        ...     sampler = GroupedBatchSampler([0, 1] * 4, group_size=2, groups_per_batch=1)
        ...     return ResumableLoader(items, sampler, with_groups=True)
        >>> stopped, resumed = make(), make()
        >>> batches = iter(stopped)
        >>> _ = next(batches), next(batches)
        >>> resumed.load_state_dict(stopped.state_dict())
        >>> len(list(resumed))
        2
    """

    def __init__(
        self,
        dataset: Dataset[dict[str, Any]],
        sampler: GroupedBatchSampler,
        *,
        with_groups: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        batches = sampler
        if with_groups:
            dataset, batches = GroupedItems(dataset), GroupNumbers(sampler)
        if seed is not None:
            dataset, batches = SeededItems(dataset), SeededBatches(sampler, seed, batches)
        # A generator of its own keeps it from drawing on the global one.
        options = {"generator": torch.Generator()} | options
        super().__init__(dataset, batch_sampler=batches, **options)
        self._draws = sampler
        self._used = 0

    def __iter__(self) -> Iterator[Any]:
        self._used = self._draws.start
        try:
            for batch in super().__iter__():
                self._used += 1
                yield batch
        except ValueError as error:
            raise _in_a_line(error) from error

    def state_dict(self) -> dict[str, int]:
        """The position: see `GroupedBatchSampler.state_dict`."""
        return self._draws.state_dict(self._used if self._draws.is_started else None)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Make the next iterator continue there: see `GroupedBatchSampler.load_state_dict`."""
        self._draws.load_state_dict(state)


def _in_a_line(error: ValueError) -> ValueError:
    """The error that a worker met, without the worker's traceback in its message."""
    text = str(error)
    if "Original Traceback" not in text:
        return error
    return type(error)(text.strip().rpartition("\n")[2].partition(": ")[2])
