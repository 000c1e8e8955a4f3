"""Matching of dots against a sort of all pairs, scipy's matchings and hand-worked cases."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from lsr_ext.metrics import _assignment, match_dots

DTYPES = {"float64": np.float64, "float32": np.float32, "int64": np.int64, "int16": np.int16}


@st.composite
def dot_sets(draw):
    """Two small sets on a coarse lattice, so that dots coincide and distances tie, and a radius."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    step = 1 if dtype in (np.int64, np.int16) else draw(st.sampled_from([1, 0.5, 0.1]))
    offset = 0 if dtype is np.int16 else draw(st.sampled_from([0, 1_000_000, -1_000_000]))
    far = draw(st.booleans())
    rows = st.just(0) if draw(st.booleans()) else st.integers(-3, 3)
    dot = st.tuples(st.integers(-4, 4), rows)
    sets = []
    for _ in range(2):
        xy = np.array(draw(st.lists(dot, max_size=8)), dtype=np.float64).reshape(-1, 2) * step + offset
        if far and len(xy):
            xy[0] *= 20
        sets.append(xy.astype(dtype))
    radius = draw(st.sampled_from([0.1, 0.5, 1, 2**0.5, 2, 2.5, 5, 100]))
    return *sets, radius


def squared_distances(a, b):
    difference = a.astype(np.float64)[:, None] - b.astype(np.float64)[None]
    return difference[..., 0] ** 2 + difference[..., 1] ** 2


def sorted_pairs_greedy(distances2, radius):
    rows, columns = np.nonzero(distances2 <= radius**2)
    pairs = []
    for _, i, j in sorted((distances2[i, j], i, j) for i, j in zip(rows, columns, strict=True)):
        if all(i != k and j != m for k, m in pairs):
            pairs.append((int(i), int(j)))
    return sorted(pairs)


def scipy_least_total(distances, within):
    """The least total distance of as many pairs as possible: a row without a partner takes a costly column."""
    price = distances[within].max() * (len(distances) + 1) + 1  # no larger: the sum must keep a distance's digits
    cost = np.hstack([np.where(within, distances + price, 0), np.diag(np.full(len(distances), 3 * price))])
    rows, columns = min_weight_full_bipartite_matching(csr_array(cost))
    is_pair = columns < distances.shape[1]
    return distances[rows[is_pair], columns[is_pair]].sum()


@settings(max_examples=5 * settings().max_examples // 2)
@given(dot_sets())
def test_against_all_pairs_and_scipy(sets):
    a, b, radius = sets
    distances2 = squared_distances(a, b)
    within = distances2 <= radius**2
    closest = match_dots(a, b, radius)
    assert list(map(tuple, closest.pairs)) == sorted_pairs_greedy(distances2, radius)
    most, optimal = (match_dots(a, b, radius, method) for method in ("max_cardinality", "optimal"))
    count = 0
    if within.any():
        count = (maximum_bipartite_matching(csr_array(within), perm_type="column") >= 0).sum()
        least = scipy_least_total(np.sqrt(distances2), within)
        np.testing.assert_allclose(optimal.distances.sum(), least, rtol=1e-9, atol=1e-12)
    assert len(most.pairs) == len(optimal.pairs) == count
    for matches in (closest, most, optimal):
        i, j = matches.pairs.T
        assert within[i, j].all()
        np.testing.assert_allclose(matches.distances, np.sqrt(distances2[i, j]), rtol=1e-15)
        assert sorted([*i, *matches.unmatched_a]) == list(range(len(a)))
        assert sorted([*j, *matches.unmatched_b]) == list(range(len(b)))


@given(dot_sets(), st.data())
def test_confidence_first_by_loop(sets, data):
    a, b, radius = sets
    scores = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(a), max_size=len(a))), dtype=float)
    distances2 = squared_distances(a, b)
    expected, taken = {}, set()
    for i in sorted(range(len(a)), key=lambda i: (-scores[i], i)):
        free = [(distances2[i, j], j) for j in range(len(b)) if j not in taken and distances2[i, j] <= radius**2]
        if free:
            expected[i] = min(free)[1]
            taken.add(expected[i])
    matches = match_dots(a, b, radius, "confidence_first", scores=scores)
    assert dict(matches.pairs.tolist()) == expected


