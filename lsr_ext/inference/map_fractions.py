"""Class fractions of a slide's prediction: of the slide, and of blocks."""

from __future__ import annotations

import numpy as np

from lsr_ext.inference.prediction import Prediction
from lsr_ext.inference.slide_store import NOT_PREDICTED

_READ_PX = 4096
_TOGETHER_PX = 2048


def class_areas_px(prediction: Prediction) -> np.ndarray:
    """The pixels of the label map in each class, int64 (L,); read in blocks of 4096 px."""
    ids = prediction.labels
    counts = np.zeros(256, np.int64)
    for top in range(0, ids.shape[0], _READ_PX):
        for left in range(0, ids.shape[1], _READ_PX):
            block = ids[top : top + _READ_PX, left : left + _READ_PX]
            counts += np.bincount(block.ravel(), minlength=256)
    return counts[: len(prediction.classes)]


def block_fractions(prediction: Prediction, rectangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean probability of each class over blocks, mu_k, where they are predicted.

    Args:
        prediction: of the slide.
        rectangles: (N, 4): x, y, width, height in level-0 pixels; their sides are rounded to pixels of the maps.

    Returns:
        float64 (N, L), NaN where nothing is predicted, and the predicted share of each block, float64 (N,).
    """
    fractions = np.full((len(rectangles), len(prediction.classes)), np.nan)
    shares = np.zeros(len(rectangles))
    x, y, width, height = np.asarray(rectangles, np.float64).T
    left, right = (np.rint(side / prediction.step[0]).astype(np.int64) for side in (x, x + width))
    top, bottom = (np.rint(side / prediction.step[1]).astype(np.int64) for side in (y, y + height))
    left, top = np.maximum(left, 0), np.maximum(top, 0)
    # Neighbours are read together: each chunk of the store is decoded as a whole.
    places = np.stack([top // _TOGETHER_PX, left // _TOGETHER_PX], axis=1)
    for place in np.unique(places, axis=0):
        members = np.flatnonzero((places == place).all(axis=1))
        corner = int(top[members].min()), int(left[members].min())
        size = int(bottom[members].max()) - corner[0], int(right[members].max()) - corner[1]
        place = tuple(slice(start, start + max(side, 0)) for start, side in zip(corner, size, strict=True))
        ids, probabilities = prediction.labels[place], prediction.probabilities[(slice(None), *place)]
        for k in members:
            rows = slice(top[k] - corner[0], bottom[k] - corner[0])
            columns = slice(left[k] - corner[1], right[k] - corner[1])
            known = ids[rows, columns] != NOT_PREDICTED
            pixels = (bottom[k] - top[k]) * (right[k] - left[k])
            if known.any():
                fractions[k] = probabilities[:, rows, columns][:, known].mean(axis=1) / 255
                shares[k] = known.sum() / pixels
    return fractions, shares
