"""The outlines of a slide's regions, traced tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from skimage.measure import label

from lsr_ext.inference.exports.arcs import Arcs, join_arcs, simplify_arcs, trace_arcs
from lsr_ext.inference.exports.rings import join_rings
from lsr_ext.inference.slide_store import NOT_PREDICTED
from lsr_ext.progress import track_progress

TILE_PX = 512


class OutlinedRegion(NamedTuple):
    """A 4-connected region of one class.

    Attributes:
        class_id: of its pixels.
        area_px: their number.
        total: the sum of a value over them; 0 if no values were given.
        rings: its polygon, the outer ring first, each int32 (n, 2) of x and y, closed, in pixels of the map.
    """

    class_id: int
    area_px: int
    total: float
    rings: list[np.ndarray]


def outline_regions(
    classes: Any,
    *,
    tolerance_px: float = 0.0,
    min_area_px: float = 0.0,
    wanted: set[int] | None = None,
    values: Callable[[tuple[slice, slice], np.ndarray], np.ndarray] | None = None,
) -> Iterator[OutlinedRegion]:
    """Yield the polygons of a label map as soon as each is complete; memory grows with those that are not.

    With a tolerance of 0 they run along the edges of pixels and fill exactly the map. Otherwise every line between
    two regions is simplified once, for both: it moves by the tolerance at most, crosses no other line, and leaves
    the points where three regions meet. So polygons are valid, and neither overlap nor leave gaps.

    Args:
        classes: (H, W) of class ids, an array that can be sliced; 255 is outside of all regions.
        tolerance_px: how far lines may move, in pixels of the map.
        min_area_px: leave out smaller regions; their neighbours keep a hole there.
        wanted: the ids of the classes to outline; None: all.
        values: a place in the map and its classes -> values, of the same shape.

    Raises:
        ValueError: a tolerance or an area below 0.
    """
    if not (tolerance_px >= 0 and min_area_px >= 0):
        raise ValueError(f"expected a tolerance and an area of at least 0, got {tolerance_px} and {min_area_px}")
    height, width = classes.shape
    known = _Regions()
    open_arcs: list[Arcs] = []
    above = np.full(width, NOT_PREDICTED, np.uint8), np.zeros(width, np.int64)
    for top in track_progress(range(0, height, TILE_PX), "outlining"):
        place = slice(top, min(top + TILE_PX, height)), slice(0, width)
        strip = np.asarray(classes[place])
        ids = known.add(strip, None if values is None else values(place, strip))
        known.join(strip[0], above[0], ids[0], above[1])
        is_last = place[0].stop == height
        arcs = _trace_strip(strip, ids, above, is_last, tolerance_px)
        above = strip[-1].copy(), ids[-1].copy()
        is_open = known.is_open(above[1][:0] if is_last else above[1])
        is_wanted = known.is_wanted(wanted)
        merged = join_arcs([*open_arcs, replace(arcs, points=arcs.points + np.array([0, top], np.int32))])
        merged = replace(merged, sides=known.roots[merged.sides])
        finished = is_wanted & ~is_open & (known.area_px >= min_area_px)
        for outline in join_rings(merged, finished[merged.sides]):
            yield known.outlined(outline.region, outline.rings)
        still_open = np.where((is_wanted & is_open)[merged.sides], merged.sides, 0)
        open_arcs = [replace(merged, sides=still_open).taken(still_open.any(1))]


def _trace_strip(
    strip: np.ndarray,
    ids: np.ndarray,
    above: tuple[np.ndarray, np.ndarray],
    is_last: bool,
    tolerance_px: float,
) -> Arcs:
    """The arcs of a strip of rows, in pixels from its corner; by tiles, for simplifying many takes longer each."""
    height, width = strip.shape
    # With the row above, a column outside before and after, and below the map a row outside.
    size = 1 + height + is_last, 1 + width + 1
    framed = np.full(size, NOT_PREDICTED, np.uint8), np.zeros(size, np.int64)
    for frame, row, inside in zip(framed, above, (strip, ids), strict=True):
        frame[0, 1:-1], frame[1 : 1 + height, 1:-1] = row, inside
    traced = []
    for left in range(0, width + 1, TILE_PX):
        tile = np.s_[:, left : left + TILE_PX + 1]
        arcs = trace_arcs(framed[0][tile], framed[1][tile])
        if tolerance_px:
            arcs = simplify_arcs(arcs, (size[0] - 1, min(TILE_PX, width + 1 - left)), tolerance_px)
        traced.append(replace(arcs, points=arcs.points + np.array([left, 0], np.int32)))
    return join_arcs(traced)


class _Regions:
    """What is known of regions, by id; those that turn out to be one have one root."""

    def __init__(self) -> None:
        self.roots = np.zeros(1, np.int64)
        self.class_of = np.full(1, NOT_PREDICTED, np.uint8)
        self.area_px = np.zeros(1, np.int64)
        self.total = np.zeros(1)

    def add(self, strip: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """Number the regions of a strip: int64 ids of its pixels."""
        ids = label(strip, background=NOT_PREDICTED, connectivity=1)
        count, first = int(ids.max(initial=0)), len(self.roots)
        class_of, area_px, total = np.zeros(count, np.uint8), np.zeros(count, np.int64), np.zeros(count)
        _measure(ids, strip, strip[:0] if values is None else values, first - 1, class_of, area_px, total)
        self.roots = np.append(self.roots, np.arange(first, first + count))
        self.class_of = np.append(self.class_of, class_of)
        self.area_px = np.append(self.area_px, area_px)
        self.total = np.append(self.total, total)
        return ids

    def join(self, classes: np.ndarray, others: np.ndarray, ids: np.ndarray, other_ids: np.ndarray) -> None:
        """Make one of regions of one class that share an edge."""
        touching = (classes == others) & (ids > 0) & (other_ids > 0)
        for pair in np.unique(np.stack([ids[touching], other_ids[touching]], 1), axis=0).tolist():
            one, other = sorted(map(self._root, pair))
            if one != other:
                self.roots[other] = one
                self.area_px[one] += self.area_px[other]
                self.total[one] += self.total[other]

    def is_open(self, last_row: np.ndarray) -> np.ndarray:
        """Whether each region goes on below a row, by root; also sets `roots` to the roots."""
        while not np.array_equal(found := self.roots[self.roots], self.roots):
            self.roots = found
        is_open = np.zeros(len(self.roots), bool)
        is_open[self.roots[last_row]] = True
        return is_open

    def is_wanted(self, wanted: set[int] | None) -> np.ndarray:
        """Whether each root is of a class to be outlined."""
        is_wanted = np.ones(len(self.roots), bool) if wanted is None else np.isin(self.class_of, list(wanted))
        is_wanted[0] = False
        return is_wanted

    def outlined(self, root: int, rings: list[np.ndarray]) -> OutlinedRegion:
        return OutlinedRegion(int(self.class_of[root]), int(self.area_px[root]), float(self.total[root]), rings)

    def _root(self, region: int) -> int:
        while self.roots[region] != region:
            self.roots[region] = self.roots[self.roots[region]]
            region = int(self.roots[region])
        return region


@njit(cache=True, nogil=True)
def _measure(
    ids: np.ndarray,
    classes: np.ndarray,
    values: np.ndarray,
    first: int,
    class_of: np.ndarray,
    area_px: np.ndarray,
    total: np.ndarray,
) -> None:
    """Count the pixels of each region, add up their values if there are any, and add `first` to their ids."""
    height, width = ids.shape
    for row in range(height):
        for column in range(width):
            region = ids[row, column] - 1
            if region < 0:
                continue
            class_of[region] = classes[row, column]
            area_px[region] += 1
            if len(values):
                total[region] += values[row, column]
            ids[row, column] = region + 1 + first
