"""Batches of groups of blocks that are known by numbers: near in fractions, of bins made on the fly, or random."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch

from lsr_ext.data.sampler import GroupedBatchSampler, _cut_label

Grouping = Literal["nearest", "bins", "random"]
_STRATA = 10  # groups of a batch come from different tenths of the fractions


class FractionBatchSampler(GroupedBatchSampler):
    """Yield batches of `groups_per_batch` groups of `group_size` blocks, for `lsr_ext.FractionLoss`.

    A group of that loss is any set of blocks, because it compares residuals. Its mean residual says whether the
    group's area is right, and its variance how unlike the errors of its blocks are. By `grouping` a group holds

    - "nearest": blocks of about equal fractions in all classes, as the paper's groups of one label do. An error
      that depends on the fraction, such as too much of a class wherever there is little of it, is common to the
      group. For numbers that are exact, and for several classes.
    - "bins": blocks of one bin of one class, as many in each bin, with limits that move with every pass. For a
      comparison with labels, and where one class matters: the other classes of a group may be anything.
    - "random": any blocks. Errors that depend on the fraction cancel in the mean and show in the variance. For
      rough numbers, and where many blocks have the same fraction, such as 0, so that near ones are all alike.

    Batches, epochs, ranks and resuming are those of `GroupedBatchSampler`: a pass has every block with a known
    fraction once, and more where a last group is filled up. With "bins" it has every block once for each class
    that is known of it and that bins are made of: those with several values. The loss's `group` is
    `torch.arange(len(batch)) // group_size`; see `GroupNumbers`.

    Args:
        fractions: (N, L) in [0, 1], NaN = unknown; for "nearest" an unknown fraction counts as its class's mean.
            Blocks of which nothing is known are never drawn. Array or tensor.
        group_size: blocks per group.
        groups_per_batch: groups per batch and rank.
        grouping: "nearest", "bins" or "random".
        bins: number of bins of a class.
        seed: random seed of the shuffling.
        rank, world_size: index of this process and number of processes, for distributed training.
        batches: batches per epoch, over as many passes as needed; None: one pass.

    Raises:
        ValueError: fractions of another shape or outside [0, 1], or none known; an unknown grouping; fewer than 2
            bins; sizes as for `GroupedBatchSampler`.

    Warns:
        UserWarning: there are fewer blocks than `group_size`; they are then repeated within a group.

    Example:
        >>> fractions = np.linspace(0, 1, 8)
        >>> table = np.stack([1 - fractions, fractions], 1)
        >>> sampler = FractionBatchSampler(table, group_size=2, groups_per_batch=2)
        >>> batch = next(iter(sampler))
        >>> [abs(fractions[batch[k]] - fractions[batch[k + 1]]).round(3).item() for k in (0, 2)]
        [0.143, 0.143]
    """

    def __init__(
        self,
        fractions: np.ndarray | torch.Tensor,
        group_size: int,
        groups_per_batch: int,
        grouping: Grouping = "nearest",
        *,
        bins: int = 10,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        batches: int | None = None,
    ) -> None:
        if grouping not in get_args(Grouping):
            raise ValueError(f"grouping must be one of {get_args(Grouping)}, got {grouping!r}")
        if bins < 2:
            raise ValueError(f"expected at least 2 bins, got {bins}")
        fractions = _checked(fractions)
        known = ~np.isnan(fractions).all(1)
        self.grouping = grouping
        self.bins = bins
        self._fractions = fractions
        self._known = np.flatnonzero(known)
        if grouping == "bins" and batches is None and min(group_size, groups_per_batch, world_size) > 0:
            counts = [np.count_nonzero(~np.isnan(fractions[:, index])) for index in self._binned_classes()]
            groups = sum(-(-count // group_size) for count in counts)
            batches = -(-groups // (groups_per_batch * world_size))
        labels = np.where(known, 0, -1)
        super().__init__(labels, group_size, groups_per_batch, seed, rank, world_size, batches)
        self._settings |= {"grouping": grouping, "bins": bins}

    def _cut_groups(self, rng: np.random.Generator) -> list[tuple[str, list[int]]]:
        if self.grouping == "random":
            return super()._cut_groups(rng)
        if self.grouping == "bins":
            return self._cut_bins(rng)
        return self._cut_nearest(rng)

    def _cut_nearest(self, rng: np.random.Generator) -> list[tuple[str, list[int]]]:
        values = self._fractions[self._known]
        means = np.nanmean(
            np.where(np.isnan(values).all(0), 0.0, values), axis=0
        )  # 0 where a class is never known
        places = rng.permutation(len(values))
        points = np.where(np.isnan(values), means, values)[places]
        groups = _split(points, np.arange(len(points)), self.group_size, rng)
        groups = [_fill(points, group, self.group_size, rng) for group in groups]
        found = self._known[places]
        return [(f"tenth {k * _STRATA // len(groups)}", found[group].tolist()) for k, group in enumerate(groups)]

    def _cut_bins(self, rng: np.random.Generator) -> list[tuple[str, list[int]]]:
        groups = []
        for index in self._binned_classes():
            values = self._fractions[:, index]
            members = np.flatnonzero(~np.isnan(values))
            # Ties are broken at random, or the same of many equal blocks would always be in the same bin.
            order = members[np.lexsort((rng.random(len(members)), values[members]))]
            for number, part in enumerate(np.split(order, self._limits(len(order), rng))):
                cut = _cut_label(rng.permutation(part), self.group_size, rng)
                groups += [(f"class {index} bin {number}", group) for group in cut]
        return groups

    def _limits(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Where a class's blocks, in order of their fraction, are cut into bins of whole groups."""
        width = max(count / self.bins, self.group_size)
        moved = (np.arange(1, int(count / width)) + rng.uniform(-0.5, 0.5)) * width
        limits = np.unique(np.rint(moved / self.group_size).astype(np.int64)) * self.group_size
        return limits[(limits > 0) & (limits < count)]

    def _binned_classes(self) -> np.ndarray:
        """The classes that bins are made of: those with several values; of two that sum to 1 the second."""
        unknown = np.isnan(self._fractions)
        low, high = np.where(unknown, 2, self._fractions).min(0), np.where(unknown, -1, self._fractions).max(0)
        varied = np.flatnonzero(high > low)
        if not len(varied):
            return np.flatnonzero(~unknown.all(0))[-1:]
        sums = self._fractions[~unknown.all(1)].sum(1)  # NaN, which is close to nothing, where one is unknown
        mirrored = len(low) == 2 and bool(np.isclose(sums, 1).all())
        return varied[-1:] if mirrored else varied