@pytest.mark.parametrize(
    ("spread", "radius", "outlier"), [(300, 3, 0), (30, 1, 0), (1000, 0.5, 0), (300, 3, 1e12), (1e7, 1e5, 0)]
)
def test_thousands_of_dots_against_a_kd_tree(spread, radius, outlier):
    # Also where the grid has more cells than buckets, which a single dot far away brings about.
    rng = np.random.default_rng(int(spread))
    a, b = (rng.random((4000, 2)) * spread for _ in range(2))
    a[17] += outlier
    pairs = cKDTree(a).sparse_distance_matrix(cKDTree(b), radius, output_type="ndarray")
    order = np.lexsort((pairs["j"], pairs["i"], squared_distances(a, b)[pairs["i"], pairs["j"]]))
    partner, taken = {}, set()
    for i, j in pairs[["i", "j"]][order].tolist():
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    assert dict(match_dots(a, b, radius).pairs.tolist()) == partner


@pytest.mark.parametrize("dense_cells", [0, 2**20])
def test_optimal_by_both_solvers(monkeypatch, dense_cells):
    monkeypatch.setattr(_assignment, "_DENSE_CELLS", dense_cells)
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 30, (2, 150, 2))  # coincident dots: distances of 0
    distances = np.sqrt(squared_distances(a, b))
    for radius in (1, 2, 4, 50):
        matches = match_dots(a, b, radius, "optimal")
        within = distances <= radius
        assert len(matches.pairs) == (maximum_bipartite_matching(csr_array(within)) >= 0).sum()
        np.testing.assert_allclose(matches.distances.sum(), scipy_least_total(distances, within), rtol=1e-9)


def test_optimal_where_cells_share_buckets(monkeypatch):
    # A dot far away makes the cells outnumber the buckets; a pair listed twice would count its distance twice.
    monkeypatch.setattr(_assignment, "_DENSE_CELLS", 0)
    rng = np.random.default_rng(2)
    for _ in range(100):
        a, b = rng.random((2, 3, 2)) * 4  # eight buckets: cells of neighbouring rows share them
        a[0] = 1e6
        distances = np.sqrt(squared_distances(a, b))
        within = distances <= 2
        if within.any():
            found = match_dots(a, b, 2, "optimal").distances.sum()
            np.testing.assert_allclose(found, scipy_least_total(distances, within), rtol=1e-9)


def test_the_radius_itself_on_the_edges_of_cells():
    # Neighbours are one radius apart and every other one lies on an edge, where rounding could lose it.
    for step in (0.1, 0.3, 0.7, 1 / 3):
        x = np.arange(3000) * step
        a, b = (np.stack([part, 0 * part], axis=1) for part in (x[1::2], x[::2]))
        distances2 = squared_distances(a[:400], b[:401])
        expected = sorted_pairs_greedy(distances2, step)
        assert list(map(tuple, match_dots(a[:400], b[:401], step).pairs)) == expected
        # Whatever else, no dot may stay alone beside a free one that is within the radius.
        matches = match_dots(a, b, step)
        i, j = matches.unmatched_a, matches.unmatched_b
        assert not (squared_distances(a[i], b[j]) <= step**2).any()


def test_gating_comes_before_assignment():
    # An assignment of all dots would pair 10 with 100 or 0 with 9, and lose a match when it gates afterwards.
    matches = match_dots([[0, 0], [10, 0]], [[9, 0], [100, 0]], 5)
    assert matches.pairs.tolist() == [[1, 0]]
    assert matches.distances.tolist() == [1]
    assert matches.unmatched_a.tolist() == [0]
    assert matches.unmatched_b.tolist() == [1]
    assert matches.precision == matches.recall == matches.f1 == 0.5
    for method in ("max_cardinality", "optimal"):
        assert match_dots([[0, 0], [10, 0]], [[9, 0], [100, 0]], 5, method).pairs.tolist() == [[1, 0]]


def test_methods_differ_where_they_should():
    # On a line: a at 0 and 4, b at 3 and 8; the closest pair (4, 3) leaves two dots 8 apart.
    a, b = [[0, 0], [4, 0]], [[3, 0], [8, 0]]
    assert match_dots(a, b, 5).pairs.tolist() == [[1, 0]]
    for method in ("max_cardinality", "optimal"):
        assert match_dots(a, b, 5, method).pairs.tolist() == [[0, 0], [1, 1]]
    first = match_dots(a, b, 5, "confidence_first", scores=[0.9, 0.1])
    assert first.pairs.tolist() == [[0, 0], [1, 1]]
    assert match_dots(a, b, 5, "confidence_first", scores=[0.1, 0.9]).pairs.tolist() == [[1, 0]]


