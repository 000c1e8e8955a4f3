"""A slide at one resolution as an array that is read by rows."""

from __future__ import annotations

import numpy as np

from lsr_ext.wsi import Slide

_TILE_PX = 256


class SlideRows:
    """A slide as `l2_map` reads it: `shape`, `dtype` and slices of whole rows, which are read when sliced.

    Attributes:
        shape: (H, W, 3) of the slide at this resolution.
        dtype: uint8.
        chunks: strips of whole tiles; reading these decodes the fewest tiles twice.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, slide: Slide, mpp: float) -> None:
        """
        Args:
            slide: a slide with a known resolution.
            mpp: microns per pixel to read at.

        Raises:
            MissingResolutionError: the slide's own resolution is unknown.
            ValueError: an mpp that is not above 0, or that is so coarse that no pixel remains.
        """
        own_x, own_y = slide.known_mpp()
        if not 0 < mpp < np.inf:
            raise ValueError(f"expected an mpp above 0, got {mpp}")
        width, height = slide.size
        self._slide, self._mpp, self._step_y = slide, mpp, mpp / own_y
        self.shape = (int(height * own_y / mpp), int(width * own_x / mpp), 3)
        if 0 in self.shape:
            raise ValueError(f"{slide.path}: expected an mpp that leaves at least one pixel, got {mpp}")
        self.chunks = (_TILE_PX, *self.shape[1:])

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Read whole rows: uint8 (rows, W, 3)."""
        top, bottom, step = rows.indices(self.shape[0])
        if step != 1:
            raise ValueError(f"expected neighbouring rows, got {rows}")
        return self._slide.read(0, top * self._step_y, self.shape[1], bottom - top, mpp=self._mpp)
