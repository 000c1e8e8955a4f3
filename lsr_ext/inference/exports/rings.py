"""The outlines of regions, put together from the arcs around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lsr_ext.inference.exports.arcs import Arcs, follow, offsets

_PLACES = 2**32


class Outline(NamedTuple):
    """A region's polygon: its outer ring, anticlockwise where y points up, and its holes, the other way round.

    Attributes:
        region: its id.
        rings: each int32 (n, 2) of x and y, closed; the first is the outer one.
    """

    region: int
    rings: list[np.ndarray]


def join_rings(arcs: Arcs, closed: np.ndarray) -> Iterator[Outline]:
    """Yield the outlines of regions all of whose arcs are here, by id.

    Args:
        arcs: lines, whose ends meet.
        closed: bool (A, 2), whether the region to the left and to the right of each line is wanted.
    """
    lines = [np.flatnonzero(closed[:, side]) for side in (0, 1)]
    if not sum(map(len, lines)):
        return
    # Every line is walked with the region to the left: as it is, or backwards.
    line = np.concatenate(lines)
    is_backward = np.repeat([False, True], [len(lines[0]), len(lines[1])])
    region = np.concatenate([arcs.sides[lines[side], side] for side in (0, 1)])
    order, starts = follow(_following(arcs, line, is_backward, region))
    points, ring_starts = _walk(arcs, line[order], is_backward[order], starts)
    points, ring_starts = _without_straight(points, ring_starts)
    ring_region = region[order[starts[:-1]]]
    is_outer = _twice_area(points, ring_starts) > 0
    if not np.array_equal(np.sort(ring_region[is_outer]), np.unique(ring_region)):
        raise RuntimeError("expected one outer ring for each region: simplifying its outline turned it inside out")
    by_region = np.lexsort((ring_starts[:-1], ~is_outer, ring_region))
    cuts = np.flatnonzero(np.diff(ring_region[by_region])) + 1
    for rings in np.split(by_region, cuts):
        parts = [points[ring_starts[ring] : ring_starts[ring + 1]] for ring in rings]
        yield Outline(int(ring_region[rings[0]]), [np.concatenate([part, part[:1]]) for part in parts])


def _following(arcs: Arcs, line: np.ndarray, is_backward: np.ndarray, region: np.ndarray) -> np.ndarray:
    """For each walk along a line, the one that goes on around the same region."""
    first, last = arcs.points[arcs.starts[line]], arcs.points[arcs.starts[line + 1] - 1]
    start = np.where(is_backward[:, None], last, first)
    end = np.where(is_backward[:, None], first, last)
    # A quarter turn to the right; walking backwards, the direction of a step is the opposite one.
    directions = arcs.directions[line]
    leaving = np.where(is_backward, directions[:, 1] + 2, directions[:, 0]) % 4
    right_turn = (np.where(is_backward, directions[:, 0] + 2, directions[:, 1]) - 1) % 4
    # Where a region touches itself at a corner, the walk turns right, across the corner: so its hole and its outer
    # ring stay apart, and every ring passes a point once.
    leave = np.lexsort((leaving, _place(start), region))
    arrive = np.lexsort((right_turn, _place(end), region))
    following = np.empty(len(line), np.int64)
    following[arrive] = leave
    return following


def _place(points: np.ndarray) -> np.ndarray:
    return points[:, 1].astype(np.int64) * _PLACES + points[:, 0]


def _walk(
    arcs: Arcs, line: np.ndarray, is_backward: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The points of rings, without the last one of each line, and where the rings begin."""
    lengths = np.diff(arcs.starts)[line] - 1
    begins = offsets(lengths)
    within = np.arange(begins[-1]) - np.repeat(begins[:-1], lengths)
    first = np.where(is_backward, arcs.starts[line + 1] - 1, arcs.starts[line])
    index = np.repeat(first, lengths) + within * np.repeat(np.where(is_backward, -1, 1), lengths)
    return arcs.points[index], begins[starts]


def _without_straight(points: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rings without the points on straight lines along an axis, which tiles and neighbours leave behind."""
    after, before = np.arange(1, len(points) + 1), np.arange(-1, len(points) - 1)
    after[starts[1:] - 1], before[starts[:-1]] = starts[:-1], starts[1:] - 1
    straight = ((points[before] == points) & (points[after] == points)).any(1)
    kept = offsets(~straight)
    return points[~straight], kept[starts]


def _twice_area(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Twice the signed area of each ring, above 0 if it is anticlockwise where y points up."""
    after = np.arange(1, len(points) + 1)
    after[starts[1:] - 1] = starts[:-1]
    x, y = points.astype(np.int64).T
    return np.add.reduceat(x * y[after] - x[after] * y, starts[:-1])
