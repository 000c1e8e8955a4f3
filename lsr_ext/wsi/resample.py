"""Exact area averages: an output pixel is the mean of the source over the rectangle it covers.

    out[j, i] = sum over source pixels (r, c) of |[j, j+1) x [i, i+1)  n  pixel (r, c)| * source[r, c]

with both pixels as rectangles in the output's coordinates. It is computed tile by tile: each tile adds its part of
the sum, so each tile is needed once, and at most one row of tiles is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np


class Placement(NamedTuple):
    """Where an array of source pixels lies, in output pixels: its top left corner, and a source pixel's size."""

    top: float
    left: float
    step_y: float
    step_x: float

    def window(self, height: int, width: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the rows and columns of an array (height, width) that an output of `size` touches."""
        rows = _touched(self.top, self.step_y, height, size[0])
        return rows + _touched(self.left, self.step_x, width, size[1])


def add_area(out: np.ndarray, first_row: int, pixels: np.ndarray, placement: Placement) -> None:
    """Add source pixels to rows of the output; weights are areas in output pixels.

    Args:
        out: float32 (R, W, C), C-contiguous: all columns of the output, and its rows from `first_row` on.
        first_row: row of the output.
        pixels: uint8 (H, W, C) with C 1 or 3, C-contiguous.
        placement: where pixel (0, 0) lies, and how large the pixels are. Parts outside `out` are ignored.
    """
    height, width, channels = pixels.shape
    top, left, step_y, step_x = placement
    top -= first_row
    rows = _covered(top, top + height * step_y, out.shape[0])
    columns = _covered(left, left + width * step_x, out.shape[1])
    if rows[0] < rows[1] and columns[0] < columns[1]:
        _KERNELS[channels](out, pixels.reshape(height, -1), top, left, step_y, step_x, rows, columns)


def coverage(start: float, length: float, first: int, count: int) -> np.ndarray:
    """Return the share of each of `count` unit intervals from `first` that lies in [start, start + length]."""
    end = start + length
    edges = np.arange(first, first + count, dtype=np.float64)
    return np.clip(np.minimum(edges + 1, end) - np.maximum(edges, start), 0, 1).astype(np.float32)


def _touched(start: float, step: float, count: int, end: int) -> tuple[int, int]:
    first = min(max(math.floor(-start / step), 0), count)
    return first, max(first, min(math.ceil((end - start) / step), count))


def _covered(start: float, end: float, count: int) -> tuple[int, int]:
    first = min(max(math.floor(start), 0), count)
    return first, max(first, min(math.ceil(end), count))


@numba.njit(nogil=True, cache=True, fastmath=True)
def round_to_bytes(values: np.ndarray, out: np.ndarray) -> None:
    """Round float32 (N,) to the nearest uint8, halves up, into `out`."""
    for i in range(values.size):
        out[i] = np.uint8(np.int32(min(max(values[i] + np.float32(0.5), np.float32(0)), np.float32(255))))


@numba.njit(nogil=True, cache=True)
def _taps(columns: tuple[int, int], left: float, step: float, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each output column its first source column, uint64 (N,), and K weights, float32 (N, K)."""
    begin, stop = columns
    firsts = np.zeros(stop - begin, np.uint64)
    # One more than fits, for a source column at either end; columns of weight 0 cost less than a branch.
    weights = np.zeros((stop - begin, int(np.ceil(1 / step)) + 1), np.float32)
    for i in range(begin, stop):
        start = max(0, int(np.floor((i - left) / step)))
        end = min(width, int(np.ceil((i + 1 - left) / step)))
        firsts[i - begin] = start
        for tap in range(min(end - start, weights.shape[1])):
            edge = left + (start + tap) * step
            weights[i - begin, tap] = max(min(i + 1.0, edge + step) - max(float(i), edge), 0.0)
    return firsts, weights


# Unsigned indices: each signed index is tested for a minus sign, which takes as long as the sums.
_0, _1, _2, _3 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _across_1(out: np.ndarray, line: np.ndarray, firsts: np.ndarray, weights: np.ndarray) -> None:
    """Compute one output row, (columns, 1), from a line of column sums."""
    for i in range(np.uint64(out.shape[0])):
        total = np.float32(0)
        place = firsts[i]
        for tap in range(np.uint64(weights.shape[1])):
            total += weights[i, tap] * line[place]
            place += _1
        out[i, _0] += total


@numba.njit(nogil=True, cache=True, fastmath=True)
def _across_3(out: np.ndarray, line: np.ndarray, firsts: np.ndarray, weights: np.ndarray) -> None:
    """Compute one output row, (columns, 3), from a line of column sums."""
    for i in range(np.uint64(out.shape[0])):
        red = green = blue = np.float32(0)
        place = _3 * firsts[i]
        for tap in range(np.uint64(weights.shape[1])):
            weight = weights[i, tap]
            red += weight * line[place]
            green += weight * line[place + _1]
            blue += weight * line[place + _2]
            place += _3
        out[i, _0] += red
        out[i, _1] += green
        out[i, _2] += blue


def _kernel(channels: int, across: Callable[..., None]) -> Callable[..., None]:
    """Compile the kernel for a number of channels."""

    @numba.njit(nogil=True, cache=True, fastmath=True)
    def accumulate(
        out: np.ndarray,
        pixels: np.ndarray,
        top: float,
        left: float,
        step_y: float,
        step_x: float,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> None:
        height, bytes_across = pixels.shape
        firsts, weights = _taps(columns, left, step_x, bytes_across // channels)
        # Space for the weights of 0 beyond its end.
        line = np.zeros(bytes_across + channels * weights.shape[1], np.float32)
        for j in range(rows[0], rows[1]):
            start = max(0, int(np.floor((j - top) / step_y)))
            end = min(height, int(np.ceil((j + 1 - top) / step_y)))
            line[:] = 0
            # Vertical sums first: whole lines of bytes, which the compiler vectorises.
            for r in range(start, end):
                overlap = min(j + 1.0, top + (r + 1) * step_y) - max(float(j), top + r * step_y)
                weight = np.float32(max(overlap, 0.0))
                source = pixels[r]
                for k in range(bytes_across):
                    line[k] += weight * np.float32(source[k])
            across(out[j, columns[0] : columns[1]], line, firsts, weights)

    return accumulate


_KERNELS = {channels: _kernel(channels, across) for channels, across in ((1, _across_1), (3, _across_3))}
