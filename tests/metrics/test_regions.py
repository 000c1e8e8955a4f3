"""Regions against dots: hand-worked maps, and scipy's labelling with loops over pixels."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.measure import label

from lsr_ext.metrics import CellScores, DotSet, read_dots, regions, score_cells
from lsr_ext.metrics.regions import match_regions

LUNG = Path(__file__).parents[2].parent / "shared" / "data" / "mif_lung_akoya"
CLASSES = {"a": 1, "b": 2, "c": 5}


def by_loops(label_map, dots, classes, min_area_px, dilation_px):
    """(dots, dots hit, regions, regions hit) per class, and which dots are hit."""
    counts, is_hit = [], np.zeros(len(dots), bool)
    for name, class_id in classes.items():
        labelled, number = ndimage.label(label_map == class_id, np.ones((3, 3)))
        kept = [k for k in range(1, number + 1) if (labelled == k).sum() >= min_area_px]
        hit = set()
        members = np.flatnonzero(dots.classes == name)
        for i in members:
            x, y = np.floor(dots.xy[i])
            nearest = []
            for k in kept:
                rows, columns = np.nonzero(labelled == k)
                nearest.append((((rows - y) ** 2 + (columns - x) ** 2).min(), k))
            if nearest and min(nearest)[0] <= dilation_px**2:
                is_hit[i] = True
                hit.add(min(nearest)[1])
        counts.append((len(members), is_hit[members].sum(), len(kept), len(hit)))
    return np.array(counts).T, is_hit


@st.composite
def maps_and_dots(draw):
    shape = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.int32, np.int64]))
    label_map = draw(hnp.arrays(dtype, shape, elements=st.sampled_from([0, 1, 1, 2, 5, 7])))
    eighth = st.integers(0, 7).map(lambda n: n / 8)
    dot = st.tuples(st.integers(0, shape[1] - 1), st.integers(0, shape[0] - 1), eighth, st.sampled_from("abc"))
    rows = draw(st.lists(dot, max_size=6))
    xy = np.array([(x + f, y + f) for x, y, f, _ in rows]).reshape(-1, 2)
    return label_map, DotSet(xy, [row[3] for row in rows])


@given(maps_and_dots(), st.sampled_from([0, 1, 1.5, 2, 3.7]), st.integers(1, 4), st.integers(1, 40))
def test_against_loops_in_any_strips(case, dilation_px, min_area_px, strip_pixels):
    label_map, dots = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regions, "_STRIP_PIXELS", strip_pixels)
        found = match_regions(label_map, dots, CLASSES, min_area_px=min_area_px, dilation_px=dilation_px)
    expected, is_hit = by_loops(label_map, dots, CLASSES, min_area_px, dilation_px)
    scores = found.scores
    counts = [scores.dots, scores.dots_hit, scores.regions, scores.regions_hit]
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(found.is_hit, is_hit)


def test_winding_regions_across_strips(monkeypatch):
    # A maze of thresholded noise has regions that split and join many times on the way down.
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.random((300, 257)), 1.2)
    label_map = np.digitize(noise, np.quantile(noise, [0.3, 0.6])).astype(np.uint8)
    for rows in (1, 7, 300):
        monkeypatch.setattr(regions, "_STRIP_PIXELS", rows * 257)
        scores = score_cells(label_map, DotSet([]), {"low": 1, "high": 2})
        expected = [label(label_map == k, connectivity=2).max() for k in (1, 2)]
        assert scores.regions.tolist() == expected


def test_both_precisions_by_hand():
    # Class a: a region with two dots, one with none; class b: one region with its dot; a dot of b on background.
    label_map = np.array(
        [
            [1, 1, 1, 0, 0, 2],
            [0, 0, 0, 0, 0, 2],
            [1, 0, 0, 0, 0, 0],
        ]
    )
    dots = DotSet([[0.5, 0.5], [2.5, 0.5], [5.5, 1.5], [4.5, 2.5]], ["a", "a", "b", "b"])
    scores = score_cells(label_map, dots, {"a": 1, "b": 2})
    assert scores.dots.tolist() == [2, 2]
    assert scores.dots_hit.tolist() == [2, 1]
    assert scores.regions.tolist() == [2, 1]
    assert scores.regions_hit.tolist() == [1, 1]
    np.testing.assert_allclose(scores.recall, [1, 1 / 2])
    np.testing.assert_allclose(scores.precision("region"), [1 / 2, 1])
    np.testing.assert_allclose(scores.precision("dot_weighted"), [2 / 3, 1])
    np.testing.assert_allclose(scores.f1("region"), [2 / 3, 2 / 3])
    np.testing.assert_allclose(scores.f1("dot_weighted"), [4 / 5, 2 / 3])
    pooled = scores.pooled()
    assert pooled.classes == ("all",)
    assert [*pooled.recall, *pooled.precision("region"), *pooled.precision("dot_weighted")] == [
        3 / 4,
        2 / 3,
        3 / 4,
    ]
    with pytest.raises(ValueError, match="precision must be one of .* got 'dots'"):
        scores.precision("dots")


def test_diagonal_neighbours_are_one_region():
    scores = score_cells(np.eye(5, dtype=int), DotSet([]), {"a": 1})
    assert scores.regions.tolist() == [1]


def test_a_dot_hits_only_its_own_class():
    scores = score_cells(np.array([[1, 2]]), DotSet([[0.5, 0.5]], ["b"]), {"a": 1, "b": 2})
    assert scores.dots_hit.tolist() == [0, 0]
    np.testing.assert_allclose(scores.f1(), [0, 0])


def test_dilation_reaches_between_pixel_centres():
    label_map = np.zeros((9, 9), int)
    label_map[4, 4] = 1
    dots = DotSet([[7.9, 8.0]])  # pixel (8, 7): 4 rows and 3 columns away
    assert score_cells(label_map, dots, {"cell": 1}, dilation_px=5).dots_hit.tolist() == [1]
    assert score_cells(label_map, dots, {"cell": 1}, dilation_px=4.99).dots_hit.tolist() == [0]


def test_small_regions_neither_count_nor_catch():
    label_map = np.array([[1, 0, 1, 1]])
    dots = DotSet([[0.5, 0.5], [2.5, 0.5]])
    scores = score_cells(label_map, dots, {"cell": 1}, min_area_px=2)
    assert (scores.regions.tolist(), scores.dots_hit.tolist()) == ([1], [1])


def test_pixel_size_brings_dots_into_the_map():
    label_map = np.zeros((4, 4), np.uint8)
    label_map[3, 1] = 1
    um = DotSet([[0.6, 1.9]])
    assert score_cells(label_map, um, {"cell": 1}, pixel_size=0.5).dots_hit.tolist() == [1]


def test_classes_without_dots_still_count_their_false_positives():
    empty, invented = np.zeros((3, 3), int), np.full((3, 3), 2)
    dots = DotSet([[0.5, 0.5]], ["a"])
    classes = {"a": 1, "b": 2, "c": 3}
    scores = score_cells(empty, dots, classes) + score_cells(invented, DotSet([]), classes)
    assert scores.dots.tolist() == [1, 0, 0]
    assert scores.regions.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(scores.recall, [0, np.nan, np.nan])
    np.testing.assert_array_equal(scores.precision(), [np.nan, 0, np.nan])
    np.testing.assert_array_equal(scores.f1(), [0, 0, np.nan])  # c is nowhere: no value, and no part in means


def test_sums_over_images_keep_the_classes():
    label_map = np.array([[1, 0]])
    one = score_cells(label_map, DotSet([[0, 0]]), {"cell": 1})
    both = one + one
    assert isinstance(both, CellScores)
    assert both.dots_hit.tolist() == [2]
    with pytest.raises(ValueError, match="expected scores of the classes"):
        one + score_cells(label_map, DotSet([]), {"other": 1})


class RowsOnly:
    """An array that is read by rows and remembers the most it was asked for at once."""

    def __init__(self, array, chunks=None):
        self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0
        self.chunks = chunks

    def __getitem__(self, rows):
        part = self.array[rows]
        self.most = max(self.most, part.size)
        return part


def test_large_maps_are_read_in_strips():
    rng = np.random.default_rng(0)
    label_map = (ndimage.gaussian_filter(rng.random((6000, 1500)), 2) > 0.53).astype(np.uint8)
    lazy = RowsOnly(label_map, chunks=(512, 512))
    scores = score_cells(lazy, DotSet([]), {"cell": 1})
    assert lazy.most == 2560 * 1500  # five chunks of rows, of the six that 4 million pixels would hold in part
    assert scores.regions[0] == ndimage.label(label_map, np.ones((3, 3)))[1]


@pytest.mark.skipif(not LUNG.is_dir(), reason="needs ../shared/data")
def test_cells_of_a_real_field_lie_in_their_masks():
    # The table's positions in um, twice over in pixels, are known to lie in the cells for 99.2 % of them.
    name = "Set4_1-6plex_[16142,55840]"
    dots = read_dots(LUNG / f"{name}_cells.csv", ("x_um", "y_um", "none", "score"))
    nuclei, cytoplasm = (tifffile.imread(LUNG / f"{name}_binary_seg_maps.tif", key=page) for page in (1, 2))
    cells = ((nuclei > 0) | (cytoplasm > 0)).astype(np.uint8)
    scores = score_cells(cells, dots, {"cell": 1}, pixel_size=0.5)
    assert scores.dots.tolist() == [6072]
    assert scores.recall[0] > 0.992
    assert scores.regions[0] == ndimage.label(cells, np.ones((3, 3)))[1]
    assert score_cells(cells, dots, {"cell": 1}, pixel_size=0.5, dilation_px=3).recall[0] > scores.recall[0]


def test_errors():
    good, dots = np.zeros((4, 6), int), DotSet([[1, 1], [2, 2]])
    with pytest.raises(TypeError, match="expected integer class ids in a map, got float64"):
        score_cells(good.astype(float), dots, {"cell": 1})
    with pytest.raises(ValueError, match=r"expected a map \(H, W\), got shape \(4, 6, 1\)"):
        score_cells(good[..., None], dots, {"cell": 1})
    with pytest.raises(ValueError, match=r"expected dots of the classes \('a',\), got 'cell' in row 0"):
        score_cells(good, dots, {"a": 1})
    for outside in ([6.1, 0], [0, 4.1], [-0.1, 0]):
        with pytest.raises(ValueError, match=r"expected dots within the map, 6 x 4 px of 1, got .* in row 1"):
            score_cells(good, DotSet([[0, 0], outside]), {"cell": 1})
    for classes in ({}, {"a": 1, "b": 1}):
        with pytest.raises(ValueError, match="at least one class, each with its own id"):
            score_cells(good, DotSet([]), classes)
    for option in ({"dilation_px": -1}, {"dilation_px": np.nan}, {"min_area_px": 0}, {"pixel_size": 0}):
        with pytest.raises(ValueError, match="expected a dilation_px of at least 0, a min_area_px of at least 1"):
            score_cells(good, dots, {"cell": 1}, **option)


def test_dot_sets():
    dots = DotSet([[0, 0], [1, 1], [2, 2]], ["a", "b", "a"], [0.1, 0.2, 0.3])
    assert len(dots) == 3
    assert dots.of_class("a").xy.tolist() == [[0, 0], [2, 2]]
    assert dots.of_class("a").scores.tolist() == [0.1, 0.3]
    assert DotSet([[0, 0]]).classes.tolist() == ["cell"]
    with pytest.raises(ValueError, match=r"expected one class for each of 1 dots, got shape \(2,\)"):
        DotSet([[0, 0]], ["a", "b"])
    with pytest.raises(ValueError, match="in row 0 of xy"):
        DotSet([[np.nan, 0]])
    with pytest.raises(ValueError, match=r"expected scores of shape \(1,\)"):
        DotSet([[0, 0]], scores=[1, 2])


def test_a_map_whose_ids_are_of_no_class_is_named():
    label_map = np.zeros((8, 8), np.uint8)
    label_map[2:5, 2:5] = 255
    with pytest.warns(UserWarning, match=r"the map holds the ids \[0, 255\], none of the classes cell=1"):
        assert score_cells(label_map, DotSet([[3, 3]]), {"cell": 1}).recall.tolist() == [0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_cells(np.zeros((8, 8), np.uint8), DotSet([[3, 3]]), {"cell": 1})
        score_cells(label_map, DotSet([[3, 3]]), {"cell": 255})


def test_dots_on_the_edges_of_a_map_are_in_it():
    label_map = np.ones((6, 8), np.uint8)
    dots = DotSet([[0, 0], [8, 6], [8, 0], [0, 6]])
    assert score_cells(label_map, dots, {"cell": 1}).dots_hit.tolist() == [4]
    with pytest.raises(ValueError, match="expected dots within the map"):
        score_cells(label_map, DotSet([[8.01, 3]]), {"cell": 1})
