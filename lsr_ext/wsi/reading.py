"""From tiles to pixels: a rectangle of a level as it is, or averaged down to another resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lsr_ext.wsi import handles
from lsr_ext.wsi.backend import Backend, Level, Tile
from lsr_ext.wsi.errors import ReadTooLargeError
from lsr_ext.wsi.handles import FileKey
from lsr_ext.wsi.resample import Part, Placement, area_part, coverage

_FLOAT_BYTES = 4


class Region(NamedTuple):
    """Pixels, uint8 (H, W, 3), and where the slide holds them, bool (H, W)."""

    pixels: np.ndarray
    inside: np.ndarray | None


class Source(NamedTuple):
    """A level of an open slide."""

    key: FileKey
    backend: Backend
    index: int

    @property
    def level(self) -> Level:
        return self.backend.facts.levels[self.index]

    def tile(self, column: int, row: int, reduction: int = 1) -> Tile | None:
        """From the cache, or decoded."""
        key = self.key, self.index, column, row, reduction
        return handles.tiles.get(key, lambda: self.backend.decode_tile(self.index, column, row, reduction))

    def whole_tile(self, column: int, row: int) -> tuple[Tile | None, bool]:
        """A tile of which every pixel is wanted, and whether it is the caller's own, to do with as he likes."""
        key = self.key, self.index, column, row, 1
        return handles.tiles.get_once(key, lambda: self.backend.decode_tile(self.index, column, row, 1))

    def prepare(self, tiles: Sequence[tuple[int, int]], reduction: int = 1) -> int:
        """Have the tiles that are not in the cache read ahead; their number."""
        missing = [tile for tile in tiles if (self.key, self.index, *tile, reduction) not in handles.tiles]
        if len(missing) > 1:
            self.backend.announce(self.index, missing)
        return len(missing)


