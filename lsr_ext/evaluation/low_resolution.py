"""The low-resolution model: maps from the labels alone, without a network."""

from __future__ import annotations

import numpy as np

from lsr_ext.data import expected_fractions
from lsr_ext.inference.stitching import cut_blocks_of
from lsr_ext.sources import TrainingData


def low_resolution_maps(data: TrainingData) -> np.ndarray:
    """The best map by labels alone, uint8 (N, H, W): the source's map, or one class for all of a block.

    Two classes and one label per block: the labels with the largest expected foreground are foreground, as many
    as bring the foreground of the training blocks closest to its expected area. (By the likeliest class a rare
    foreground would be nowhere.) Otherwise: the likeliest class.
    """
    if data.low_resolution is not None:
        maps = [data.low_resolution.get(image) for image in range(len(data.test.images))]
        classes = cut_blocks_of(data.test, maps)
        # Pixels whose label is unknown are of the commonest class.
        return np.where(classes < 0, data.expected_area.argmax(), classes).astype(np.uint8)
    if len(data.test.classes) == 2 and data.test.labels.ndim == 1:
        labels = data.test.labels
        is_foreground = _foreground_labels(data)[labels] & (labels >= 0)
        classes = np.where(is_foreground, data.foreground, 1 - data.foreground)
    else:
        classes = expected_fractions(data.test.labels, data.distribution.mean.numpy()).argmax(1)
    first = data.test.blocks[0]
    shape = (len(classes), first.height, first.width)
    return np.broadcast_to(classes.astype(np.uint8)[:, None, None], shape)


def _foreground_labels(data: TrainingData) -> np.ndarray:
    """Which labels mean foreground, bool (Z,)."""
    expected = data.distribution.mean[:, data.foreground].numpy()
    counts = np.bincount(data.train.labels[data.train.labels >= 0], minlength=len(expected))
    order = np.argsort(-expected, kind="stable")
    # Blocks that are foreground when the first 0, 1, ..., Z labels are.
    areas = np.concatenate([[0], np.cumsum(counts[order])])
    is_foreground = np.zeros(len(expected), dtype=bool)
    is_foreground[order[: np.abs(areas - counts @ expected).argmin()]] = True
    return is_foreground
