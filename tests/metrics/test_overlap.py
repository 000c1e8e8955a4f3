"""IoU and Dice against hand-worked cases, loops and MONAI."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_dice, compute_iou

from lsr_ext.metrics import overlap_scores


def test_by_hand():
    truth = np.array([[0, 0, 1, 1]])
    pred = np.array([[0, 1, 1, 1]])
    scores = overlap_scores(pred, truth, 3)
    assert scores.tp.tolist() == [1, 2, 0]
    assert scores.fp.tolist() == [0, 1, 0]
    assert scores.fn.tolist() == [1, 0, 0]
    np.testing.assert_allclose(scores.iou, [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(scores.dice, [2 / 3, 4 / 5, np.nan])
    assert scores.iou.dtype == scores.dice.dtype == np.float64


def test_class_on_one_side_only_scores_zero():
    scores = overlap_scores(np.array([[0, 0]]), np.array([[0, 1]]), 3)
    np.testing.assert_allclose(scores.iou, [0.5, 0, np.nan])


MAPS = hnp.arrays(np.int64, (2, 4, 5), elements=st.integers(0, 3))


@given(MAPS, MAPS, hnp.arrays(bool, (2, 4, 5)))
def test_counts_by_loop(pred, truth, valid):
    scores = overlap_scores(pred, truth, 4, valid)
    pixels = list(zip(pred[valid], truth[valid], strict=True))
    for k in range(4):
        assert scores.tp[k] == sum(p == k and t == k for p, t in pixels)
        assert scores.fp[k] == sum(p == k and t != k for p, t in pixels)
        assert scores.fn[k] == sum(p != k and t == k for p, t in pixels)


def test_against_monai():
    rng = np.random.default_rng(0)
    pred, truth = rng.integers(0, 3, (2, 32, 32))
    scores = overlap_scores(pred, truth, 3)
    one_hot = [torch.from_numpy(np.moveaxis(np.eye(3)[ids], -1, 0))[None] for ids in (pred, truth)]
    np.testing.assert_allclose(scores.iou, compute_iou(*one_hot)[0], rtol=1e-6)
    np.testing.assert_allclose(scores.dice, compute_dice(*one_hot)[0], rtol=1e-6)


@given(MAPS, MAPS)
def test_sums_pool_over_images(pred, truth):
    pooled = overlap_scores(pred[0], truth[0], 4) + overlap_scores(pred[1], truth[1], 4)
    together = overlap_scores(pred, truth, 4)
    np.testing.assert_array_equal(pooled.iou, together.iou)
    np.testing.assert_array_equal(pooled.dice, together.dice)


def test_ids_outside_valid_are_not_looked_at():
    truth = np.array([[0, 255]])
    scores = overlap_scores(np.array([[0, 1]]), truth, 2, valid=truth != 255)
    np.testing.assert_allclose(scores.iou, [1, np.nan])


def test_no_valid_pixel_gives_nan():
    maps = np.zeros((2, 2), int)
    assert np.isnan(overlap_scores(maps, maps, 2, np.zeros((2, 2), bool)).iou).all()


def test_unsigned_and_bool_maps_do_not_overflow():
    truth = np.full((20, 20), 200, np.uint8)
    assert overlap_scores(truth, truth, 201).tp[200] == 400
    mask = np.array([[True, False]])
    np.testing.assert_array_equal(overlap_scores(mask, mask, 2).iou, [1, 1])


@pytest.mark.parametrize("bad", [-1, 2])
def test_ids_out_of_range(bad):
    good, wrong = np.array([[0, 1]]), np.array([[0, bad]])
    with pytest.raises(ValueError, match=r"expected ids in \[0, 2\) in pred, got"):
        overlap_scores(wrong, good, 2)
    with pytest.raises(ValueError, match=r"expected ids in \[0, 2\) in truth, got"):
        overlap_scores(good, wrong, 2)


def test_float_maps():
    ids = np.zeros((2, 2), int)
    with pytest.raises(TypeError, match="expected integer class ids in pred, got float64"):
        overlap_scores(ids.astype(float), ids, 2)
    with pytest.raises(TypeError, match="expected integer class ids in truth, got float64"):
        overlap_scores(ids, ids.astype(float), 2)


def test_shapes():
    ids = np.zeros((2, 2), int)
    with pytest.raises(ValueError, match=r"two maps .* of one shape, got \(2, 2\) and \(1, 2\)"):
        overlap_scores(ids, ids[:1], 2)
    with pytest.raises(ValueError, match=r"two maps .* of one shape, got \(4,\) and \(4,\)"):
        overlap_scores(ids.ravel(), ids.ravel(), 2)
    with pytest.raises(ValueError, match=r"expected valid of shape \(2, 2\), got \(1, 2\)"):
        overlap_scores(ids, ids, 2, np.ones((1, 2), bool))
    with pytest.raises(TypeError, match="expected a bool valid, got int64"):
        overlap_scores(ids, ids, 2, ids)


def test_sum_of_different_numbers_of_classes():
    ids = np.zeros((2, 2), int)
    with pytest.raises(ValueError, match="expected scores of 2 classes, got 3"):
        overlap_scores(ids, ids, 2) + overlap_scores(ids, ids, 3)
