"""The windows of a large image: where they lie, and how their predictions are blended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Rectangle(NamedTuple):
    """A rectangle of the image, in its pixels."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True)
class WindowGrid:
    """Overlapping windows over an image of any size; the last of a row or column ends at the image's edge.

    Args:
        height, width: of the image.
        window_px: the side of a window; along a shorter side of the image windows are as short.
        overlap: the share of a window that the next one has too, in [0, 1).

    Example:
        >>> WindowGrid(100, 64, 64, 0.5).starts(0)
        [0, 32, 36]
    """

    height: int
    width: int
    window_px: int
    overlap: float

    @property
    def window(self) -> tuple[int, int]:
        """(height, width) of every window."""
        return min(self.window_px, self.height), min(self.window_px, self.width)

    def starts(self, axis: int) -> list[int]:
        """Where windows begin along the rows (axis 0) or the columns (axis 1)."""
        size, window = (self.height, self.width)[axis], self.window[axis]
        stride = max(int(window * (1 - self.overlap)), 1)
        count = -(-(size - window) // stride) + 1
        return [min(index * stride, size - window) for index in range(count)]

    def windows_over(self, rectangle: Rectangle) -> list[Rectangle]:
        """The windows that overlap a rectangle, row by row."""
        height, width = self.window
        tops = [t for t in self.starts(0) if t < rectangle.top + rectangle.height and t + height > rectangle.top]
        lefts = [s for s in self.starts(1) if s < rectangle.left + rectangle.width and s + width > rectangle.left]
        return [Rectangle(top, left, height, width) for top in tops for left in lefts]


def blend_windows(
    rectangle: Rectangle,
    windows: list[Rectangle],
    predict: Callable[[list[Rectangle]], Tensor],
    batch_size: int,
) -> tuple[Tensor, Tensor]:
    """Blend the predictions of windows over a rectangle; the middle of a window counts most.

    Windows are added in their order, so the result depends neither on what else is predicted nor on the batches.

    Args:
        rectangle: where the result is wanted.
        windows: those that overlap it, all of one size.
        predict: some windows -> their predictions, float32 (n, L, h, w).
        batch_size: windows at once.

    Returns:
        The predictions, float32 (L, height, width), 0 where there is no window, and the sums of the weights,
        (height, width), 0 there too.

    Raises:
        ValueError: predictions that are not finite.
    """
    # Takes seconds, and what only reads predictions needs none.
    from monai.data.utils import compute_importance_map

    weights = compute_importance_map(windows[0][2:], mode="gaussian")
    total = weight = None
    for first in range(0, len(windows), batch_size):
        batch = windows[first : first + batch_size]
        for window, found in zip(batch, predict(batch), strict=True):
            if total is None:
                total = found.new_zeros((len(found), rectangle.height, rectangle.width))
                weight = found.new_zeros((rectangle.height, rectangle.width))
                weights = weights.to(found)
            place, inside = _overlap(rectangle, window)
            total[(slice(None), *place)].addcmul_(found[(slice(None), *inside)], weights[inside])
            weight[place] += weights[inside]
    if not all(extreme.isfinite() for extreme in total.aminmax()):  # NaN is both; ten times as fast as `isfinite`
        raise ValueError("the network's predictions are not finite: its training diverged")
    return total.div_(weight.clamp(min=torch.finfo(weight.dtype).tiny)), weight  # 0 / tiny, where no window is


def _overlap(rectangle: Rectangle, window: Rectangle) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a window lies in a rectangle, and the part of the window that does."""
    place, inside = [], []
    for axis in range(2):
        start, size = rectangle[axis], rectangle[axis + 2]
        low = max(window[axis], start)
        high = min(window[axis] + window[axis + 2], start + size)
        place.append(slice(low - start, high - start))
        inside.append(slice(low - window[axis], high - window[axis]))
    return tuple(place), tuple(inside)


def bounds(rectangles: list[Rectangle]) -> Rectangle:
    """The smallest rectangle that holds these."""
    corners = np.array([(r.top, r.left, r.top + r.height, r.left + r.width) for r in rectangles])
    top, left = corners[:, :2].min(0).tolist()
    bottom, right = corners[:, 2:].max(0).tolist()
    return Rectangle(top, left, bottom - top, right - left)
