"""Edges of the areas of classes in a label map."""

from __future__ import annotations

import numpy as np


def inner_edges(ids: np.ndarray, line_px: int) -> np.ndarray:
    """Where a pixel of another class lies within `line_px` rows or columns.

    Args:
        ids: integer (H, W), with a margin of `line_px` on each side, so that lines do not end at a picture's edge.
        line_px: width of the line on each side of an edge.

    Returns:
        bool (H - 2 line_px, W - 2 line_px).

    Example:
        >>> inner_edges(np.array([[0, 0, 0, 1, 1]] * 3), 1).tolist()
        [[False, True, True]]
    """
    height, width = (side - 2 * line_px for side in ids.shape)
    inner = ids[line_px : line_px + height, line_px : line_px + width]
    is_edge = np.zeros(inner.shape, bool)
    for start in range(2 * line_px + 1):
        is_edge |= ids[start : start + height, line_px : line_px + width] != inner
        is_edge |= ids[line_px : line_px + height, start : start + width] != inner
    return is_edge