def test_the_radius_itself_matches():
    assert len(match_dots([[0, 0]], [[3, 4]], 5).pairs) == 1
    assert len(match_dots([[0, 0]], [[3, 4]], np.nextafter(5, 0)).pairs) == 0
    # float32 cannot hold a distance this far out: 16777216 + 1 is 16777216.
    far = np.array([[16777216, 0]], np.float32)
    assert len(match_dots(far, [[16777217, 0]], 0.5).pairs) == 0
    assert len(match_dots(far, [[16777217, 0]], 1).pairs) == 1


def test_empty_sets_have_no_phantom_point():
    none, one = np.empty((0, 2)), [[0.0, 0.0]]
    both = match_dots(none, [], 5)
    assert len(both.pairs) == 0
    assert np.isnan([both.precision, both.recall, both.f1]).all()
    missed = match_dots(none, one, 5)
    assert np.isnan(missed.precision)
    assert missed.recall == missed.f1 == 0
    invented = match_dots(one, none, 5, "optimal")
    assert np.isnan(invented.recall)
    assert invented.precision == invented.f1 == 0


def test_inputs_are_left_as_they_were():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 50, 2))
    copies = a.copy(), b.copy()
    match_dots(a, b, 0.3)
    match_dots(a, b, 0.3, "confidence_first", scores=a[:, 0])
    np.testing.assert_array_equal([a, b], copies)


def test_errors_name_the_row():
    good = np.zeros((3, 2))
    for bad in (np.nan, np.inf, 1e101):
        wrong = good.copy()
        wrong[2, 1] = bad
        with pytest.raises(ValueError, match="expected finite coordinates, got .* in row 2 of a"):
            match_dots(wrong, good, 1)
        with pytest.raises(ValueError, match="expected finite coordinates, got .* in row 2 of b"):
            match_dots(good, wrong, 1)
    for shape in ((3,), (3, 3), (1, 3, 2)):
        with pytest.raises(ValueError, match=r"expected dots b of shape \(N, 2\), x and y, got \("):
            match_dots(good, np.zeros(shape), 1)
    with pytest.raises(TypeError, match="expected numbers as coordinates of a, got <U1"):
        match_dots([["1", "2"]], good, 1)
    for radius in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected a radius above 0"):
            match_dots(good, good, radius)
    with pytest.raises(ValueError, match="method must be one of .* got 'closest'"):
        match_dots(good, good, 1, "closest")


def test_scores_go_with_confidence():
    dots = np.zeros((2, 2))
    with pytest.raises(ValueError, match="scores go with 'confidence_first'"):
        match_dots(dots, dots, 1, "confidence_first")
    with pytest.raises(ValueError, match="scores go with 'confidence_first'"):
        match_dots(dots, dots, 1, scores=[1, 2])
    with pytest.raises(ValueError, match=r"expected scores of shape \(2,\), one per dot, got \(3,\)"):
        match_dots(dots, dots, 1, "confidence_first", scores=[1, 2, 3])
    with pytest.raises(ValueError, match="expected scores without NaN, got NaN in row 1"):
        match_dots(dots, dots, 1, "confidence_first", scores=[1, np.nan])
    with pytest.raises(TypeError, match="expected numbers as scores"):
        match_dots(dots, dots, 1, "confidence_first", scores=["a", "b"])


MATCH_ONE = "from lsr_ext.metrics import match_dots; print(len(match_dots([[0, 0]], [[1, 0]], 2).pairs))"
SCORE_ONE = (
    "; import numpy; from lsr_ext.metrics import *; score_cells(numpy.eye(3, dtype=int), DotSet([]), {'a': 1})"
)


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )


def test_compilation_is_told_once_and_kept_on_disk(tmp_path):
    first, second = (run_python(MATCH_ONE + SCORE_ONE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first.stdout == second.stdout == "1\n"
    lines = [line for line in first.stderr.splitlines() if line.startswith("lsr_ext: compil")]
    assert "compiling the kernels" in lines[0]
    compiled = [line.split()[2] for line in lines[1:]]
    assert sorted(set(compiled)) == sorted(compiled)  # each is reported once
    assert {"closest_first", "label_rows"} <= set(compiled)
    assert second.stderr == ""


def test_missing_numba_names_the_extra():
    hidden = run_python("import sys; sys.modules['numba'] = None; " + MATCH_ONE)
    assert "pip install lsr_ext[metrics]" in hidden.stderr
