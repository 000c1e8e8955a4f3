"""Numba kernels that match dots on a uniform grid of buckets. Imported at first use, because numba is an extra.

Squared distances are (x_a - x_b)^2 + (y_a - y_b)^2 in float64 without fused operations, so NumPy gives the same
bits.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

_ROW_STRIDE = 0x9E3779B97F4A7  # odd: spreads the rows of a grid that is larger than its buckets


class Grid(NamedTuple):
    """Square cells of side 1 / per_unit; cell (row, column) is bucket (row * stride + column) & mask."""

    x0: float
    y0: float
    per_unit: float
    columns: int
    rows: int
    stride: int
    mask: int
    reach: float


class Sorted(NamedTuple):
    """Dots sorted by bucket: bucket k holds start[k] to start[k + 1]; `index` is their original position."""

    start: np.ndarray
    index: np.ndarray
    xy: np.ndarray


def make_grid(a: np.ndarray, b: np.ndarray, radius: float) -> Grid:
    """Make a grid over both sets, with two to four times as many buckets as dots in the larger set.

    If there are more cells than buckets, cells share buckets, so memory is linear in the number of dots.
    """
    # Column by column: NumPy reduces an (N, 2) array along its rows many times more slowly.
    low = np.array([min(a[:, axis].min(), b[:, axis].min()) for axis in (0, 1)])
    high = np.array([max(a[:, axis].max(), b[:, axis].max()) for axis in (0, 1)])
    # Wider than the radius by more than the rounding error, so that no dot exactly at the radius is lost.
    reach = radius * (1 + 2**-40) + 2**-50 * float(np.abs([low, high]).max())
    side = max(2 * reach, 2**-50 * float((high - low).max()))
    columns, rows = (int(extent / side) + 1 for extent in high - low)
    buckets = 1 << (2 * max(len(a), len(b))).bit_length()
    stride = columns if columns * rows <= buckets else _ROW_STRIDE
    return Grid(float(low[0]), float(low[1]), 1 / side, columns, rows, stride, buckets - 1, reach)


@njit(cache=True, nogil=True)
def _column(grid: Grid, x: float) -> int:
    return min(max(int((x - grid.x0) * grid.per_unit), 0), grid.columns - 1)


@njit(cache=True, nogil=True)
def _row(grid: Grid, y: float) -> int:
    return min(max(int((y - grid.y0) * grid.per_unit), 0), grid.rows - 1)


@njit(cache=True, nogil=True)
def sort_into(grid: Grid, xy: np.ndarray) -> Sorted:
    """Sort dots (N, 2) by bucket (counting sort), by index within a bucket."""
    start = np.zeros(grid.mask + 3, np.int32)
    buckets = np.empty(len(xy), np.int32)
    for i in range(len(xy)):
        bucket = (_row(grid, xy[i, 1]) * grid.stride + _column(grid, xy[i, 0])) & grid.mask
        buckets[i] = bucket
        start[bucket + 2] += 1
    for k in range(2, len(start)):
        start[k] += start[k - 1]
    index = np.empty(len(xy), np.int32)
    ordered = np.empty_like(xy)
    for i in range(len(xy)):
        # start[k + 1] moves from the first position of bucket k to that of the next bucket.
        place = start[buckets[i] + 1]
        start[buckets[i] + 1] += 1
        index[place] = i
        ordered[place] = xy[i]
    return Sorted(start, index, ordered)


@njit(cache=True, nogil=True)
def _nearest(grid: Grid, dots: Sorted, x: float, y: float, radius2: float) -> int:
    """Return the position of the nearest dot within the radius (lowest index if equally near), or -1.

    A dot that is already matched has an infinite x, so it is near nothing.
    """
    best, best_distance2 = -1, radius2
    first, last = _column(grid, x - grid.reach), _column(grid, x + grid.reach)
    for row in range(_row(grid, y - grid.reach), _row(grid, y + grid.reach) + 1):
        column = first
        while column <= last:
            # Neighbouring columns are neighbouring buckets, up to where the buckets wrap around.
            bucket = (row * grid.stride + column) & grid.mask
            run = min(last - column, grid.mask - bucket)
            for k in range(dots.start[bucket], dots.start[bucket + run + 1]):
                dx, dy = dots.xy[k, 0] - x, dots.xy[k, 1] - y
                distance2 = dx * dx + dy * dy
                if distance2 > best_distance2:
                    continue
                if distance2 < best_distance2 or best < 0 or dots.index[k] < dots.index[best]:
                    best, best_distance2 = k, distance2
            column += run + 1
    return best


@njit(cache=True, nogil=True)
def closest_first(grid: Grid, a: Sorted, b: Sorted, radius: float) -> np.ndarray:
    """Return the partner in b of every dot of a, or -1; pairs are taken by (squared distance, index in a, in b).

    If two dots are each other's nearest free dot, this order always takes them as a pair. From any dot, following
    the nearest free dot leads to such a pair, because each step reaches a pair that comes earlier in the order.
    The rest of the chain is then followed in the same way. So no list of pairs is needed, and no sorting.
    """
    partner = np.full(len(a.xy), -1, np.int64)
    chain = np.empty(len(a.xy) + len(b.xy), np.int32)
    radius2 = radius * radius
    for first in range(len(a.xy)):
        if a.xy[first, 0] == np.inf:
            continue
        chain[0] = first
        length = 1
        while length > 0:
            last = chain[length - 1]
            if length % 2 == 1:
                nearest = _nearest(grid, b, a.xy[last, 0], a.xy[last, 1], radius2)
            else:
                nearest = _nearest(grid, a, b.xy[last, 0], b.xy[last, 1], radius2)
            if nearest < 0:
                break  # only the first dot of a chain can stay without a partner
            if length == 1 or nearest != chain[length - 2]:
                chain[length] = nearest
                length += 1
                continue
            in_a, in_b = (last, nearest) if length % 2 == 1 else (nearest, last)
            partner[a.index[in_a]] = b.index[in_b]
            a.xy[in_a, 0] = b.xy[in_b, 0] = np.inf
            length -= 2
    return partner


@njit(cache=True, nogil=True)
def in_order(grid: Grid, a_xy: np.ndarray, b: Sorted, order: np.ndarray, radius: float) -> np.ndarray:
    """Return the partner in b of every dot of a, or -1: in the given order, each takes the nearest free dot."""
    partner = np.full(len(a_xy), -1, np.int64)
    for i in order:
        nearest = _nearest(grid, b, a_xy[i, 0], a_xy[i, 1], radius * radius)
        if nearest >= 0:
            partner[i] = b.index[nearest]
            b.xy[nearest, 0] = np.inf
    return partner


@njit(cache=True, nogil=True)
def _visit_pairs(
    grid: Grid, a_xy: np.ndarray, b: Sorted, radius: float, pairs: np.ndarray, distances2: np.ndarray
) -> int:
    """Write the pairs within the radius, as many as there is space for, and return how many there are."""
    count = 0
    for i in range(len(a_xy)):
        x, y = a_xy[i, 0], a_xy[i, 1]
        for row in range(_row(grid, y - grid.reach), _row(grid, y + grid.reach) + 1):
            for column in range(_column(grid, x - grid.reach), _column(grid, x + grid.reach) + 1):
                bucket = (row * grid.stride + column) & grid.mask
                for k in range(b.start[bucket], b.start[bucket + 1]):
                    dx, dy = b.xy[k, 0] - x, b.xy[k, 1] - y
                    distance2 = dx * dx + dy * dy
                    if distance2 > radius * radius:
                        continue
                    # Otherwise cells that share a bucket would list its dots twice.
                    if _row(grid, b.xy[k, 1]) != row or _column(grid, b.xy[k, 0]) != column:
                        continue
                    if count < len(pairs):
                        pairs[count, 0], pairs[count, 1] = i, b.index[k]
                        distances2[count] = distance2
                    count += 1
    return count


@njit(cache=True, nogil=True)
def pairs_within(grid: Grid, a_xy: np.ndarray, b: Sorted, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs within the radius, int64 (K, 2), by index in a, and their squared distances (K,)."""
    count = _visit_pairs(grid, a_xy, b, radius, np.empty((0, 2), np.int64), np.empty(0))
    pairs, distances2 = np.empty((count, 2), np.int64), np.empty(count)
    _visit_pairs(grid, a_xy, b, radius, pairs, distances2)
    return pairs, distances2


@njit(cache=True, nogil=True)
def collect(
    a_xy: np.ndarray, b_xy: np.ndarray, partner: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs (K, 2), their distances (K,), and the indices in a and in b that have no partner."""
    matched = 0
    for i in range(len(partner)):
        matched += partner[i] >= 0
    pairs, distances = np.empty((matched, 2), np.int64), np.empty(matched)
    free_a, free_b = np.empty(len(a_xy) - matched, np.int64), np.empty(len(b_xy) - matched, np.int64)
    is_free = np.ones(len(b_xy), np.bool_)
    k = 0
    for i in range(len(partner)):
        j = partner[i]
        if j < 0:
            free_a[i - k] = i
            continue
        pairs[k, 0], pairs[k, 1] = i, j
        dx, dy = b_xy[j, 0] - a_xy[i, 0], b_xy[j, 1] - a_xy[i, 1]
        distances[k] = np.sqrt(dx * dx + dy * dy)
        is_free[j] = False
        k += 1
    k = 0
    for j in range(len(b_xy)):
        if is_free[j]:
            free_b[k] = j
            k += 1
    return pairs, distances, free_a, free_b
