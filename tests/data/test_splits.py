"""Splits keep images, groups and pixels apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr_ext.data import Block, cut_blocks, split_by_image, split_by_position


@given(st.integers(2, 12), st.floats(0.2, 0.8), st.integers(0, 99))
def test_no_image_is_on_both_sides(num_images, test_fraction, seed):
    blocks = cut_blocks([(4, 4)] * num_images, 2)
    num_test = round(test_fraction * num_images)
    if not 0 < num_test < num_images:
        return
    train, test = split_by_image(blocks, test_fraction, seed)
    test_images = {blocks[i].image for i in test}
    assert len(test_images) == num_test
    assert not test_images & {blocks[i].image for i in train}
    assert sorted([*train, *test]) == list(range(len(blocks)))


def test_no_group_is_on_both_sides():
    patients = ["p", "q", "p", "r", "q", "s"]
    blocks = cut_blocks([(2, 2)] * 6, 2)
    for seed in range(10):
        train, test = split_by_image(blocks, 0.5, seed, groups=patients)
        held_out = {patients[blocks[i].image] for i in test}
        assert len(held_out) == 2
        assert not held_out & {patients[blocks[i].image] for i in train}


def test_seed_fixes_the_split_and_changes_it():
    blocks = cut_blocks([(2, 2)] * 20, 2)
    first = [split_by_image(blocks, 0.3, seed)[1].tolist() for seed in range(5)]
    assert first == [split_by_image(blocks, 0.3, seed)[1].tolist() for seed in range(5)]
    assert len({tuple(test) for test in first}) > 1


def test_images_without_blocks_do_not_count():
    blocks = [Block(0, 0, 0, 1, 1), Block(5, 0, 0, 1, 1)]
    train, test = split_by_image(blocks, 0.5, seed=0)
    assert len(train) == len(test) == 1


def test_position_split_shares_no_pixel():
    blocks = cut_blocks([(20, 40)], 8, stride_px=4)
    train, test = split_by_position(blocks, (20, 40), 0.3)
    assert [blocks[i].x for i in train] == [0, 4, 8, 12, 16, 20] * 4  # right edges up to 28
    assert [blocks[i].x for i in test] == [28, 32] * 4


@pytest.mark.parametrize("bad", [0, 1, -0.5, float("nan")])
def test_fraction_out_of_range(bad):
    blocks = cut_blocks([(4, 4)], 2)
    with pytest.raises(ValueError, match="expected a test_fraction between 0 and 1"):
        split_by_image(blocks, bad, 0)
    with pytest.raises(ValueError, match="expected a test_fraction between 0 and 1"):
        split_by_position(blocks, (4, 4), bad)


@pytest.mark.parametrize(("test_fraction", "side"), [(0.1, "test"), (0.9, "training")])
def test_empty_side_by_image(test_fraction, side):
    with pytest.raises(ValueError, match=f"of 3 images or groups, leaves no {side} block"):
        split_by_image(cut_blocks([(2, 2)] * 3, 2), test_fraction, 0)


@pytest.mark.parametrize(("test_fraction", "side"), [(0.1, "test"), (0.9, "training")])
def test_empty_side_by_position(test_fraction, side):
    with pytest.raises(ValueError, match=f"a cut at x = .* px, leaves no {side} block"):
        split_by_position(cut_blocks([(5, 10)], 5), (5, 10), test_fraction)


def test_no_blocks_at_all():
    with pytest.raises(ValueError, match="leaves no training block"):
        split_by_image([], 0.5, 0)


def test_too_few_groups():
    with pytest.raises(ValueError, match="expected a group for each of 3 images, got 2"):
        split_by_image(cut_blocks([(2, 2)] * 3, 2), 0.5, 0, groups=["a", "b"])


def test_position_split_wants_one_image():
    with pytest.raises(ValueError, match="expected blocks of one image, got several; use split_by_image"):
        split_by_position(cut_blocks([(4, 4)] * 2, 2), (4, 4), 0.5)


def test_indices_are_int64():
    for side in split_by_image(cut_blocks([(4, 4)] * 2, 2), 0.5, 0):
        assert side.dtype == np.int64
