"""Helpers of all scores: ratios that are NaN if nothing was counted, and means that ignore NaN."""

from __future__ import annotations

import numpy as np


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, float64; NaN where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def f1_score(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """2 precision recall / (precision + recall): 0 where only one of them is defined, NaN where neither is."""
    nothing = np.isnan(precision) & np.isnan(recall)
    precision, recall = np.nan_to_num(precision), np.nan_to_num(recall)
    f1 = np.nan_to_num(ratio(2 * precision * recall, precision + recall))
    return np.where(nothing, np.nan, f1)


def macro(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Average a score over the classes that have a value.

    Args:
        values: float, any shape; NaN for classes without a value.
        axis: the axis of the classes.

    Returns:
        float64, without that axis; NaN where no class has a value.

    Example:
        >>> import numpy as np
        >>> float(macro(np.array([0.5, 1.0, np.nan])))
        0.75
    """
    values = np.asarray(values, dtype=np.float64)
    return ratio(np.nansum(values, axis), (~np.isnan(values)).sum(axis))
