"""The patches of a slide and the blocks they merge into."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """Whole patches of a side, in rows from the slide's top left.

    Attributes:
        side: of a patch, in level-0 pixels.
        rows, columns: how many whole ones the slide holds.
    """

    side: int
    rows: int
    columns: int

    @classmethod
    def over(cls, size: tuple[int, int], side: int) -> Grid:
        """Over a slide of (width, height)."""
        return cls(side, size[1] // side, size[0] // side)

    def rectangles(self) -> np.ndarray:
        """int64 (rows * columns, 4) of x, y, width, height in level-0 pixels."""
        row, column = np.divmod(np.arange(self.rows * self.columns), max(self.columns, 1))
        corners = np.stack([column, row], axis=1) * self.side
        return np.concatenate([corners, np.full_like(corners, self.side)], axis=1)

    def merged(self, times: int) -> Grid:
        """The grid of blocks of `times` x `times` patches."""
        return Grid(self.side * times, self.rows // times, self.columns // times)


def merge_values(values: np.ndarray, grid: Grid, times: int) -> np.ndarray:
    """The maximum over the patches of each block.

    Args:
        values: float (rows * columns, L); NaN: unknown.
        grid: of the patches.
        times: patches per block, across and down.

    Returns:
        float (blocks, L), in the order of `grid.merged(times)`; NaN where a patch is unknown.
    """
    blocks, width = grid.merged(times), values.shape[1]
    cells = values.reshape(grid.rows, grid.columns, width)[: blocks.rows * times, : blocks.columns * times]
    parted = cells.reshape(blocks.rows, times, blocks.columns, times, width)
    return parted.max(axis=(1, 3)).reshape(-1, width)  # a NaN wins every maximum