def _split(points: np.ndarray, members: np.ndarray, group_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divide members into groups of near points: in two along the widest class, at random around the middle."""
    finished, waiting = [], [members]
    while waiting:
        part = waiting.pop()
        if len(part) <= group_size:
            finished.append(part)
            continue
        widest = np.ptp(points[part], axis=0).argmax()
        part = part[np.argsort(points[part, widest], kind="stable")]
        groups = -(-len(part) // group_size)
        cut = int(rng.integers(max(1, groups // 3), max(2, groups - groups // 3))) * group_size
        waiting += [part[cut:], part[:cut]]
    return finished


def _fill(points: np.ndarray, group: np.ndarray, group_size: int, rng: np.random.Generator) -> np.ndarray:
    """The group with the nearest other members, up to its size."""
    missing = group_size - len(group)
    if not missing:
        return group
    others = np.setdiff1d(np.arange(len(points)), group)
    if len(others) < missing:
        return np.concatenate([group, rng.choice(group, missing)])
    distances = np.square(points[others] - points[group].mean(0)).sum(1)
    return np.concatenate([group, others[np.argsort(distances, kind="stable")[:missing]]])


def _checked(fractions: np.ndarray | torch.Tensor) -> np.ndarray:
    fractions = np.asarray(fractions, dtype=np.float64)
    if fractions.ndim != 2:
        raise ValueError(f"expected fractions (N, L), got shape {fractions.shape}")
    outside = np.argwhere((fractions < 0) | (fractions > 1))
    if len(outside):
        block, index = outside[0]
        raise ValueError(
            f"fractions must lie in [0, 1] or be NaN, got {fractions[block, index]:g} for block {block}, "
            f"class {index}"
        )
    if np.isnan(fractions).all():
        raise ValueError(f"expected at least one known fraction, got none among {fractions.size}")
    return fractions
