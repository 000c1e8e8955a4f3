"""The patches of a slide and the blocks they merge into."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """Whole square patches, in rows from the top left of the slide.

    Attributes:
        side: side of a patch, in level-0 pixels.
        rows, columns: numbers of whole patches on the slide.
    """

    side: int
    rows: int
    columns: int

    @classmethod
    def over(cls, size: tuple[int, int], side: int) -> Grid:
        """Make the grid over a slide of (width, height)."""
        return cls(side, size[1] // side, size[0] // side)

    def rectangles(self) -> np.ndarray:
        """Return int64 (rows * columns, 4): x, y, width, height in level-0 pixels."""
        row, column = np.divmod(np.arange(self.rows * self.columns), max(self.columns, 1))
        corners = np.stack([column, row], axis=1) * self.side
        return np.concatenate([corners, np.full_like(corners, self.side)], axis=1)

    def merged(self, times: int) -> Grid:
        """Return the grid of blocks of `times` x `times` patches."""
        return Grid(self.side * times, self.rows // times, self.columns // times)


def merge_values(values: np.ndarray, grid: Grid, times: int) -> np.ndarray:
    """Take the maximum over the patches of each block.

    Args:
        values: float (rows * columns, L); NaN: unknown.
        grid: grid of the patches.
        times: patches per block, across and down.

    Returns:
        float (blocks, L), in the order of `grid.merged(times)`; NaN where a patch is unknown.
    """
    blocks, width = grid.merged(times), values.shape[1]
    cells = values.reshape(grid.rows, grid.columns, width)[: blocks.rows * times, : blocks.columns * times]
    parted = cells.reshape(blocks.rows, times, blocks.columns, times, width)
    return parted.max(axis=(1, 3)).reshape(-1, width)  # the maximum with a NaN is NaN
