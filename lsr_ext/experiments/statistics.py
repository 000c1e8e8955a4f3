"""Statistics of a few seeds: mean and spread, paired differences with an interval, the share of a gap closed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (divisor n - 1) of n values; None if there are too few."""

    n: int
    mean: float | None
    std: float | None


@dataclass(frozen=True)
class PairedDifference:
    """The mean of n differences by seed, and limits of its t interval; None if there are too few seeds."""

    n: int
    mean: float | None
    low: float | None
    high: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Compute mean and spread of the scores of the seeds."""
    if not values:
        return Summary(0, None, None)
    return Summary(len(values), float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def paired_difference(
    first: Mapping[int, float], second: Mapping[int, float], confidence: float = CONFIDENCE
) -> PairedDifference:
    """Compute first minus second over the seeds that both have, with Student's t interval over seeds.

    A seed determines the initial weights, the order, the label noise and, unless `data.split_seed` fixes it, the
    split of the images. Both rows share it, so the difficulty of a seed cancels. If all differences are equal, the
    interval has no width.

    Args:
        first, second: seed -> score.
        confidence: the coverage of the interval, in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence in (0, 1), got {confidence}")
    difference = np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])
    n = len(difference)
    if n == 0:
        return PairedDifference(0, None, None, None)
    mean = float(difference.mean())
    if n == 1:
        return PairedDifference(1, mean, None, None)
    half_width = float(stats.t.ppf((1 + confidence) / 2, n - 1) * difference.std(ddof=1) / math.sqrt(n))
    return PairedDifference(n, mean, mean - half_width, mean + half_width)


def gap_closed(values: Mapping[int, float], low: Mapping[int, float], full: Mapping[int, float]) -> float | None:
    """Compute (mean(values) - mean(low)) / (mean(full) - mean(low)) over the seeds that all three have.

    1 is full supervision, 0 the low-resolution model; negative values are worse than that. It is a ratio of means,
    because the ratio of a single seed with a narrow gap is unreliable. None without a common seed, or if full is
    not above low.
    """
    seeds = sorted(values.keys() & low.keys() & full.keys())
    if not seeds:
        return None
    value, bottom, top = (float(np.mean([scores[seed] for seed in seeds])) for scores in (values, low, full))
    return (value - bottom) / (top - bottom) if top > bottom else None
