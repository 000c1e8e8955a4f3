"""Confidence intervals of scores over a set of images, by resampling the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from lsr_ext.metrics.overlap import OverlapScores
from lsr_ext.metrics.raters import DotScores
from lsr_ext.metrics.regions import CellScores

Scores = TypeVar("Scores", OverlapScores, DotScores, CellScores)


def bootstrap_interval(
    images: Sequence[Scores],
    statistic: Callable[[Scores], np.ndarray],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of a statistic of counts that are summed over images.

    Images are drawn with replacement, as many as there are, because pixels and cells of one image are not
    independent. With few images the interval is rough; with fewer than two images it is NaN.

    Args:
        images: the scores of each image, all of the same classes.
        statistic: from scores to an array, such as `lambda scores: scores.f1`. The counts it gets are (B, L), one
            row for each resample, so it must work along the last axis.
        confidence: the coverage of the interval, in (0, 1).
        resamples: number of resamples B.
        seed: random seed of the bootstrap.

    Returns:
        Lower and upper limits, float64, in the shape of the statistic of one set. Resamples in which the statistic
        is NaN, because a class is in none of their images, are not counted.

    Raises:
        ValueError: no images, images of different classes, or options out of range.

    Example:
        >>> import numpy as np
        >>> from lsr_ext.metrics import overlap_scores
        >>> truth = np.arange(16).reshape(4, 4) % 2
        >>> images = [overlap_scores(truth, truth, 2), overlap_scores(1 - truth, truth, 2)]
        >>> low, high = bootstrap_interval(images, lambda scores: scores.iou, seed=0)
        >>> low.tolist(), high.tolist()
        ([0.0, 0.0], [1.0, 1.0])
    """
    if not images:
        raise ValueError("expected the scores of at least one image, got none")
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(
            f"expected a confidence in (0, 1) and at least 1 resample, got {confidence} and {resamples}"
        )
    rng = np.random.default_rng(seed)
    share = np.full(len(images), 1 / len(images))
    drawn = rng.multinomial(len(images), share, size=resamples)
    values = np.asarray(statistic(_weighted_sum(images, drawn)), dtype=np.float64)
    known = ~np.isnan(values)
    if len(images) < 2:
        known[:] = False
    tail = (1 - confidence) / 2
    limits = np.full((2, *values.shape[1:]), np.nan)
    # A score without a value in any resample has no interval.
    usable = known.any(0)
    limits[:, usable] = np.nanquantile(values[:, usable], [tail, 1 - tail], axis=0)
    return limits[0], limits[1]


def _weighted_sum(images: Sequence[Scores], drawn: np.ndarray) -> Scores:
    """Return the sums of counts (B, L) if image i is taken drawn[:, i] times."""
    sums = {}
    for field in dataclasses.fields(images[0]):
        values = [getattr(image, field.name) for image in images]
        if isinstance(values[0], np.ndarray):
            sums[field.name] = drawn @ np.stack(values)
        elif any(value != values[0] for value in values):
            raise ValueError(f"expected images of the same {field.name}, got {values[0]} and others")
        else:
            sums[field.name] = values[0]
    return type(images[0])(**sums)
