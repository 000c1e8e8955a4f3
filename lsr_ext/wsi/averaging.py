"""Read a rectangle of a level, averaged down to another resolution."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
import torch

from lsr_ext.wsi import handles
from lsr_ext.wsi.backend import Region, Source
from lsr_ext.wsi.reading import check_bytes, parts_of
from lsr_ext.wsi.resample import Placement, add_area, coverage, round_to_bytes
from lsr_ext.wsi.tiles import place

_FLOAT_BYTES = 4
_STRIP_BYTES = 2**22  # largest size of tiles that are averaged at once, if more than one


def read_average(
    source: Source, x: float, y: float, step: tuple[float, float], size: tuple[int, int], with_mask: bool
) -> Region:
    """Compute the area average of a rectangle of a level.

    Args:
        source: the level.
        x, y: the top left corner in the level's pixels.
        step: the level's pixels per output pixel, (x, y).
        size: the output's (height, width).
        with_mask: also return `inside`: the pixels of which at least half lies on the slide.
    """
    return _Average(source, x, y, step, size, with_mask).run()


class _Average:
    """One averaged read: a few rows of tiles at a time are added to a band of output rows, then finished."""

    def __init__(
        self, source: Source, x: float, y: float, step: tuple[float, float], size: tuple[int, int], with_mask: bool
    ) -> None:
        self.source, self.level = source, source.level
        self.x, self.y, (self.step_x, self.step_y), self.size = x, y, step, size
        self.reduction = max(r for r in source.backend.reductions(source.index) if r == 1 or 2 * r <= min(step))
        self.background = np.array(source.backend.facts.background, np.float32)
        self.has_holes = source.backend.facts.has_holes
        end_x, end_y = x + size[1] * self.step_x, y + size[0] * self.step_y
        within = x >= 0 and y >= 0 and end_x <= self.level.width and end_y <= self.level.height
        self.weighs = with_mask or not within or self.has_holes
        self.columns = self._span(x, end_x, self.level.width, self.level.tile_width)
        self.rows = self._span(y, end_y, self.level.height, self.level.tile_height)
        tile_bytes = 3 * self.level.tile_width * self.level.tile_height // self.reduction**2
        self.tiles_across = max(min(_STRIP_BYTES // tile_bytes, len(self.columns)), 1)
        self.tiles_down = max(min(_STRIP_BYTES // tile_bytes // self.tiles_across, len(self.rows)), 1)
        channels = 4 if self.weighs else 3
        band_rows = min(size[0], self.tiles_down * self.level.tile_height / self.step_y + 2)
        working = int(band_rows * size[1] * channels * _FLOAT_BYTES)
        working += self.tiles_across * self.tiles_down * tile_bytes
        check_bytes(source, size[0] * size[1] * (4 if with_mask else 3) + working, size)
        self.pixels = np.empty((*size, 3), np.uint8)
        self.inside = np.zeros(size, bool) if with_mask else None
        self.done = 0  # output rows that are finished; the band starts there
        self.band = np.zeros((0, size[1], 3), np.float32)
        self.weight = np.zeros((0, size[1], 1), np.float32)  # the covered share of each output pixel

    @staticmethod
    def _span(start: float, end: float, level_px: int, tile_px: int) -> range:
        start, end = max(start, 0), min(end, level_px)
        return range(int(start // tile_px), int(-(-end // tile_px))) if start < end else range(0)

    def run(self) -> Region:
        self._leave_blank(int(max(-self.y, 0) // self.step_y))
        for row in range(self.rows.start, self.rows.stop, self.tiles_down):
            end = min(row + self.tiles_down, self.rows.stop)
            bottom = min(end * self.level.tile_height, self.level.height)
            self._extend(int(np.ceil((bottom - self.y) / self.step_y)))
            for rectangle, reduction in self._strips(row, end):
                self._add(rectangle, reduction)
            if end != self.rows.stop:
                self._finish(int((bottom - self.y) // self.step_y))
        self._finish(self.done + len(self.band))
        self._leave_blank(self.size[0])
        return Region(self.pixels, self.inside)

    def _strips(self, row: int, end: int) -> Iterator[tuple[tuple[int, int, int, int], int]]:
        """Yield the rectangles (top, bottom, left, right) of rows of tiles, and the reduction that each allows."""
        down = self._sides(row, end, self.level.tile_height, self.level.height)
        for column in range(self.columns.start, self.columns.stop, self.tiles_across):
            stop = min(column + self.tiles_across, self.columns.stop)
            across = self._sides(column, stop, self.level.tile_width, self.level.width)
            for (top, bottom, low), (left, right, narrow) in product(down, across):
                yield (top, bottom, left, right), 1 if low or narrow else self.reduction

    def _sides(self, first: int, end: int, tile_px: int, level_px: int) -> list[tuple[int, int, bool]]:
        """Return start and end in pixels of some tiles; tiles that must not be reduced are listed separately.

        A reduced pixel across the level's edge would mix in pixels from outside the level.
        """
        start, stop = first * tile_px, min(end * tile_px, level_px)
        if (stop - start) % self.reduction == 0:
            return [(start, stop, False)]
        edge = stop - stop % tile_px
        return [(start, edge, False), (edge, stop, True)] if start < edge else [(edge, stop, True)]

    def _add(self, rectangle: tuple[int, int, int, int], reduction: int) -> None:
        """Add a rectangle's average to the band."""
        top, bottom, left, right = (side // reduction for side in rectangle)
        touched = self._placement(top, left, reduction).window(bottom - top, right - left, self.size)
        top, bottom, left, right = top + touched[0], top + touched[1], left + touched[2], left + touched[3]
        if top == bottom or left == right:
            return
        shape = bottom - top, right - left
        pixels = np.empty((*shape, 3), np.uint8)
        inside = np.zeros(shape, bool) if self.has_holes else None
        parts = parts_of(self.level, (top, bottom, left, right), (top, left), reduction)
        place(self.source, parts, Region(pixels, inside), reduction)
        placement = self._placement(top, left, reduction)
        if inside is not None:
            pixels[~inside] = (
                0  # background comes in for all that is not covered, once it is known how much that is
            )
            self._average(inside[..., None].view(np.uint8), placement, self.weight)
        elif self.weighs:
            self.weight[..., 0] += np.outer(
                coverage(placement.top, placement.step_y * shape[0], self.done, len(self.band)),
                coverage(placement.left, placement.step_x * shape[1], 0, self.size[1]),
            )
        self._average(pixels, placement, self.band)

    def _average(self, pixels: np.ndarray, placement: Placement, band: np.ndarray) -> None:
        threads = min(torch.get_num_threads(), len(band))
        edges = [len(band) * i // threads for i in range(threads + 1)]

        def add(rows: tuple[int, int]) -> None:
            add_area(band[rows[0] : rows[1]], self.done + rows[0], pixels, placement)

        handles.in_threads(add, list(pairwise(edges)))

    def _placement(self, top: int, left: int, reduction: int) -> Placement:
        """Return the placement of the reduced pixels from (top, left) on."""
        return Placement(
            (top * reduction - self.y) / self.step_y,
            (left * reduction - self.x) / self.step_x,
            reduction / self.step_y,
            reduction / self.step_x,
        )

    def _extend(self, end: int) -> None:
        """Extend the band to an output row."""
        rows = min(end, self.size[0]) - self.done
        kept = len(self.band)
        if rows <= kept:
            return
        band, self.band = self.band, np.zeros((rows, self.size[1], 3), np.float32)
        self.band[:kept] = band
        if self.weighs:
            weight, self.weight = self.weight, np.zeros((rows, self.size[1], 1), np.float32)
            self.weight[:kept] = weight

    def _finish(self, end: int) -> None:
        """Write the rows of the band before `end`; no more tiles will be added to them."""
        count = min(end, self.size[0]) - self.done
        colours, self.band = self.band[:count], self.band[count:]
        if self.weighs:
            weight, self.weight = self.weight[:count], self.weight[count:]
            colours += (1 - weight) * self.background
            if self.inside is not None:
                self.inside[self.done : self.done + count] = weight[..., 0] >= 0.5
        round_to_bytes(colours.reshape(-1), self.pixels[self.done : self.done + count].reshape(-1))
        self.done += count

    def _leave_blank(self, end: int) -> None:
        end = min(end, self.size[0])
        self.pixels[self.done : end] = self.source.backend.facts.background
        self.done = max(end, self.done)
