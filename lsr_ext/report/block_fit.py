"""How predicted fractions of labelled blocks fit the blocks' labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lsr_ext.data.cohort.manifest import Manifest
from lsr_ext.distributions import CountDistribution
from lsr_ext.inference.map_fractions import block_fractions
from lsr_ext.inference.prediction import Prediction

_LEAST_SHARE = 0.5


@dataclass(frozen=True)
class BlockFit:
    """N blocks of a slide that are predicted, and what their labels expect of them.

    Attributes:
        rectangles: int64 (N, 4): x, y, width, height in level-0 pixels.
        labels: int64 (N, L), one label per class; -1: unknown.
        fractions: float64 (N, L), predicted.
        expected, std: float64 (N, L), of the labels' distributions; NaN: unknown.
        left_out: number of blocks of which less than half is predicted.
    """

    rectangles: np.ndarray
    labels: np.ndarray
    fractions: np.ndarray
    expected: np.ndarray
    std: np.ndarray
    left_out: int

    @property
    def excess(self) -> np.ndarray:
        """How far the fraction lies outside the expectation plus or minus its std, the most of all classes: (N,).

        0: inside, or of an unknown label.
        """
        if not len(self.fractions):
            return np.zeros(0)
        distance = np.abs(self.fractions - self.expected) - self.std
        return np.nan_to_num(distance, nan=0.0).max(axis=1).clip(0)

    @property
    def error(self) -> float:
        """Mean over blocks and classes of the distance between predicted and expected fraction; NaN: no block."""
        distance = np.abs(self.fractions - self.expected)
        return float(np.nanmean(distance)) if np.isfinite(distance).any() else float("nan")

    def worst(self, most: int) -> np.ndarray:
        """The blocks that lie outside their expectation, those farthest outside first: int64, at most `most`."""
        order = np.argsort(-self.excess, kind="stable")
        return order[self.excess[order] > 0][:most]


def fit_blocks(
    prediction: Prediction, manifest: Manifest, rows: np.ndarray, distribution: CountDistribution
) -> BlockFit:
    """Compare the blocks of a slide with their labels.

    Args:
        prediction: of the slide.
        manifest: of the cohort.
        rows: the slide's blocks in it.
        distribution: mean and std of each class's fraction given the label; see `check_names`.
    """
    rectangles = manifest.rectangles[rows]
    fractions, shares = block_fractions(prediction, rectangles)
    is_known = shares >= _LEAST_SHARE
    labels = labels_by_class(manifest, distribution)[rows][is_known]
    places = [prediction.classes.index(name) for name in distribution.classes]
    classes = np.arange(len(places))
    mean, std = distribution.mean.numpy(), distribution.std.numpy()
    unknown = labels < 0
    expected, spread = (np.where(unknown, np.nan, values[labels, classes]) for values in (mean, std))
    return BlockFit(
        rectangles[is_known], labels, fractions[is_known][:, places], expected, spread, int((~is_known).sum())
    )


def labels_by_class(manifest: Manifest, distribution: CountDistribution) -> np.ndarray:
    """The labels of a manifest as int64 (N, L): one for each class of the distribution; -1: unknown."""
    labels = manifest.labels
    if not manifest.classes:
        return np.repeat(labels[:, None], len(distribution.classes), axis=1)
    found = np.full((len(labels), len(distribution.classes)), -1)
    for column, name in enumerate(manifest.classes):
        found[:, distribution.classes.index(name)] = labels[:, column]
    return found


def check_names(manifest: Manifest, distribution: CountDistribution, classes: list[str]) -> None:
    """Refuse a distribution that is not of these labels and classes.

    Raises:
        ValueError: its labels are not the manifest's, in order, or its classes not those of the prediction.
    """
    if tuple(distribution.labels) != manifest.label_names:
        raise ValueError(
            f"expected a distribution of the labels {', '.join(manifest.label_names)}, as in the manifest, got "
            f"{', '.join(distribution.labels)}"
        )
    missing = (set(distribution.classes) | set(manifest.classes)) - set(classes)
    if missing:
        raise ValueError(
            f"expected the classes of the prediction, {', '.join(classes)}; it has no {', '.join(sorted(missing))}"
        )
    if not set(manifest.classes) <= set(distribution.classes):
        raise ValueError(
            f"expected a distribution of the classes {', '.join(manifest.classes)}, as in the manifest, got "
            f"{', '.join(distribution.classes)}"
        )
