"""Hold out blocks for testing so that no pixel, image or patient is in both splits."""

from collections.abc import Hashable, Sequence

import numpy as np

from lsr_ext.data.blocks import Block

SPLITS = ("train", "validation", "test")


def split_by_image(
    blocks: Sequence[Block], test_fraction: float, seed: int, groups: Sequence[Hashable] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out whole images, or whole groups of images such as patients.

    Args:
        blocks: N blocks.
        test_fraction: the share of images (of groups) to hold out, rounded to a whole number.
        seed: random seed of the draw.
        groups: the group of every image, indexed by `Block.image`; None: each image is a group.

    Returns:
        Indices of the training and the test blocks, int64, each in increasing order.

    Raises:
        ValueError: `test_fraction` is not between 0 and 1, `groups` is too short, or a split is empty.

    Example:
        >>> from lsr_ext.data import cut_blocks
        >>> train, test = split_by_image(cut_blocks([(20, 40)] * 4, 20), test_fraction=0.25, seed=0)
        >>> len(train), len(test)
        (6, 2)
    """
    _check_fraction(test_fraction)
    num_images = 1 + max((block.image for block in blocks), default=-1)
    if groups is not None and len(groups) < num_images:
        raise ValueError(f"expected a group for each of {num_images} images, got {len(groups)}")
    group_of = [block.image if groups is None else groups[block.image] for block in blocks]
    distinct = list(dict.fromkeys(group_of))
    order = np.random.default_rng(seed).permutation(len(distinct))
    held_out = {distinct[i] for i in order[: round(test_fraction * len(distinct))]}
    in_test = np.array([group in held_out for group in group_of], dtype=bool)
    return _both_sides(~in_test, in_test, f"test_fraction={test_fraction} of {len(distinct)} images or groups")


def split_by_position(
    blocks: Sequence[Block], image_size: tuple[int, int], test_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Hold out the right-hand side of a single image; blocks across the cut are in neither split.

    Args:
        blocks: N blocks of one image.
        image_size: (height, width) in pixels.
        test_fraction: the share of the width to hold out.

    Returns:
        Indices of the training and the test blocks, int64, each in increasing order.

    Raises:
        ValueError: blocks of several images, `test_fraction` not between 0 and 1, or an empty split.

    Example:
        >>> from lsr_ext.data import cut_blocks
        >>> train, test = split_by_position(cut_blocks([(20, 80)], 20), (20, 80), test_fraction=0.25)
        >>> train.tolist(), test.tolist()
        ([0, 1, 2], [3])
    """
    _check_fraction(test_fraction)
    if len({block.image for block in blocks}) > 1:
        raise ValueError("expected blocks of one image, got several; use split_by_image")
    cut_px = round(image_size[1] * (1 - test_fraction))
    in_train = np.array([block.x + block.width <= cut_px for block in blocks], dtype=bool)
    in_test = np.array([block.x >= cut_px for block in blocks], dtype=bool)
    return _both_sides(in_train, in_test, f"test_fraction={test_fraction}, a cut at x = {cut_px} px")


def _check_fraction(test_fraction: float) -> None:
    if not 0 < test_fraction < 1:
        raise ValueError(f"expected a test_fraction between 0 and 1, got {test_fraction}")


def _both_sides(in_train: np.ndarray, in_test: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    for side, chosen in (("training", in_train), ("test", in_test)):
        if not chosen.any():
            raise ValueError(f"{what}, leaves no {side} block")
    return np.flatnonzero(in_train), np.flatnonzero(in_test)
