"""The outlines of a slide's regions, traced tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from skimage.measure import label

from lsr_ext.inference.exports.arcs import Arcs, join_arcs, simplify_arcs, trace_arcs
from lsr_ext.inference.exports.rings import join_rings
from lsr_ext.inference.slide_store import NOT_PREDICTED
from lsr_ext.progress import track_progress

TILE_PX = 2048


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
    above = np.full(width + 1, NOT_PREDICTED, np.uint8), np.zeros(width + 1, np.int64)
    tops = range(0, height, TILE_PX)
    for top in track_progress(tops, "outlining", least=2):
        above, arcs = _trace_row(classes, top, above, known, tolerance_px, values)
        is_open = known.is_open(above[1] if top + TILE_PX < height else above[1][:0])
        merged = join_arcs([*open_arcs, arcs])
        merged = replace(merged, sides=known.roots[merged.sides])
        is_wanted = known.is_wanted(min_area_px, wanted)
        for outline in join_rings(merged, (is_wanted & ~is_open)[merged.sides]):
            yield known.outlined(outline.region, outline.rings)
        still_open = np.where((is_wanted & is_open)[merged.sides], merged.sides, 0)
        open_arcs = [replace(merged, sides=still_open).taken(still_open.any(1))]


def _trace_row(
    classes: Any,
    top: int,
    above: tuple[np.ndarray, np.ndarray],
    known: _Regions,
    tolerance_px: float,
    values: Callable[[tuple[slice, slice], np.ndarray], np.ndarray] | None,
) -> tuple[tuple[np.ndarray, np.ndarray], Arcs]:
    """Trace a row of tiles; return its last row of classes and regions, and its arcs."""
    height, width = classes.shape
    bottom = min(top + TILE_PX, height)
    below = above[0].copy(), above[1].copy()
    before = np.full(bottom - top, NOT_PREDICTED, np.uint8), np.zeros(bottom - top, np.int64)
    traced = []
    for left in range(0, width, TILE_PX):
        right = min(left + TILE_PX, width)
        place = slice(top, bottom), slice(left, right)
        tile = np.asarray(classes[place])
        ids = known.add(tile, None if values is None else values(place, tile))
        # With the row above and the column before; at the map's end also with a row and a column outside.
        size = bottom - top + 1 + (bottom == height), right - left + 1 + (right == width)
        framed = np.full(size, NOT_PREDICTED, np.uint8), np.zeros(size, np.int64)
        for frame, inside, row, column in zip(framed, (tile, ids), above, before, strict=True):
            frame[1 : bottom - top + 1, 1 : right - left + 1] = inside
            frame[0, 1 : right - left + 1] = row[left:right]
            frame[1 : bottom - top + 1, 0] = column
        known.join(framed[0][0], framed[0][1], framed[1][0], framed[1][1])
        known.join(framed[0][:, 0], framed[0][:, 1], framed[1][:, 0], framed[1][:, 1])
        arcs = trace_arcs(*framed)
        if tolerance_px:
            arcs = simplify_arcs(arcs, (size[0] - 1, size[1] - 1), tolerance_px)
        traced.append(replace(arcs, points=arcs.points + np.array([left, top], np.int32)))
        below[0][left:right], below[1][left:right] = tile[-1], ids[-1]
        before = tile[:, -1], ids[:, -1]
    return below, join_arcs(traced)


class _Regions:
    """What is known of regions, by id; those that turn out to be one have one root."""

    def __init__(self) -> None:
        self.roots = np.zeros(1, np.int64)
        self.class_of = np.full(1, NOT_PREDICTED, np.uint8)
        self.area_px = np.zeros(1, np.int64)
        self.total = np.zeros(1)

    def add(self, tile: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        """Number the regions of a tile: int64 ids of its pixels."""
        local = label(tile, background=NOT_PREDICTED, connectivity=1).astype(np.int64)
        count, first = int(local.max(initial=0)), len(self.roots)
        flat = local.ravel()
        class_of = np.zeros(count + 1, np.uint8)
        class_of[flat] = tile.ravel()
        total = np.zeros(count + 1) if values is None else np.bincount(flat, values.ravel(), count + 1)
        self.roots = np.append(self.roots, np.arange(first, first + count))
        self.class_of = np.append(self.class_of, class_of[1:])
        self.area_px = np.append(self.area_px, np.bincount(flat, minlength=count + 1)[1:])
        self.total = np.append(self.total, total[1:])
        return np.where(local > 0, local + (first - 1), 0)

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

    def is_wanted(self, min_area_px: float, wanted: set[int] | None) -> np.ndarray:
        """Whether each root is to be outlined; one that is open may still grow."""
        is_wanted = np.ones(len(self.roots), bool) if wanted is None else np.isin(self.class_of, list(wanted))
        is_wanted[0] = False
        return is_wanted

    def outlined(self, root: int, rings: list[np.ndarray]) -> OutlinedRegion:
        return OutlinedRegion(
            int(self.class_of[root]), int(self.area_px[root]), float(self.total[root]), rings
        )

    def _root(self, region: int) -> int:
        while self.roots[region] != region:
            self.roots[region] = self.roots[self.roots[region]]
            region = int(self.roots[region])
        return region
