"""Match dots with dots: find which dots mark the same cell (section 3.1.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from lsr_ext.metrics._assignment import optimal_partners
from lsr_ext.metrics._kernels import load_kernels

if TYPE_CHECKING:
    from lsr_ext.metrics._grid import Grid

METHODS = ("closest_first", "max_cardinality", "optimal", "confidence_first")
_LARGEST = 1e100  # squares of smaller numbers stay finite


@dataclass(frozen=True)
class DotMatches:
    """Which dots of two sets match.

    Attributes:
        pairs: int64 (K, 2), index in a and index in b, by index in a.
        distances: float64 (K,), in the dots' unit.
        unmatched_a, unmatched_b: int64, the indices without a partner, ascending.

    Example:
        >>> match_dots([[0, 0]], [[3, 4]], radius=5).distances.tolist()
        [5.0]
    """

    pairs: np.ndarray
    distances: np.ndarray
    unmatched_a: np.ndarray
    unmatched_b: np.ndarray

    @property
    def precision(self) -> float:
        """Matched share of a, where a are the detections; NaN if a is empty."""
        return _share(len(self.pairs), len(self.pairs) + len(self.unmatched_a))

    @property
    def recall(self) -> float:
        """Matched share of b, where b is the truth; NaN if b is empty."""
        return _share(len(self.pairs), len(self.pairs) + len(self.unmatched_b))

    @property
    def f1(self) -> float:
        """2 K / (len(a) + len(b)): 0 if one set is empty, NaN if both are."""
        return _share(2 * len(self.pairs), 2 * len(self.pairs) + len(self.unmatched_a) + len(self.unmatched_b))


def match_dots(
    a: np.ndarray,
    b: np.ndarray,
    radius: float,
    method: str = "closest_first",
    *,
    scores: np.ndarray | None = None,
) -> DotMatches:
    """Match two sets of dots one to one; dots that are farther apart than `radius` never match.

    Two dots may match if (x_a - x_b)^2 + (y_a - y_b)^2 <= radius^2, in float64. Of the pairs that may
    match,

    - "closest_first" repeatedly takes the closest pair whose dots are both free; at equal distances the one with
      the lowest index in a, then in b;
    - "max_cardinality" takes as many pairs as possible, whatever their distances;
    - "optimal" takes as many pairs as possible, and of those choices one with the smallest total distance;
    - "confidence_first" lets the dots of a choose in order of decreasing score (then of index), each the
      closest free dot of b (then the lowest index), as detection benchmarks do.

    The first and the last take time and memory linear in the number of dots, if each dot has few dots within
    reach. The others store the list of all pairs within reach.

    Args:
        a: (N, 2) x and y, integer or floating; the detections or the first rater.
        b: (M, 2) x and y in the same unit; the truth or the second rater.
        radius: in that unit, above 0.
        method: see above.
        scores: (N,) confidence of the dots of a; only for "confidence_first".

    Raises:
        TypeError: coordinates or scores that are not real numbers.
        ValueError: another shape, values that are NaN, infinite or beyond 1e100 (the message names the row), a
            radius that is not above 0, an unknown method, missing scores, or scores for a method without them.
        ModuleNotFoundError: numba is not installed; it is in the extra `lsr_ext[metrics]`.

    Example:
        >>> matches = match_dots([[0, 0], [10, 0]], [[1, 0], [50, 0]], radius=5)
        >>> matches.pairs.tolist(), matches.unmatched_a.tolist(), matches.f1
        ([[0, 0]], [1], 0.5)
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    # This form rejects NaN too.
    if not 1 / _LARGEST <= radius <= _LARGEST:
        raise ValueError(f"expected a radius above 0 and up to {_LARGEST:g}, got {radius}")
    a, b = check_coordinates(a, "a"), check_coordinates(b, "b")
    if (scores is None) == (method == "confidence_first"):
        raise ValueError(f"scores go with 'confidence_first', got method {method!r} and scores {scores!r}")
    if scores is not None:
        scores = check_scores(scores, len(a))
    if not len(a) or not len(b):
        return DotMatches(np.empty((0, 2), np.int64), np.empty(0), np.arange(len(a)), np.arange(len(b)))
    partner = _partners(a, b, float(radius), method, scores)
    return DotMatches(*load_kernels("grid").collect(a, b, partner))


def check_coordinates(xy: np.ndarray, name: str) -> np.ndarray:
    """Convert dots to float64 (N, 2), C-contiguous and finite; an empty sequence means no dots.

    Raises:
        TypeError, ValueError: as `match_dots` does, with `name` in the message.
    """
    xy = np.asarray(xy)
    if xy.size == 0 and xy.ndim <= 2:
        return np.empty((0, 2))
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ValueError(f"expected dots {name} of shape (N, 2), x and y, got {xy.shape}")
    if xy.dtype.kind not in "iuf":
        raise TypeError(f"expected numbers as coordinates of {name}, got {xy.dtype}")
    # Writable too: Numba would compile the kernels again for read-only arrays.
    xy = np.require(xy, np.float64, ("C", "W"))
    # If there is a NaN, it is both the minimum and the maximum.
    if not (xy.min() >= -_LARGEST and xy.max() <= _LARGEST):
        row = int((~(np.abs(xy) <= _LARGEST).all(1)).argmax())
        raise ValueError(f"expected finite coordinates, got {tuple(xy[row].tolist())} in row {row} of {name}")
    return xy


def check_scores(scores: np.ndarray, count: int) -> np.ndarray:
    """Convert scores to float64 (count,) without NaN.

    Raises:
        TypeError, ValueError: as `match_dots` does.
    """
    scores = np.asarray(scores)
    if scores.shape != (count,):
        raise ValueError(f"expected scores of shape ({count},), one per dot, got {scores.shape}")
    if count and scores.dtype.kind not in "iuf":
        raise TypeError(f"expected numbers as scores, got {scores.dtype}")
    scores = scores.astype(np.float64)
    if np.isnan(scores).any():
        raise ValueError(f"expected scores without NaN, got NaN in row {int(np.isnan(scores).argmax())}")
    return scores


def _partners(a: np.ndarray, b: np.ndarray, radius: float, method: str, scores: np.ndarray | None) -> np.ndarray:
    """Return the index in b that each dot of a matches, or -1."""
    kernels = load_kernels("grid")
    grid: Grid = kernels.make_grid(a, b, radius)
    if method == "closest_first":
        return kernels.closest_first(grid, kernels.sort_into(grid, a), kernels.sort_into(grid, b), radius)
    sorted_b = kernels.sort_into(grid, b)
    if method == "confidence_first":
        return kernels.in_order(grid, a, sorted_b, np.argsort(-scores, kind="stable"), radius)
    pairs, distances2 = kernels.pairs_within(grid, a, sorted_b, radius)
    shape = (len(a), len(b))
    if method == "max_cardinality":
        edges = csr_array((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=shape)
        return maximum_bipartite_matching(edges, perm_type="column").astype(np.int64)
    return optimal_partners(pairs, np.sqrt(distances2), shape)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