def read_level(source: Source, x: int, y: int, width: int, height: int, with_mask: bool) -> Region:
    """A rectangle in the level's own pixels; background where the slide has none."""
    level = source.level
    check_bytes(source, width * height * (4 if with_mask else 3), f"{width} x {height} px")
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, level.width), min(y + height, level.height)
    columns = range(left // level.tile_width, -(-right // level.tile_width))
    rows = range(top // level.tile_height, -(-bottom // level.tile_height))
    wanted = [(column, row) for row in rows for column in columns] if left < right and top < bottom else []
    if (x % level.tile_width, y % level.tile_height, width, height) == (0, 0, *level[3:]) and len(wanted) == 1:
        tile, owned = source.whole_tile(*wanted[0])
        if owned and tile is not None and tile.inside is None and (right, bottom) == (x + width, y + height):
            return Region(tile.pixels, np.ones((height, width), bool) if with_mask else None)
    covered = (left, top, right, bottom) == (x, y, x + width, y + height)
    pixels = np.empty((height, width, 3), np.uint8)
    if source.backend.facts.has_holes or not covered:
        pixels[:] = source.backend.facts.background
    inside = np.zeros((height, width), bool) if with_mask else None

    def place(position: tuple[int, int]) -> None:
        column, row = position
        x0, y0 = column * level.tile_width, row * level.tile_height
        x1, y1 = max(left, x0), max(top, y0)
        x2, y2 = min(right, x0 + level.tile_width), min(bottom, y0 + level.tile_height)
        whole = x2 - x1 == level.tile_width and y2 - y1 == level.tile_height
        tile = source.whole_tile(column, row)[0] if whole else source.tile(column, row)
        if tile is None:
            return
        there = slice(y1 - y, y2 - y), slice(x1 - x, x2 - x)
        here = slice(y1 - y0, y2 - y0), slice(x1 - x0, x2 - x0)
        pixels[there] = tile.pixels[here]
        if inside is not None:
            inside[there] = True if tile.inside is None else tile.inside[here]

    handles.in_threads(place, wanted, source.prepare(wanted))
    return Region(pixels, inside)


def read_average(
    source: Source, x: float, y: float, step: tuple[float, float], size: tuple[int, int], with_mask: bool
) -> Region:
    """The area average of a rectangle of a level.

    Args:
        source: the level.
        x, y: the top left corner in the level's pixels.
        step: the level's pixels per output pixel, (x, y).
        size: the output's (height, width).
        with_mask: give `inside` too: the pixels of which at least half lies on the slide.
    """
    return _Average(source, x, y, step, size, with_mask).run()


class _Average:
    """One averaged read: a row of tiles at a time adds to a band of output rows, which are then done."""

    def __init__(
        self, source: Source, x: float, y: float, step: tuple[float, float], size: tuple[int, int], with_mask: bool
    ) -> None:
        self.source, self.level = source, source.level
        self.x, self.y, (self.step_x, self.step_y), self.size = x, y, step, size
        self.reduction = max(r for r in source.backend.reductions(source.index) if r == 1 or 2 * r <= min(step))
        self.background = np.array(source.backend.facts.background, np.float32)
        end_x, end_y = x + size[1] * self.step_x, y + size[0] * self.step_y
        within = x >= 0 and y >= 0 and end_x <= self.level.width and end_y <= self.level.height
        self.weighs = with_mask or not within or source.backend.facts.has_holes
        self.columns = self._span(x, end_x, self.level.width, self.level.tile_width)
        self.rows = self._span(y, end_y, self.level.height, self.level.tile_height)
        channels = 4 if self.weighs else 3
        band_rows = min(size[0], self.level.tile_height / self.step_y + 2)
        # The band, twice for the tiles' parts of it, and the result.
        working = int(2 * band_rows * size[1] * channels * _FLOAT_BYTES)
        check_bytes(source, size[0] * size[1] * (4 if with_mask else 3) + working, f"{size[1]} x {size[0]} px")
        self.pixels = np.empty((*size, 3), np.uint8)
        self.inside = np.zeros(size, bool) if with_mask else None
        self.band = np.zeros((0, size[1], channels), np.float32)
        self.done = 0  # output rows that are finished; the band starts there

    @staticmethod
    def _span(start: float, end: float, level_px: int, tile_px: int) -> range:
        start, end = max(start, 0), min(end, level_px)
        return range(int(start // tile_px), int(-(-end // tile_px))) if start < end else range(0)

    def run(self) -> Region:
        self._leave_blank(int(max(-self.y, 0) // self.step_y))
        for row in self.rows:
            tiles = [(column, row) for column in self.columns]
            bottom = min((row + 1) * self.level.tile_height, self.level.height)
            self._extend(int(np.ceil((bottom - self.y) / self.step_y)))
            missing = self.source.prepare(tiles, self.reduction)
            for part in handles.in_threads(self._part, tiles, missing):
                self._add(part)
            if row != self.rows[-1]:
                self._finish(int((bottom - self.y) // self.step_y))
        self._finish(self.done + len(self.band))
        self._leave_blank(self.size[0])
        return Region(self.pixels, self.inside)

    def _part(self, position: tuple[int, int]) -> Part | None:
        """What a tile adds to the band: colours, and as a fourth channel how much of a pixel it covers."""
        column, row = position
        left, top = column * self.level.tile_width, row * self.level.tile_height
        width = min(self.level.tile_width, self.level.width - left)
        height = min(self.level.tile_height, self.level.height - top)
        # A reduced pixel across the level's edge would mix in what lies beyond it.
        whole = width % self.reduction == 0 and height % self.reduction == 0
        reduction = self.reduction if whole else 1
        tile = self.source.tile(column, row, reduction)
        if tile is None:
            return None
        placement = Placement(
            (top - self.y) / self.step_y,
            (left - self.x) / self.step_x,
            reduction / self.step_y,
            reduction / self.step_x,
        )
        window = placement.window(height // reduction, width // reduction, self.size)
        part = area_part(tile.pixels, placement, window, self.size)
        return self._with_coverage(part, tile, placement, window) if self.weighs else part

    def _with_coverage(self, part: Part, tile: Tile, placement: Placement, window: tuple[int, ...]) -> Part:
        rows, columns = part.values.shape[:2]
        top, left, step_y, step_x = placement
        down = coverage(top + window[0] * step_y, top + window[1] * step_y, part.row, rows)
        across = coverage(left + window[2] * step_x, left + window[3] * step_x, part.column, columns)
        weight = np.outer(down, across)[..., None]
        if tile.inside is not None:
            mask = np.ascontiguousarray(tile.inside[..., None]).view(np.uint8)
            inside = area_part(mask, placement, window, self.size).values
            # The tile's own background goes: it comes back for all that is not covered.
            part.values[:] -= (weight - inside) * self.background
            weight = inside
        return Part(part.row, part.column, np.concatenate([part.values, weight], axis=2))

    def _extend(self, end: int) -> None:
        missing = min(end, self.size[0]) - self.done - len(self.band)
        if missing > 0:
            self.band = np.concatenate([self.band, np.zeros((missing, *self.band.shape[1:]), np.float32)])

    def _add(self, part: Part | None) -> None:
        if part is None:
            return
        rows, columns = part.values.shape[:2]
        row = part.row - self.done
        self.band[row : row + rows, part.column : part.column + columns] += part.values

    def _finish(self, end: int) -> None:
        """Write the band's rows before `end`, to which no more tiles will add."""
        count = min(end, self.size[0]) - self.done
        ready, self.band = self.band[:count], self.band[count:].copy()
        colours = ready[..., :3]
        if self.weighs:
            weight = ready[..., 3:]
            colours = colours + (1 - weight) * self.background
            if self.inside is not None:
                self.inside[self.done : self.done + count] = weight[..., 0] >= 0.5
        self.pixels[self.done : self.done + count] = np.clip(colours + np.float32(0.5), 0, 255)
        self.done += count

    def _leave_blank(self, end: int) -> None:
        end = min(end, self.size[0])
        self.pixels[self.done : end] = self.source.backend.facts.background
        self.done = max(end, self.done)


def check_bytes(source: Source, needed: int, what: str) -> None:
    """Refuse a read above the limit before any memory is taken.

    Raises:
        ReadTooLargeError: `needed` is above the limit of `configure`.
    """
    tile_bytes = 3 * source.level.tile_width * source.level.tile_height
    if needed + tile_bytes > handles.max_read_bytes:
        raise ReadTooLargeError(
            f"{source.key.path}: a read of {what} takes {needed + tile_bytes} bytes, more than the limit of "
            f"{handles.max_read_bytes}; read it in parts, or raise lsr_ext.wsi.configure(read_limit_bytes=...)"
        )
