"""Exact area averages: an output pixel is the mean of the source over the rectangle it covers.

    out[j, i] = sum over source pixels (r, c) of |[j, j+1) x [i, i+1)  n  pixel (r, c)| * source[r, c]

with both pixels as rectangles in the output's coordinates. It is computed tile by tile: each tile gives its
part of the sum, so a tile is needed once and no more than a row of tiles is held.
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
        """The rows and columns of an array (height, width) that an output of `size` touches."""
        rows = _touched(self.top, self.step_y, height, size[0])
        return rows + _touched(self.left, self.step_x, width, size[1])


class Summand(NamedTuple):
    """A summand of the output: float32 (rows, columns, C), and the output pixel it starts at."""

    row: int
    column: int
    values: np.ndarray


def area_part(
    pixels: np.ndarray, placement: Placement, window: tuple[int, int, int, int], size: tuple[int, int]
) -> Summand:
    """What some source pixels give to the output.

    Args:
        pixels: uint8 (H, W, C) with C 1 or 3, C-contiguous.
        placement: where pixel (0, 0) lies, and how large the pixels are.
        window: the source rows and columns that count: first row, end row, first column, end column.
        size: the output's (height, width); what falls outside is left out.

    Returns:
        The weighted sum over the source pixels; weights are areas in output pixels.
    """
    first_row, end_row, first_column, end_column = window
    top, left, step_y, step_x = placement
    row, end = _covered(top + first_row * step_y, top + end_row * step_y, size[0])
    column, end_column_out = _covered(left + first_column * step_x, left + end_column * step_x, size[1])
    values = np.zeros((end - row, end_column_out - column, pixels.shape[2]), np.float32)
    if values.size:
        flat = pixels.reshape(pixels.shape[0], -1)
        _KERNELS[values.shape[2]](values, flat, top - row, left - column, step_y, step_x, window)
    return Summand(row, column, values)


def coverage(start: float, end: float, first: int, count: int) -> np.ndarray:
    """How much of each of `count` unit intervals from `first` on lies in [start, end): float32 (count,)."""
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
    """Float32 (N,) to the nearest of uint8, halves up, into `out`."""
    for i in range(values.size):
        out[i] = np.uint8(np.int32(min(max(values[i] + np.float32(0.5), np.float32(0)), np.float32(255))))


@numba.njit(nogil=True, cache=True)
def _spans(
    columns: int, left: float, step: float, first_column: int, end_column: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per output column: its first source column from `first_column` on, their number, the outer two's weights."""
    firsts, counts = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
    weights = np.zeros((columns, 2), np.float32)
    for i in range(columns):
        start = max(first_column, int(np.floor((i - left) / step)))
        end = min(end_column, int(np.ceil((i + 1 - left) / step)))
        if start >= end:
            continue
        firsts[i], counts[i] = start - first_column, end - start
        weights[i, 0] = max(min(i + 1.0, left + (start + 1) * step) - max(float(i), left + start * step), 0.0)
        if end - start > 1:
            weights[i, 1] = max(min(i + 1.0, left + end * step) - max(float(i), left + (end - 1) * step), 0.0)
    return firsts, counts, weights


def _kernel(channels: int) -> Callable[..., None]:
    """The kernel for a number of channels, which has to be a constant for its inner loops to unroll."""

    @numba.njit(nogil=True, cache=True, fastmath=True)
    def accumulate(
        out: np.ndarray,
        pixels: np.ndarray,
        top: float,
        left: float,
        step_y: float,
        step_x: float,
        window: tuple[int, int, int, int],
    ) -> None:
        rows, columns, _ = out.shape
        first_row, end_row, first_column, end_column = window
        begin, stop = first_column * channels, end_column * channels
        firsts, counts, weights = _spans(columns, left, step_x, first_column, end_column)
        line = np.empty(stop - begin, np.float32)
        for j in range(rows):
            start = max(first_row, int(np.floor((j - top) / step_y)))
            end = min(end_row, int(np.ceil((j + 1 - top) / step_y)))
            line[:] = 0
            # Down first: whole lines of bytes, which the compiler turns into vectors.
            for r in range(start, end):
                overlap = min(j + 1.0, top + (r + 1) * step_y) - max(float(j), top + r * step_y)
                weight = np.float32(max(overlap, 0.0))
                source = pixels[r, begin:stop]
                for k in range(source.size):
                    line[k] += weight * np.float32(source[k])
            across(out[j], line, firsts, counts, weights, np.float32(step_x))

    @numba.njit(nogil=True, cache=True, fastmath=True)
    def across(
        out: np.ndarray, line: np.ndarray, firsts: np.ndarray, counts: np.ndarray, weights: np.ndarray, step: float
    ) -> None:
        """One output row, (columns, channels), from a line of sums down."""
        for i in range(out.shape[0]):
            if counts[i] == 0:
                continue
            begin = firsts[i] * channels
            end = begin + channels * (counts[i] - 1)
            for k in range(channels):
                # The second weight is 0 where the two outer pixels are one.
                out[i, k] += weights[i, 0] * line[begin + k] + weights[i, 1] * line[end + k]
            for c in range(begin + channels, end, channels):
                for k in range(channels):
                    out[i, k] += step * line[c + k]

    return accumulate


_KERNELS = {channels: _kernel(channels) for channels in (1, 3)}
