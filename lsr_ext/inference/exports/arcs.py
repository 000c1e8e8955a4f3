"""The boundaries between the regions of a tile, as arcs: lines from one junction of regions to the next.

Two regions share an arc, so what is simplified once fits on both sides. Vertices lie on the corners of pixels, in
(x, y). "Left" is the side of +y for one who walks towards +x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numba import njit

# Directions of a walk: +x, +y, -x, -y; the next one is a quarter turn to the left.
EAST, NORTH, WEST, SOUTH = range(4)


@dataclass(frozen=True)
class Arcs:
    """A lines (M points in all); one that ends where it starts is a whole ring.

    Attributes:
        points: int32 (M, 2), x and y.
        starts: int64 (A + 1,), the index of each line's first point, and M.
        sides: int64 (A, 2), the ids of the regions to the left and to the right; 0: none.
        directions: int8 (A, 2), of the first and the last step, before simplification.
    """

    points: np.ndarray
    starts: np.ndarray
    sides: np.ndarray
    directions: np.ndarray

    def __len__(self) -> int:
        return len(self.sides)

    def taken(self, kept: np.ndarray) -> Arcs:
        """Some of the lines, by a bool (A,) mask."""
        lengths = np.diff(self.starts)
        return Arcs(
            self.points[np.repeat(kept, lengths)],
            offsets(lengths[kept]),
            self.sides[kept],
            self.directions[kept],
        )


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Where runs of these lengths begin, and where the last one ends: int64 (n + 1,)."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def join_arcs(pieces: list[Arcs]) -> Arcs:
    """The lines of several."""
    lengths = np.concatenate([np.diff(piece.starts) for piece in pieces])
    parts = [
        np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("points", "sides", "directions")
    ]
    return Arcs(parts[0], offsets(lengths), *parts[1:])


def trace_arcs(labels: np.ndarray, regions: np.ndarray) -> Arcs:
    """Trace the boundaries along the upper and left edges of a tile's pixels.

    Lines end at junctions, where more than two edges meet, and wherever they meet the tile's border, so that those
    of the next tile go on there.

    Args:
        labels: (1 + H, 1 + W) classes of the tile, with the row above it and the column to its left.
        regions: of the same shape, ids of 4-connected regions of equal class; 0: outside of all.

    Returns:
        Lines in pixels from the tile's upper left corner.
    """
    here = labels[1:, 1:]
    upright, flat = here != labels[1:, :-1], here != labels[:-1, 1:]
    key, is_node = _key_vertices(upright, flat)
    width = key.shape[1]
    parts = []
    for edges, is_flat in ((flat, True), (upright, False)):
        start, end = _runs(key, edges, is_flat)
        row, column = start // width, start % width
        lower = labels[row + 1, column + 1], regions[row + 1, column + 1]
        upper = (row, column + 1) if is_flat else (row + 1, column)
        upper = labels[upper], regions[upper]
        # Along +x, left is below in the image; along +y, left is the pixel before.
        left, right = (lower, upper) if is_flat else (upper, lower)
        turned = left[0] > right[0]  # the smaller class lies to the left, all along an arc
        forward, backward = (EAST, WEST) if is_flat else (NORTH, SOUTH)
        parts.append(
            (
                np.where(turned, end, start),
                np.where(turned, start, end),
                np.where(turned, right[1], left[1]),
                np.where(turned, left[1], right[1]),
                np.where(turned, backward, forward),
            )
        )
    start, end, left, right, direction = (np.concatenate(part) for part in zip(*parts, strict=True))
    return _chain(start, end, np.stack([left, right], 1), direction, is_node.ravel(), width)


def simplify_arcs(arcs: Arcs, size: tuple[int, int], tolerance_px: float) -> Arcs:
    """Leave out points so that no line moves by more than a distance; lines never cross, touch or leave the tile.

    Args:
        arcs: of a tile, from its upper left corner.
        size: (H, W) of the tile.
        tolerance_px: the largest distance of a point that is left out from the new line.
    """
    if not len(arcs):
        return arcs
    lines = shapely.linestrings(arcs.points, indices=np.repeat(np.arange(len(arcs)), np.diff(arcs.starts)))
    fixed = _border(arcs, size)
    # Douglas and Peucker's algorithm for all lines together, which keeps their topology (GEOS).
    simplified = shapely.simplify(shapely.multilinestrings([*lines, *fixed]), tolerance_px, preserve_topology=True)
    parts = shapely.get_parts(simplified)[: len(arcs)]
    points = shapely.get_coordinates(parts).astype(np.int32)
    return Arcs(points, offsets(shapely.get_num_coordinates(parts)), arcs.sides, arcs.directions)


def _border(arcs: Arcs, size: tuple[int, int]) -> np.ndarray:
    """The tile's border as lines between the points where arcs meet it: no arc may be moved onto it."""
    ends = np.concatenate([arcs.points[arcs.starts[:-1]], arcs.points[arcs.starts[1:] - 1]])
    lines = []
    for axis, length in ((0, size[1]), (1, size[0])):
        for place in (0, size[axis]):
            along = np.unique(np.concatenate([ends[ends[:, 1 - axis] == place, axis], [0, length]]))
            points = np.full((len(along), 2), place)
            points[:, axis] = along
            lines.append(np.stack([points[:-1], points[1:]], 1))
    return shapely.linestrings(np.concatenate(lines))


