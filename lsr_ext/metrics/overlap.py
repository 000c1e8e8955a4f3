"""Overlap of predicted and true classes: IoU and Dice, pooled over images."""

from dataclasses import dataclass

import numpy as np

from lsr_ext.metrics.counts import ratio


@dataclass(frozen=True)
class OverlapScores:
    """Pixel counts per class, int64 (L,): true positives, false positives and false negatives.

    `a + b` adds the counts, so scores can be pooled over the pixels of many images. A class absent from both
    prediction and truth has NaN for its scores.

    Example:
        >>> truth = np.array([[0, 0], [1, 1]])
        >>> (overlap_scores(truth, truth, 2) + overlap_scores(1 - truth, truth, 2)).iou.round(3).tolist()
        [0.333, 0.333]
    """

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray

    @property
    def iou(self) -> np.ndarray:
        """tp / (tp + fp + fn), float64 (L,) in [0, 1] or NaN."""
        return ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def dice(self) -> np.ndarray:
        """2 tp / (2 tp + fp + fn), float64 (L,) in [0, 1] or NaN."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    def pooled(self) -> "OverlapScores":
        """The counts of all classes together, as one class."""
        return OverlapScores(*(count.sum(-1, keepdims=True) for count in (self.tp, self.fp, self.fn)))

    def __add__(self, other: "OverlapScores") -> "OverlapScores":
        if len(self.tp) != len(other.tp):
            raise ValueError(f"expected scores of {len(self.tp)} classes, got {len(other.tp)}")
        return OverlapScores(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)


def overlap_scores(
    pred: np.ndarray, truth: np.ndarray, num_classes: int, valid: np.ndarray | None = None
) -> OverlapScores:
    """Compare two maps of class ids pixel by pixel.

    Args:
        pred: integer (H, W) or (N, H, W), ids in [0, num_classes).
        truth: of the same shape.
        num_classes: L.
        valid: bool, of the same shape: the pixels that are counted; ids of other pixels are ignored.
            None: all pixels.

    Raises:
        TypeError: the maps are not integer, or `valid` is not bool.
        ValueError: shapes that differ or have another number of dimensions, or ids out of range.

    Example:
        >>> scores = overlap_scores(np.array([[0, 1], [1, 1]]), np.array([[0, 0], [1, 1]]), num_classes=2)
        >>> scores.iou.round(3).tolist(), scores.dice.round(3).tolist()
        ([0.5, 0.667], [0.667, 0.8])
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.ndim not in (2, 3) or pred.shape != truth.shape:
        raise ValueError(f"expected two maps (H, W) or (N, H, W) of one shape, got {pred.shape} and {truth.shape}")
    if valid is None:
        valid = np.ones(truth.shape, dtype=bool)
    if valid.shape != truth.shape:
        raise ValueError(f"expected valid of shape {truth.shape}, got {valid.shape}")
    if valid.dtype != bool:
        raise TypeError(f"expected a bool valid, got {valid.dtype}")
    pred, truth = _ids(pred, valid, num_classes, "pred"), _ids(truth, valid, num_classes, "truth")
    pairs = np.bincount(truth * num_classes + pred, minlength=num_classes**2)
    confusion = pairs.reshape(num_classes, num_classes)
    tp = confusion.diagonal()
    return OverlapScores(tp, confusion.sum(axis=0) - tp, confusion.sum(axis=1) - tp)


def _ids(label_map: np.ndarray, valid: np.ndarray, num_classes: int, name: str) -> np.ndarray:
    if label_map.dtype.kind not in "iub":
        raise TypeError(f"expected integer class ids in {name}, got {label_map.dtype}")
    ids = label_map[valid].astype(np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
        raise ValueError(f"expected ids in [0, {num_classes}) in {name}, got {ids.min()} to {ids.max()}")
    return ids
