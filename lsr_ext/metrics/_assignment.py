"""Find the assignment of dots with the most pairs, and among those the one with the smallest total distance."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array, csr_array, hstack
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

_DENSE_CELLS = 2**20


def optimal_partners(pairs: np.ndarray, distances: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the partner in b of every dot of a, or -1; each connected component of the pairs is solved by itself.

    Args:
        pairs: (K, 2) indices in a and in b of the pairs that may match.
        distances: (K,), of the pairs.
        shape: how many dots a and b have.
    """
    partner = np.full(shape[0], -1, np.int64)
    ends = (pairs[:, 0], shape[0] + pairs[:, 1])
    graph = coo_array((np.ones(len(pairs), np.int8), ends), shape=(sum(shape),) * 2)
    count, component_of = connected_components(graph, directed=False)
    place_a, start_a = _places(component_of[: shape[0]], count)
    place_b, start_b = _places(component_of[shape[0] :], count)
    component = component_of[pairs[:, 0]]
    order = np.lexsort((distances, component))
    pairs, distances, component = pairs[order], distances[order], component[order]
    start = np.flatnonzero(np.diff(component, prepend=-1))
    size_a, size_b = np.diff(start_a)[component[start]], np.diff(start_b)[component[start]]
    # A component that has only one dot on one side keeps its closest pair.
    alone = start[(size_a == 1) | (size_b == 1)]
    partner[pairs[alone, 0]] = pairs[alone, 1]
    row = place_a[pairs[:, 0]] - start_a[component]
    column = place_b[pairs[:, 1]] - start_b[component]
    dots_a, dots_b = np.argsort(place_a), np.argsort(place_b)
    stop = np.append(start[1:], len(pairs))
    for k in np.flatnonzero((size_a > 1) & (size_b > 1)):
        edges = slice(start[k], stop[k])
        chosen = _solve(row[edges], column[edges], distances[edges], (size_a[k], size_b[k]))
        c = component[start[k]]
        partner[dots_a[start_a[c] + chosen[0]]] = dots_b[start_b[c] + chosen[1]]
    return partner


def _places(component: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each dot's position sorted by component, and each component's start, the total last."""
    place = np.empty(len(component), np.int64)
    place[np.argsort(component, kind="stable")] = np.arange(len(component))
    return place, np.concatenate([[0], np.cumsum(np.bincount(component, minlength=count))])


def _solve(
    row: np.ndarray, column: np.ndarray, distances: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns that are paired in one component."""
    distances = distances / (distances.max() or 1)
    # One more pair outweighs all distances: their sum is less than this.
    absent = min(shape) + 1
    if shape[0] * shape[1] > _DENSE_CELLS:
        return _solve_sparse(row, column, distances, shape, absent)
    cost = np.full(shape, float(absent))
    cost[row, column] = distances
    rows, columns = linear_sum_assignment(cost)
    is_pair = cost[rows, columns] < absent
    return rows[is_pair], columns[is_pair]


def _solve_sparse(
    row: np.ndarray, column: np.ndarray, distances: np.ndarray, shape: tuple[int, int], absent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Do the same in memory linear in the edges: each row gets an extra column that stands for "no pair"."""
    # Adding a constant does not change the choice, and keeps a distance of 0 from being read as "no edge".
    edges = csr_array((distances + absent, (row, column)), shape=shape)
    own = csr_array((np.full(shape[0], 2.0 * absent), (np.arange(shape[0]),) * 2))
    rows, columns = min_weight_full_bipartite_matching(hstack([edges, own], format="csr"))
    is_pair = columns < shape[1]
    return rows[is_pair], columns[is_pair]
