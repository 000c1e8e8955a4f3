"""What the labels alone say of the pixels: the low-resolution model."""

from __future__ import annotations

import numpy as np

from lsr_ext.inference.stitching import cut_blocks_of
from lsr_ext.sources.prepared import PreparedData


def low_resolution_maps(data: PreparedData) -> np.ndarray:
    """The best that labels alone say, uint8 (N, H, W): the source's own map, or one class for all of a block.

    Two classes and one label per block: the labels with the largest expected foreground are foreground, as many
    as bring the foreground of the training blocks closest to its expected area. (By the likeliest class a rare
    foreground would be nowhere.) Otherwise: the likeliest class.
    """
    if data.low_resolution is not None:
        maps = [data.low_resolution.get(image) for image in range(len(data.test.images))]
        classes = cut_blocks_of(data.test, maps)
        # Pixels whose label is unknown are of the commonest class.
        return np.where(classes < 0, expected_area(data).argmax(), classes).astype(np.uint8)
    if len(data.train.classes) == 2 and data.train.labels.ndim == 1:
        labels = data.test.labels
        is_foreground = _foreground_labels(data)[labels] & (labels >= 0)
        classes = np.where(is_foreground, data.foreground, 1 - data.foreground)
    else:
        classes = expected_fractions(data).argmax(1)
    first = data.test.blocks[0]
    shape = (len(classes), first.height, first.width)
    return np.broadcast_to(classes.astype(np.uint8)[:, None, None], shape)


def expected_fractions(data: PreparedData, labels: np.ndarray | None = None) -> np.ndarray:
    """Blocks' expected class fractions by their labels, (N, L); None: of the held-out blocks.

    Where a class's label is unknown, it has an equal share of what the known ones leave.
    """
    mean = data.distribution.mean.numpy()
    labels = data.test.labels if labels is None else labels
    labels = np.broadcast_to(labels.reshape(len(labels), -1), (len(labels), mean.shape[1]))
    known = labels >= 0
    fractions = np.where(known, mean[labels, np.arange(mean.shape[1])], 0.0)
    rest = np.clip(1 - fractions.sum(1, keepdims=True), 0, None)
    return np.where(known, fractions, rest / np.maximum((~known).sum(1, keepdims=True), 1))


def expected_area(data: PreparedData) -> np.ndarray:
    """The share of each class among all training pixels by their labels, (L,), of sum 1."""
    if data.patches is None:
        fractions = expected_fractions(data, data.train.labels[data.train.known]).mean(0)
    else:
        labels = np.concatenate([patch.labels[patch.labels >= 0] for patch in data.patches])
        fractions = data.distribution.mean.numpy()[labels].mean(0)
    return fractions / fractions.sum()


def _foreground_labels(data: PreparedData) -> np.ndarray:
    """Which labels mean foreground, bool (Z,)."""
    expected = data.distribution.mean[:, data.foreground].numpy()
    counts = np.bincount(data.train.labels[data.train.labels >= 0], minlength=len(expected))
    order = np.argsort(-expected, kind="stable")
    # Blocks that are foreground when the first 0, 1, ..., Z labels are.
    areas = np.concatenate([[0], np.cumsum(counts[order])])
    is_foreground = np.zeros(len(expected), dtype=bool)
    is_foreground[order[: np.abs(areas - counts @ expected).argmin()]] = True
    return is_foreground
