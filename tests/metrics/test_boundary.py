"""The band around true boundaries, by hand and by brute force over all pairs of pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice, compute_iou
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter
from skimage.morphology import disk
from skimage.segmentation import find_boundaries

from lsr_ext.metrics import boundary_band, boundary_iou, masked_scores, overlap_scores, trimap_scores


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


@pytest.mark.parametrize("score", [masked_scores, trimap_scores, boundary_iou])
@pytest.mark.parametrize("distance_px", [0, 1, 3.5, 12, float("inf")])
def test_tiles_give_the_counts_of_one_pass(score, distance_px):
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.random((2, 33, 25)), (0, 2, 2))
    pred, truth = np.digitize(noise, np.quantile(noise, [0.4, 0.7]))
    whole = score(pred, truth, distance_px, 3)
    assert whole.tp.sum() > 0
    for tile_px in (1 if distance_px < 12 else 5, 16, 30):
        tiled = score(pred, truth, distance_px, 3, tile_px=tile_px)
        np.testing.assert_array_equal([tiled.tp, tiled.fp, tiled.fn], [whole.tp, whole.fp, whole.fn])


class Lazy:
    """A map that is read where it is sliced, and remembers the most it was asked for."""

    def __init__(self, array):
        self.array, self.shape, self.ndim, self.most = array, array.shape, array.ndim, 0

    def __getitem__(self, window):
        part = self.array[window]
        self.most = max(self.most, part.size)
        return part


@pytest.mark.parametrize("score", [masked_scores, trimap_scores, boundary_iou])
def test_slides_are_never_read_whole(score):
    truth = np.zeros((400, 300), np.uint8)
    truth[100:250, 50:200] = 1
    pred = np.roll(truth, 4, axis=0)
    lazy = Lazy(pred), Lazy(truth)
    tiled = score(*lazy, 8, 2, tile_px=64)
    assert max(part.most for part in lazy) == (64 + 2 * 9) ** 2
    np.testing.assert_array_equal(tiled.iou, score(pred, truth, 8, 2).iou)


def test_boundary_iou_by_hand():
    # Squares of 4 x 4 and 6 x 6 with one corner in common: rings of 12 and 20 pixels, 7 of them shared.
    truth, pred = np.zeros((2, 12, 12), int)
    truth[2:6, 2:6] = 1
    pred[2:8, 2:8] = 1
    scores = boundary_iou(pred, truth, 0, 2)
    assert scores.iou[1] == 7 / (12 + 20 - 7)
    # The trimap sees the band of the truth alone, both sides of it: pixels of the prediction further out go free.
    band = boundary_band(truth, 0)
    assert trimap_scores(pred, truth, 0, 2).iou[1] == (truth & pred & band).sum() / ((truth | pred) & band).sum()


@pytest.mark.parametrize("distance_px", [0, 1, 2, 5])
def test_bands_of_boundary_iou_against_morphology(distance_px):
    rng = np.random.default_rng(distance_px)
    noise = gaussian_filter(rng.random((2, 50, 60)), (0, 2, 2))
    pred, truth = np.digitize(noise, np.quantile(noise, [0.3, 0.7]))
    scores = boundary_iou(pred, truth, distance_px, 3)
    for c in range(3):
        bands = []
        for mask in (pred == c, truth == c):
            edge = mask & ~binary_erosion(mask, border_value=1)  # 4 neighbours; the image's border is none
            bands.append(mask & binary_dilation(edge, disk(distance_px)))
        both, either = (bands[0] & bands[1]).sum(), (bands[0] | bands[1]).sum()
        np.testing.assert_allclose(scores.iou[c], both / either)


def test_trimap_against_monai():
    rng = np.random.default_rng(3)
    noise = gaussian_filter(rng.random((2, 50, 60)), (0, 2, 2))
    pred, truth = np.digitize(noise, np.quantile(noise, [0.3, 0.7]))
    scores = trimap_scores(pred, truth, 2, 3)
    for c in range(3):
        edge = find_boundaries(truth == c, connectivity=1)
        band = binary_dilation(edge, disk(2))
        masks = [torch.from_numpy(((ids == c) & band)[None, None].astype(float)) for ids in (pred, truth)]
        np.testing.assert_allclose(scores.iou[c], compute_iou(*masks)[0, 0], rtol=1e-6)
        np.testing.assert_allclose(scores.dice[c], compute_dice(*masks)[0, 0], rtol=1e-6)


def test_trimap_of_two_classes_is_the_masked_score():
    rng = np.random.default_rng(1)
    pred, truth = rng.integers(0, 2, (2, 20, 20))
    for distance_px in (0, 2):
        masked = masked_scores(pred, truth, distance_px, 2)
        np.testing.assert_array_equal(trimap_scores(pred, truth, distance_px, 2).iou, masked.iou)


def test_trimap_of_more_classes_keeps_to_their_own_boundaries():
    # Columns 0 1 1 1 1 2: class 0 is wrong beside the boundary between 1 and 2 only.
    truth = np.tile([0, 1, 1, 1, 1, 2], (3, 1))
    pred = np.tile([0, 1, 1, 1, 0, 2], (3, 1))
    assert masked_scores(pred, truth, 0, 3).iou[0] == 1 / 2
    assert trimap_scores(pred, truth, 0, 3).iou[0] == 1


@pytest.mark.parametrize("score", [masked_scores, trimap_scores, boundary_iou])
def test_no_boundary_and_absent_classes_have_no_score(score):
    flat = np.ones((5, 5), int)
    assert np.isnan(score(flat, flat, 240, 3).iou).all()
    truth = np.array([[0, 0, 1, 1]])
    iou = score(truth, truth, 1, 3).iou
    np.testing.assert_array_equal(iou, [1, 1, np.nan])


def test_a_boundary_that_was_only_predicted():
    truth, pred = np.zeros((1, 6), int), np.array([[0, 0, 1, 1, 0, 0]])
    assert np.isnan(masked_scores(pred, truth, 1, 2).iou).all()
    assert np.isnan(trimap_scores(pred, truth, 1, 2).iou).all()
    np.testing.assert_array_equal(boundary_iou(pred, truth, 0, 2).iou, [0, 0])


def test_the_border_of_the_image_is_no_boundary():
    truth = np.ones((8, 8), int)
    truth[:, 4:] = 0
    scores = boundary_iou(truth, truth, 0, 2)
    assert scores.tp.tolist() == [8, 8]  # a column of each, not a ring


@pytest.mark.parametrize("score", [masked_scores, trimap_scores, boundary_iou])
def test_errors_of_all(score):
    ids = np.array([[0, 1]])
    with pytest.raises(ValueError, match="expected a distance_px of at least 0, got nan"):
        score(ids, ids, float("nan"), 2)
    with pytest.raises(ValueError, match="expected a tile_px of at least 1, got 0"):
        score(ids, ids, 1, 2, tile_px=0)
    with pytest.raises(TypeError, match="expected integer class ids.*got float64"):
        score(ids, ids.astype(float), 1, 2)
    with pytest.raises(TypeError, match="expected integer class ids.*got float64"):
        score(ids.astype(float), ids, 1, 2)
    with pytest.raises(ValueError, match=r"expected ids in \[0, 2\) in truth, got 0 to 2"):
        score(ids, ids * 2, 1, 2)
    with pytest.raises(ValueError, match=r"of one shape, got \(1, 2\) and \(1, 3\)"):
        score(ids, np.zeros((1, 3), int), 1, 2)
    with pytest.raises(ValueError, match=r"expected a map \(H, W\), got shape \(3,\)"):
        score([np.zeros(3, int)], [np.zeros(3, int)], 1, 2)
