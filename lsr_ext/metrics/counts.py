"""What the scores share: ratios that are NaN where nothing was counted, and means over what was."""

from __future__ import annotations

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, float64; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def f1_score(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """2 precision recall / (precision + recall): 0 where only one of them is defined, NaN where neither is."""
    nothing = np.isnan(precision) & np.isnan(recall)
    precision, recall = np.nan_to_num(precision), np.nan_to_num(recall)
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(nothing, np.nan, f1)


def macro(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean over classes, of those that have a value; NaN where none has."""
    values = np.asarray(values, dtype=np.float64)
    return ratio(np.nansum(values, axis), (~np.isnan(values)).sum(axis))
