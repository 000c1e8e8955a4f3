"""Values of a stored map at scattered pixels, in bounded memory at any scale."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

_OVERVIEW_STEP = 16
_READ_PX = 2048


class MapSampler:
    """Reads a map (H, W) at scattered rows and columns.

    A picture of the whole slide would need the whole map. So every 16th pixel in both directions is kept in
    memory, read block by block when it is first needed, and pictures that skip 16 pixels or more are taken from
    these. Threads can share a sampler.

    Args:
        array: a zarr array or a view of one, uint8 (H, W).
        outside: the value where the map has no pixel.
    """

    def __init__(self, array: Any, outside: int) -> None:
        self.array, self.outside = array, outside
        self._overview: np.ndarray | None = None
        self._lock = threading.Lock()

    def sample(self, rows: np.ndarray, columns: np.ndarray, step: float) -> np.ndarray:
        """The values at the crossings of rows and columns, uint8 (len(rows), len(columns)).

        Args:
            rows, columns: ascending indices; those outside the map have the value `outside`.
            step: the distance of neighbours; from 16 on, values are those of the middles of squares of 16 x 16.
        """
        height, width = self.array.shape
        down, across = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        values = np.full((len(rows), len(columns)), self.outside, np.uint8)
        if not (down.any() and across.any()):
            return values
        rows, columns = rows[down], columns[across]
        found = self._from_overview(rows, columns) if step >= _OVERVIEW_STEP else self._read(rows, columns)
        values[np.ix_(down, across)] = found
        return values

    def _read(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        top, left = rows[0], columns[0]
        area = np.asarray(self.array[int(top) : int(rows[-1]) + 1, int(left) : int(columns[-1]) + 1])
        return area[np.ix_(rows - top, columns - left)]

    def _from_overview(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        with self._lock:
            if self._overview is None:
                self._overview = self._make_overview()
        return self._overview[np.ix_(rows // _OVERVIEW_STEP, columns // _OVERVIEW_STEP)]

    def _make_overview(self) -> np.ndarray:
        """The middle pixel of each square of 16 x 16, read in blocks."""
        rows, columns = (_middles(side) for side in self.array.shape)
        overview = np.empty((len(rows), len(columns)), np.uint8)
        count = _READ_PX // _OVERVIEW_STEP
        for top in range(0, len(rows), count):
            for left in range(0, len(columns), count):
                here = slice(top, top + count), slice(left, left + count)
                overview[here] = self._read(rows[here[0]], columns[here[1]])
        return overview


def _middles(side: int) -> np.ndarray:
    starts = np.arange(0, side, _OVERVIEW_STEP)
    return np.minimum(starts + _OVERVIEW_STEP // 2, side - 1)
