"""A rectangle of a level averaged down to another resolution."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from lsr_ext.wsi import handles
from lsr_ext.wsi.backend import Region, Source
from lsr_ext.wsi.reading import check_bytes, parts_of
from lsr_ext.wsi.resample import Placement, Summand, area_part, coverage, round_to_bytes
from lsr_ext.wsi.tiles import place

_FLOAT_BYTES = 4
_STRIP_BYTES = 2**22  # tiles side by side that are averaged at once, at most


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


class _Strip(NamedTuple):
    """A rectangle within a row of tiles: first row, end row, first column, end column in reduced level pixels."""

    window: tuple[int, int, int, int]
    reduction: int


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
        # The band, twice for the strips' summands, a strip of tiles, and the result.
        strip = 3 * self.level.tile_height * min(size[1] * self.step_x, self.level.width) / self.reduction**2
        working = int(2 * band_rows * size[1] * channels * _FLOAT_BYTES + min(strip, _STRIP_BYTES))
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
            bottom = min((row + 1) * self.level.tile_height, self.level.height)
            self._extend(int(np.ceil((bottom - self.y) / self.step_y)))
            for strip in self._strips(row, bottom):
                self._add(strip)
            if row != self.rows[-1]:
                self._finish(int((bottom - self.y) // self.step_y))
        self._finish(self.done + len(self.band))
        self._leave_blank(self.size[0])
        return Region(self.pixels, self.inside)

    def _strips(self, row: int, bottom: int) -> Iterator[_Strip]:
        """What is needed of a row of tiles."""
        level = self.level
        top = row * level.tile_height
        tile_bytes = 3 * level.tile_width * level.tile_height // self.reduction**2
        count = max(_STRIP_BYTES // tile_bytes, 1)
        for start in range(self.columns.start, self.columns.stop, count):
            end = min(start + count, self.columns.stop)
            left, right = start * level.tile_width, min(end * level.tile_width, level.width)
            # A reduced pixel across the level's edge would mix in what lies beyond: tiles there are not reduced.
            whole = (bottom - top) % self.reduction == 0
            middle = right if (right - left) % self.reduction == 0 else right - right % level.tile_width
            if whole and left < middle:
                yield self._strip((top, bottom, left, middle), self.reduction)
            if not whole or middle < right:
                yield self._strip((top, bottom, middle if whole else left, right), 1)

    def _strip(self, rectangle: tuple[int, int, int, int], reduction: int) -> _Strip:
        """The part of a rectangle, in the level's pixels, that the output touches."""
        top, bottom, left, right = (side // reduction for side in rectangle)
        touched = self._placement(top, left, reduction).window(bottom - top, right - left, self.size)
        window = top + touched[0], top + touched[1], left + touched[2], left + touched[3]
        return _Strip(window, reduction)

    def _placement(self, top: int, left: int, reduction: int) -> Placement:
        """Of the reduced pixels from (top, left) on."""
        return Placement(
            (top * reduction - self.y) / self.step_y,
            (left * reduction - self.x) / self.step_x,
            reduction / self.step_y,
            reduction / self.step_x,
        )

    def _add(self, strip: _Strip) -> None:
        """Add a strip's average to the band."""
        top, bottom, left, right = strip.window
        height, width = bottom - top, right - left
        if height < 1 or width < 1:
            return
        pixels = np.empty((height, width, 3), np.uint8)
        inside = None
        if self.source.backend.facts.has_holes:
            pixels[:] = self.background.astype(np.uint8)
            inside = np.zeros((height, width), bool)
        parts = parts_of(self.level, strip.window, (top, left), strip.reduction)
        place(self.source, parts, Region(pixels, inside), strip.reduction)
        placement = self._placement(top, left, strip.reduction)

        def average(columns: tuple[int, int]) -> Summand:
            window = 0, height, *columns
            summand = area_part(pixels, placement, window, self.size)
            return self._with_coverage(summand, inside, placement, window) if self.weighs else summand

        threads = min(torch.get_num_threads(), width)
        edges = [width * i // threads for i in range(threads + 1)]
        for row, column, values in handles.in_threads(average, list(pairwise(edges))):
            rows, columns = values.shape[:2]
            row -= self.done
            self.band[row : row + rows, column : column + columns] += values

    def _with_coverage(
        self, summand: Summand, inside: np.ndarray | None, placement: Placement, window: tuple[int, int, int, int]
    ) -> Summand:
        """With a fourth channel: how much of a pixel is covered."""
        if inside is not None:
            weight = area_part(inside[..., None].view(np.uint8), placement, window, self.size).values
            # The background of holes goes: it comes back for all that is not covered.
            summand.values[:] -= (self._weight(summand, placement, window) - weight) * self.background
        else:
            weight = self._weight(summand, placement, window)
        return Summand(summand.row, summand.column, np.concatenate([summand.values, weight], axis=2))

    @staticmethod
    def _weight(summand: Summand, placement: Placement, window: tuple[int, int, int, int]) -> np.ndarray:
        rows, columns = summand.values.shape[:2]
        top, left, step_y, step_x = placement
        down = coverage(top + window[0] * step_y, top + window[1] * step_y, summand.row, rows)
        across = coverage(left + window[2] * step_x, left + window[3] * step_x, summand.column, columns)
        return np.outer(down, across)[..., None]

    def _extend(self, end: int) -> None:
        missing = min(end, self.size[0]) - self.done - len(self.band)
        if missing > 0:
            self.band = np.concatenate([self.band, np.zeros((missing, *self.band.shape[1:]), np.float32)])

    def _finish(self, end: int) -> None:
        """Write the band's rows before `end`, to which no more tiles will add."""
        count = min(end, self.size[0]) - self.done
        ready, self.band = self.band[:count], self.band[count:].copy()
        colours = ready
        if self.weighs:
            weight = ready[..., 3:]
            colours = ready[..., :3] + (1 - weight) * self.background
            if self.inside is not None:
                self.inside[self.done : self.done + count] = weight[..., 0] >= 0.5
        round_to_bytes(colours.reshape(-1), self.pixels[self.done : self.done + count].reshape(-1))
        self.done += count

    def _leave_blank(self, end: int) -> None:
        end = min(end, self.size[0])
        self.pixels[self.done : end] = self.source.backend.facts.background
        self.done = max(end, self.done)
