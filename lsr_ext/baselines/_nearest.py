"""Numba kernel that finds the nearest of some colours for each pixel."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


@njit(cache=True, nogil=True)
def _nearest(red: int, green: int, blue: int, colours: np.ndarray) -> tuple[int, float]:
    """Return the index of the nearest colour (the first, if equally near) and its squared distance."""
    nearest, least = 0, np.inf
    for k in range(len(colours)):
        dr, dg, db = red - colours[k, 0], green - colours[k, 1], blue - colours[k, 2]
        distance2 = dr * dr + dg * dg + db * db
        if distance2 < least:
            nearest, least = k, distance2
    return nearest, least


@njit(cache=True, nogil=True, parallel=True)
def nearest_colours(
    pixels: np.ndarray, colours: np.ndarray, ids: np.ndarray, limit2: float, known: np.ndarray, out: np.ndarray
) -> None:
    """Write the id of the nearest colour, or 0 if it is too far away.

    A slide has far fewer colours than pixels, so each colour is computed once and then looked up.

    Args:
        pixels: uint8 (H, W, 3), contiguous.
        colours: float64 (C, 3).
        ids: uint8 (C,), below 255.
        limit2: the largest squared distance.
        known: uint8 (2^24,), indexed by 65536 R + 256 G + B: 0 = not computed yet, otherwise 1 + the id. Threads
            that compute the same colour write the same value.
        out: uint8 (H, W).
    """
    height, width, _ = pixels.shape
    for row in prange(height):
        for column in range(width):
            red = np.int64(pixels[row, column, 0])
            green = np.int64(pixels[row, column, 1])
            blue = np.int64(pixels[row, column, 2])
            place = red << 16 | green << 8 | blue
            found = known[place]
            if found == 0:
                nearest, distance2 = _nearest(red, green, blue, colours)
                found = np.uint8(1) if distance2 > limit2 else np.uint8(ids[nearest] + 1)
                known[place] = found
            out[row, column] = found - 1
