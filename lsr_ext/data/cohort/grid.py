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

    @property
    def origin(self) -> tuple[int, int] | None:
        """Where the regular grid starts."""
        return (0, 0)


class Patches:
    """The patches of blocks that lie anywhere: `times` x `times` of each, one block after the other.

    Args:
        blocks: int64 (N, 4): x, y, width, height in level-0 pixels.
        times: patches per block, across and down.
        origin: of the regular grid that the patches are of; None: they are of none.

    Attributes:
        blocks: the same.
        side: of the first block's patches, in level-0 pixels; the only one where the grid is regular.
        rows, columns: so that rows * columns is the number of patches.
    """

    def __init__(self, blocks: np.ndarray, times: int, origin: tuple[int, int] | None = None) -> None:
        self.blocks, self.origin = blocks, origin
        self._rectangles = _divide(blocks, times)
        self.side = int(self._rectangles[0, 2]) if len(blocks) else 1
        self.rows, self.columns = len(self._rectangles), 1

    def rectangles(self) -> np.ndarray:
        """Return int64 (N * times ** 2, 4): x, y, width, height in level-0 pixels."""
        return self._rectangles


def place_blocks(size: tuple[int, int], side: int, stride: int, offset: tuple[int, int]) -> np.ndarray:
    """The square blocks of a slide that lie wholly on it, row by row.

    Args:
        size: (width, height) of the slide.
        side, stride: of the blocks and between their corners.
        offset: (x, y) of the first corner.

    Returns:
        int64 (N, 4): x, y, width, height; all in level-0 pixels.

    Example:
        >>> place_blocks((100, 60), 40, 40, (10, 0)).tolist()
        [[10, 0, 40, 40], [50, 0, 40, 40]]
    """
    columns, rows = (
        np.arange(start, length - side + 1, stride) for start, length in zip(offset, size, strict=True)
    )
    y, x = (axis.ravel() for axis in np.meshgrid(rows, columns, indexing="ij"))
    return np.stack([x, y, np.full_like(x, side), np.full_like(x, side)], axis=1).astype(np.int64)


def merge_patches(values: np.ndarray, times: int, merge_by: str) -> np.ndarray:
    """The value of each block by those of its patches.

    Args:
        values: float (N * times ** 2, L), in the order of `Patches`; NaN: unknown.
        times: patches per block, across and down.
        merge_by: "maximum", the paper's rule for a classifier's probabilities, or "area", the mean, which is right
            for fractions.

    Returns:
        float (N, L); NaN where a patch is unknown.
    """
    parted = values.reshape(-1, times * times, values.shape[1])
    return parted.max(axis=1) if merge_by == "maximum" else parted.mean(axis=1)  # with a NaN, both are NaN


def _divide(blocks: np.ndarray, times: int) -> np.ndarray:
    steps = np.arange(times + 1)
    edges = [blocks[:, [k]] + blocks[:, [k + 2]] * steps // times for k in (0, 1)]
    shape = (len(blocks), times, times)
    x, y = np.broadcast_to(edges[0][:, None, :-1], shape), np.broadcast_to(edges[1][:, :-1, None], shape)
    right, bottom = np.broadcast_to(edges[0][:, None, 1:], shape), np.broadcast_to(edges[1][:, 1:, None], shape)
    return np.stack([x, y, right - x, bottom - y], axis=-1).reshape(-1, 4)
