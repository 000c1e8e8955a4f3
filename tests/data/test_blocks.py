"""Blocks and their exact class fractions, by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr_ext.data import Block, block_fractions, cut_blocks


def test_full_blocks_only_row_by_row():
    blocks = cut_blocks([(5, 7), (3, 3)], 3)
    assert blocks == [Block(0, 0, 0, 3, 3), Block(0, 3, 0, 3, 3), Block(1, 0, 0, 3, 3)]


def test_stride_smaller_than_the_block():
    assert [(b.x, b.y) for b in cut_blocks([(4, 6)], 4, stride_px=1)] == [(0, 0), (1, 0), (2, 0)]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12))
def test_blocks_are_all_positions_on_the_grid(height, width, size, stride):
    if min(height, width) < size:
        return
    expected = {
        (x, y)
        for y in range(height)
        for x in range(width)
        if x % stride == y % stride == 0 and x + size <= width and y + size <= height
    }
    blocks = cut_blocks([(height, width)], size, stride)
    assert {(b.x, b.y) for b in blocks} == expected
    assert len(blocks) == len(expected)


def test_small_image_is_named():
    with pytest.raises(ValueError, match="image 1 is 9 x 7 px, smaller than a block of 8 px"):
        cut_blocks([(8, 8), (9, 7)], 8)


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (4, 0), (-1, None)])
def test_sizes_below_one_pixel(size, stride):
    with pytest.raises(ValueError, match="expected a block size and a stride of at least 1 px"):
        cut_blocks([(8, 8)], size, stride)


def test_cut_gives_rows_and_columns_the_right_way_round():
    array = np.arange(12).reshape(3, 4)
    np.testing.assert_array_equal(Block(0, 2, 1, 2, 1).cut(array), [[6, 7]])


def test_fractions_by_hand():
    mask = np.array([[0, 0, 1, 1], [0, 2, 1, 1]])
    fractions = block_fractions([mask], cut_blocks([mask.shape], 2), 3)
    assert fractions.dtype == np.float64
    np.testing.assert_array_equal(fractions, [[0.75, 0, 0.25], [0, 1, 0]])


def test_fractions_by_brute_force():
    rng = np.random.default_rng(1)
    masks = [rng.integers(0, 4, (11, 13)), rng.integers(0, 4, (9, 8)).astype(np.uint8)]
    blocks = [Block(1, 2, 3, 5, 4), Block(0, 0, 0, 13, 11), Block(0, 12, 10, 1, 1)]
    expected = [
        [np.mean(masks[b.image][b.y : b.y + b.height, b.x : b.x + b.width] == k) for k in range(4)] for b in blocks
    ]
    np.testing.assert_allclose(block_fractions(masks, blocks, 4), expected, rtol=1e-15)


@pytest.mark.parametrize("bad", [-1, 3])
def test_ids_out_of_range(bad):
    masks = [np.zeros((2, 2), int), np.array([[0, bad], [0, 0]])]
    with pytest.raises(ValueError, match=r"mask 1: expected class ids in \[0, 3\), got"):
        block_fractions(masks, cut_blocks([(2, 2)] * 2, 2), 3)


def test_block_outside_its_image():
    with pytest.raises(ValueError, match=r"Block\(.*x=1.*\) reaches outside its image of \(2, 2\) px"):
        block_fractions([np.zeros((2, 2), int)], [Block(0, 1, 0, 2, 2)], 1)
