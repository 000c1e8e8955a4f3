"""The band around true boundaries, by hand and by brute force over all pairs of pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lsr_ext.metrics import boundary_band, masked_scores, overlap_scores


def brute_force_band(truth, distance_px):
    height, width = truth.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    boundary = [
        (y, x)
        for y, x in pixels
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= v < height and 0 <= u < width and truth[v, u] != truth[y, x]
    ]
    near = [any((y - v) ** 2 + (x - u) ** 2 <= distance_px**2 for v, u in boundary) for y, x in pixels]
    return np.array(near).reshape(height, width)


def test_columns_by_hand():
    truth = np.tile([0, 0, 0, 0, 1, 1, 1, 1], (3, 1))
    for distance_px, expected in [(0, "00011000"), (1, "00111100"), (1.9, "00111100"), (2, "01111110")]:
        row = [digit == "1" for digit in expected]
        np.testing.assert_array_equal(boundary_band(truth, distance_px), [row] * 3)


def test_corner_by_hand():
    # Boundary pixels are (0, 0), (0, 1) and (1, 0): diagonal neighbours do not touch.
    truth = np.zeros((4, 4), int)
    truth[0, 0] = 1
    assert boundary_band(truth, 0).sum() == 3
    assert boundary_band(truth, 1)[1, 1]
    assert not boundary_band(truth, 1)[2, 1]


@settings(deadline=None)
@given(
    hnp.arrays(np.int64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 2)),
    st.sampled_from([0, 1, 1.4, 1.5, 2, 3.7, 20]),
)
def test_against_all_pairs_of_pixels(truth, distance_px):
    band = boundary_band(truth, distance_px)
    assert band.dtype == bool
    np.testing.assert_array_equal(band, brute_force_band(truth, distance_px))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_dtypes(dtype):
    truth = np.array([[0, 0, 1]], dtype)
    np.testing.assert_array_equal(boundary_band(truth, 0), [[False, True, True]])


def test_one_class_has_an_empty_band():
    band = boundary_band(np.ones((5, 5), int), 240)
    assert band.shape == (5, 5)
    assert not band.any()


def test_band_errors():
    with pytest.raises(ValueError, match=r"expected a map \(H, W\), got shape \(4,\)"):
        boundary_band(np.zeros(4, int), 1)
    with pytest.raises(TypeError, match="expected integer class ids, got float64"):
        boundary_band(np.zeros((2, 2)), 1)
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="expected a distance_px of at least 0"):
            boundary_band(np.zeros((2, 2), int), bad)


def test_masked_scores_by_hand():
    truth = np.array([[0, 0, 0, 1, 1, 1]])
    pred = np.array([[1, 0, 1, 1, 1, 0]])
    # Distance 1 leaves the four middle pixels: truth 0 0 1 1, prediction 0 1 1 1.
    scores = masked_scores(pred, truth, 1, 2)
    np.testing.assert_allclose(scores.iou, [1 / 2, 2 / 3])
    np.testing.assert_allclose(scores.dice, [2 / 3, 4 / 5])


def test_wide_band_is_the_whole_image():
    rng = np.random.default_rng(0)
    pred, truth = rng.integers(0, 2, (2, 9, 9))
    np.testing.assert_array_equal(masked_scores(pred, truth, 240, 2).iou, overlap_scores(pred, truth, 2).iou)


def test_images_are_pooled_and_one_without_boundary_adds_nothing():
    rng = np.random.default_rng(1)
    truths = [rng.integers(0, 2, (6, 5)), np.zeros((3, 8), int), rng.integers(0, 2, (4, 4))]
    preds = [rng.integers(0, 2, truth.shape) for truth in truths]
    scores = masked_scores(preds, truths, 1, 2)
    expected = sum(masked_scores(preds[i], truths[i], 1, 2).tp for i in (0, 2))
    np.testing.assert_array_equal(scores.tp, expected)


def test_bands_do_not_reach_over_to_the_next_image():
    truth = np.stack([np.zeros((4, 4), int), np.ones((4, 4), int)])
    assert np.isnan(masked_scores(truth, truth, 5, 2).iou).all()
    truth[0, 0, 0] = 1
    stacked = masked_scores(truth, truth, 1, 2)
    np.testing.assert_array_equal(stacked.tp, masked_scores(truth[0], truth[0], 1, 2).tp)


def test_masked_scores_errors():
    truth = np.array([[0, 1]])
    with pytest.raises(ValueError, match="as many predictions as truths, at least 1, got 2 and 1"):
        masked_scores([truth, truth], [truth], 1, 2)
    with pytest.raises(ValueError, match="as many predictions as truths, at least 1, got 0 and 0"):
        masked_scores([], [], 1, 2)
    with pytest.raises(ValueError, match=r"of one shape, got \(1, 1\) and \(1, 2\)"):
        masked_scores(truth[:, :1], truth, 1, 2)
    with pytest.raises(ValueError, match=r"expected ids in \[0, 2\) in pred"):
        masked_scores(truth * 5, truth, 1, 2)
