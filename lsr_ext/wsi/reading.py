"""Read a rectangle of a level without resampling."""

from __future__ import annotations

import numpy as np

from lsr_ext.wsi import handles
from lsr_ext.wsi.backend import Level, Part, Region, Source
from lsr_ext.wsi.errors import ReadTooLargeError
from lsr_ext.wsi.tiles import place


def read_level(source: Source, x: int, y: int, width: int, height: int, with_mask: bool) -> Region:
    """Read a rectangle in the pixels of the level; background where the slide has no pixels."""
    level = source.level
    check_bytes(source, width * height * (4 if with_mask else 3), (height, width))
    window = max(y, 0), min(y + height, level.height), max(x, 0), min(x + width, level.width)
    pixels = np.empty((height, width, 3), np.uint8)
    if source.backend.facts.has_holes or window != (y, y + height, x, x + width):
        pixels[:] = source.backend.facts.background
    inside = np.zeros((height, width), bool) if with_mask else None
    region = Region(pixels, inside)
    place(source, parts_of(level, window, (y, x)), region)
    return region


def parts_of(
    level: Level, window: tuple[int, int, int, int], origin: tuple[int, int], reduction: int = 1
) -> list[Part]:
    """Return the parts of tiles that make up a window.

    Args:
        level: level of the tiles.
        window: first row, end row, first column, end column, in the level's reduced pixels.
        origin: row and column of the region's first pixel.
        reduction: reduction of the tiles.
    """
    top, bottom, left, right = window
    tile_height, tile_width = level.tile_height // reduction, level.tile_width // reduction
    parts: list[Part] = []
    if top >= bottom or left >= right:
        return parts
    for row in range(top // tile_height, -(-bottom // tile_height)):
        y0 = row * tile_height
        y1, y2 = max(top, y0), min(bottom, y0 + tile_height)
        for column in range(left // tile_width, -(-right // tile_width)):
            x0 = column * tile_width
            x1, x2 = max(left, x0), min(right, x0 + tile_width)
            part = Part(column, row, y1 - y0, x1 - x0, y1 - origin[0], x1 - origin[1], y2 - y1, x2 - x1)
            parts.append(part)
    return parts


def check_bytes(source: Source, needed: int, size: tuple[int, int]) -> None:
    """Refuse a read of (height, width) pixels above the limit before any memory is allocated.

    Raises:
        ReadTooLargeError: `needed` is above the limit of `configure`.
    """
    tile_bytes = 3 * source.level.tile_width * source.level.tile_height
    if needed + tile_bytes > handles.max_read_bytes:
        raise ReadTooLargeError(
            f"{source.key.path}: a read of {size[1]} x {size[0]} px takes {needed + tile_bytes} bytes, more than "
            f"the limit of {handles.max_read_bytes}; read it in parts, or raise "
            "lsr_ext.wsi.configure(read_limit_bytes=...)"
        )
