"""The tiles that a browser asks for: a pyramid over level 0, each level half as large as the next."""

from __future__ import annotations

from typing import NamedTuple

from lsr_ext.inference.prediction import Area

TILE_PX = 512


class TileGrid(NamedTuple):
    """The pyramid of an image of level-0 `width` x `height` pixels; the last level is level 0 itself.

    Example:
        >>> grid = TileGrid(1300, 600)
        >>> grid.last_level, grid.area(11, 2, 1)
        (11, Area(x=1024, y=512, downsample=1, width=276, height=88))
    """

    width: int
    height: int

    @property
    def last_level(self) -> int:
        """The number of the finest level; level 0 is a single pixel."""
        return (max(self.width, self.height) - 1).bit_length()

    def area(self, level: int, column: int, row: int) -> Area:
        """The area of a tile; smaller than others at the right and lower edge.

        Raises:
            LookupError: no such tile.
        """
        if not 0 <= level <= self.last_level:
            raise LookupError(f"expected a level in [0, {self.last_level}], got {level}")
        downsample = 1 << (self.last_level - level)
        width, height = -(-self.width // downsample), -(-self.height // downsample)
        left, top = column * TILE_PX, row * TILE_PX
        if not (0 <= left < width and 0 <= top < height):
            raise LookupError(
                f"expected a tile of the {width} x {height} px of level {level}, got {column}, {row}"
            )
        return Area(
            left * downsample,
            top * downsample,
            downsample,
            min(TILE_PX, width - left),
            min(TILE_PX, height - top),
        )
