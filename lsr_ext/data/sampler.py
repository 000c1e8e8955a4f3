"""Batches of groups of blocks that share a label, as the inter-instance losses need them."""

from __future__ import annotations

import itertools
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch.utils.data import Sampler


class GroupedBatchSampler(Sampler[list[int]]):
    """Yield batches of `groups_per_batch` groups, each of `group_size` blocks with one label.

    The paper trains on 2 groups of 10, or of 15. Use it as a `DataLoader`'s `batch_sampler`. Groups follow
    one another in a batch, so with labels (N,) the loss's `group` is
    `torch.arange(len(batch)) // group_size`. If it is None, groups with the same label in a batch are
    merged (a batch holds different labels as far as the numbers of blocks allow). With labels (N, L) a
    group shares the label of one class only: leave `group` None.

    A pass divides the shuffled blocks of each label into groups. So every block with a label occurs once,
    except for blocks that fill up a label's last group and groups that fill up the last batch. With labels
    (N, L) this is done for every (class, label), so a block occurs once for each class it has a label for.

    The order depends only on (`seed`, epoch). Each rank takes its own share of the groups of every step. Every
    iterator after the first starts the next epoch, also if the one before it was broken off; `set_epoch` selects
    an epoch. Lightning and accelerate call it through `sampler`, and read `batch_size` and `drop_last`. Use one
    iterator at a time, because the sampler stores the position. `ResumableLoader` is a loader that stores it too.

    Args:
        labels: integers, (N,) or (N, L); -1 = unknown, never drawn. Array or tensor.
        group_size: blocks per group.
        groups_per_batch: groups per batch and rank.
        seed: random seed of the shuffling.
        rank, world_size: index of this process and number of processes, for distributed training.
        batches: batches per epoch, over as many passes as needed; None: one pass.

    Raises:
        TypeError: labels that are not integers.
        ValueError: labels of another shape, or no known label; sizes below 1; `rank` not in [0, world_size).

    Warns:
        UserWarning: a label has fewer than `group_size` blocks; they are then repeated within a group.

    Example:
        >>> sampler = GroupedBatchSampler([0, 0, 0, 0, 1, 1, 1, 1], group_size=2, groups_per_batch=2)
        >>> [len(batch) for batch in sampler]
        [4, 4]
    """

    def __init__(
        self,
        labels: np.ndarray | torch.Tensor,
        group_size: int,
        groups_per_batch: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batches: int | None = None,
    ) -> None:
        sizes = {"group_size": group_size, "groups_per_batch": groups_per_batch, "world_size": world_size}
        for name, size in (sizes | {"batches": 1 if batches is None else batches}).items():
            if size < 1:
                raise ValueError(f"expected {name} of at least 1, got {size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"expected a rank in [0, {world_size}), got {rank}")
        self.group_size = group_size
        self.groups_per_batch = groups_per_batch
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._members = _members_by_label(labels)
        num_groups = sum(-(-len(members) // group_size) for members in self._members.values())
        self._batches = batches or -(-num_groups // (groups_per_batch * world_size))
        self._settings = sizes | {"seed": seed}
        self._epoch = 0
        self._position = 0
        self._resume_at = 0
        self._is_started = False
        if rank == 0:
            self._warn_of_small_labels()

    drop_last = False

    @property
    def batch_size(self) -> int:
        """Number of blocks per batch, on each rank."""
        return self.group_size * self.groups_per_batch

    @property
    def sampler(self) -> GroupedBatchSampler:
        """Itself: loops call `set_epoch` of a batch sampler's `sampler`."""
        return self

    @property
    def epoch(self) -> int:
        """The epoch of the last iterator, or the one that was chosen for the next."""
        return self._epoch

    @property
    def position(self) -> int:
        """The number of batches of this epoch that were yielded."""
        return self._position

    @property
    def start(self) -> int:
        """The position in its epoch at which the next iterator starts."""
        return self._resume_at

    @property
    def is_started(self) -> bool:
        """Whether an iterator has begun since the epoch was chosen or a state was loaded."""
        return self._is_started

    def __len__(self) -> int:
        """Number of batches per epoch, on each rank."""
        return self._batches

    def __iter__(self) -> Iterator[list[int]]:
        if self._is_started:
            self.set_epoch(self._epoch + 1)
        self._is_started = True
        self._position, self._resume_at = self._resume_at, 0
        first = self._position * self.world_size + self.rank
        end = self._batches * self.world_size
        for batch in itertools.islice(self._shares(), first, end, self.world_size):
            self._position += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to iterate over next; a position loaded for that same epoch is kept."""
        if epoch != self._epoch:
            self._resume_at = 0
        self._epoch, self._position, self._is_started = epoch, self._resume_at, False

    def state_dict(self, batches_done: int | None = None) -> dict[str, int]:
        """Return the position in the epoch.

        Args:
            batches_done: number of batches of this epoch that were used. None: the number that was yielded,
                which is larger if a `DataLoader` with workers reads ahead: `ResumableLoader` counts for you.
        """
        batch = self._position if batches_done is None else batches_done
        return self._settings | {"epoch": self._epoch, "batch": batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Make the next iterator continue exactly at the position of `state_dict`.

        Raises:
            ValueError: the state is from the middle of an epoch of a sampler with other settings.
        """
        epoch, batch = state["epoch"], state["batch"]
        if batch >= self._batches:
            epoch, batch = epoch + 1, 0
        for name, value in self._settings.items():
            if batch and (was := state.get(name)) != value:
                raise ValueError(f"cannot continue within an epoch: {name} was {was}, now it is {value}")
        self._epoch, self._position, self._resume_at, self._is_started = epoch, batch, batch, False

    def _shares(self) -> Iterator[list[int]]:
        """Yield the epoch's batches of all ranks: step 0 of ranks 0, 1, ..., then step 1, and so on forever."""
        for pass_number in itertools.count():
            rng = np.random.default_rng((self.seed, self._epoch, pass_number))
            groups = self._cut_groups(rng)
            # Whole steps only, so that all ranks do the same number.
            missing = -len(groups) % (self.groups_per_batch * self.world_size)
            while missing:
                spare = self._cut_groups(rng)
                chosen = rng.permutation(len(spare))[:missing]
                groups += [spare[i] for i in chosen]
                missing -= len(chosen)
            yield from _spread(groups, self.groups_per_batch, rng)

    def _cut_groups(self, rng: np.random.Generator) -> list[tuple[str, list[int]]]:
        return [
            (label, group)
            for label, members in self._members.items()
            for group in _cut_label(rng.permutation(members), self.group_size, rng)
        ]

    def _warn_of_small_labels(self) -> None:
        counts = [
            f"{label}: {len(members)}"
            for label, members in self._members.items()
            if len(members) < self.group_size
        ]
        if counts:
            warnings.warn(
                f"fewer blocks than group_size={self.group_size}, so groups repeat them: {'; '.join(counts)}",
                stacklevel=3,
            )


def _members_by_label(labels: np.ndarray | torch.Tensor) -> dict[str, np.ndarray]:
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"expected integer labels, got {labels.dtype}")
    if labels.ndim not in (1, 2):
        raise ValueError(f"expected labels (N,) or (N, L), got shape {labels.shape}")
    columns = {"": labels} if labels.ndim == 1 else {f"class {c} ": column for c, column in enumerate(labels.T)}
    members = {
        f"{prefix}label {label}": np.flatnonzero(column == label)
        for prefix, column in columns.items()
        for label in np.unique(column[column >= 0])
    }
    if not members:
        raise ValueError(f"expected at least one known label (0 or above), got none among {labels.size}")
    return members


def _cut_label(order: np.ndarray, group_size: int, rng: np.random.Generator) -> list[list[int]]:
    missing = -len(order) % group_size
    # Fill up the last group with blocks that it does not hold yet, if the label has such blocks.
    others = order[: len(order) // group_size * group_size]
    filling = rng.choice(others, missing, replace=False) if len(others) else rng.choice(order, missing)
    return np.concatenate([order, filling]).reshape(-1, group_size).tolist()


def _spread(
    groups: list[tuple[str, list[int]]], groups_per_batch: int, rng: np.random.Generator
) -> list[list[int]]:
    """Distribute groups over batches, with different labels in a batch as far as the counts allow."""
    waiting = defaultdict(list)
    for label, group in groups:
        waiting[label].append(group)
    batches = []
    for _ in range(len(groups) // groups_per_batch):
        batch = []
        while len(batch) < groups_per_batch:
            labels = [label for label in waiting if waiting[label]]
            rng.shuffle(labels)
            # The label with most groups first: otherwise its groups would end up in the same batches.
            labels.sort(key=lambda label: -len(waiting[label]))
            batch += [waiting[label].pop() for label in labels[: groups_per_batch - len(batch)]]
        rng.shuffle(batch)
        batches.append(list(itertools.chain.from_iterable(batch)))
    rng.shuffle(batches)
    return batches