def _key_vertices(upright: np.ndarray, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where lines turn, meet or end, and where they meet or end: bool (H + 1, W + 1)."""
    height, width = upright.shape
    across = np.zeros((height + 1, width + 1), np.uint8)
    down = np.zeros_like(across)
    across[:-1, :-1] = flat
    across[:-1, 1:] += flat
    down[:-1, :-1] = upright
    down[1:, :-1] += upright
    is_node = across + down > 2
    key = is_node | ((across == 1) & (down == 1))
    for border in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        is_node[border] = key[border] = (across[border] + down[border]) > 0
    return key, is_node


def _runs(key: np.ndarray, edges: np.ndarray, is_flat: bool) -> tuple[np.ndarray, np.ndarray]:
    """The straight runs of edges between key vertices: the first and the last vertex, as flat indices."""
    height, width = key.shape
    if is_flat:
        order = np.flatnonzero(key)
        row, column = order // width, order % width
    else:
        column, row = np.divmod(np.flatnonzero(key.T), height)
        order = row * width + column
    inside = (row < height - 1) & (column < width - 1)
    begins = np.zeros(len(order), bool)
    begins[inside] = edges[row[inside], column[inside]]
    first = np.flatnonzero(begins)
    return order[first], order[first + 1]


def _chain(
    start: np.ndarray,
    end: np.ndarray,
    sides: np.ndarray,
    direction: np.ndarray,
    is_node: np.ndarray,
    width: int,
) -> Arcs:
    """Join runs end to start into lines that end at nodes."""
    leaving = np.full(len(is_node), -1, np.int32)
    leaving[start] = np.arange(len(start), dtype=np.int32)
    following = np.where(is_node[end], -1, leaving[end])
    order, starts = follow(following)
    first, last = order[starts[:-1]], order[starts[1:] - 1]
    # Each line has one point more than runs.
    vertices = np.insert(start[order], starts[1:], end[last])
    points = np.stack([vertices % width, vertices // width], 1).astype(np.int32)
    lines = np.arange(len(starts))
    return Arcs(
        points, starts + lines, sides[first], np.stack([direction[first], direction[last]], 1).astype(np.int8)
    )


@njit(cache=True, nogil=True)
def follow(following: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walk along chains, first those with a beginning, then the closed ones.

    Args:
        following: (n,) the index that comes after each, or -1; each index comes after one at most.

    Returns:
        The indices in the order of the walk, int64 (n,), and where each chain begins in it, and n.
    """
    count = len(following)
    is_first = np.ones(count, np.bool_)
    for index in range(count):
        if following[index] >= 0:
            is_first[following[index]] = False
    order, starts = np.empty(count, np.int64), np.empty(count + 1, np.int64)
    seen = np.zeros(count, np.bool_)
    done, chains = 0, 0
    for only_open in (True, False):
        for first in range(count):
            if seen[first] or (only_open and not is_first[first]):
                continue
            starts[chains] = done
            chains += 1
            index = first
            while index >= 0 and not seen[index]:
                seen[index] = True
                order[done] = index
                done += 1
                index = following[index]
    starts[chains] = done
    return order, starts[: chains + 1].copy()
