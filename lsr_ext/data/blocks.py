"""Blocks: the rectangles of an image that carry one low-resolution label each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Block:
    """A rectangle of pixels: the index of its image, its top-left pixel (x, y) and its size in pixels.

    Example:
        >>> import numpy as np
        >>> Block(image=0, x=2, y=1, width=3, height=2).cut(np.zeros((10, 20, 3))).shape
        (2, 3, 3)
    """

    image: int
    x: int
    y: int
    width: int
    height: int

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return the block's pixels, a view of an (H, W, ...) array of its image.

        Raises:
            ValueError: the block reaches outside the array.
        """
        part = array[self.y : self.y + self.height, self.x : self.x + self.width]
        if part.shape[:2] != (self.height, self.width):
            raise ValueError(f"{self} reaches outside its image of {array.shape[:2]} px")
        return part


def cut_blocks(
    image_sizes: Sequence[tuple[int, int]], block_size_px: int, stride_px: int | None = None
) -> list[Block]:
    """Cut images into square blocks, row by row from the top left; the remainder at the edges is left out.

    Args:
        image_sizes: (height, width) of every image, in pixels.
        block_size_px: the side of a block.
        stride_px: the distance between neighbouring blocks; None: `block_size_px`, no overlap.

    Raises:
        ValueError: a size or stride below 1, or an image smaller than one block.

    Example:
        >>> [(block.x, block.y) for block in cut_blocks([(20, 45)], block_size_px=20)]
        [(0, 0), (20, 0)]
    """
    stride_px = block_size_px if stride_px is None else stride_px
    if block_size_px < 1 or stride_px < 1:
        raise ValueError(f"expected a block size and a stride of at least 1 px, got {block_size_px}, {stride_px}")
    blocks = []
    for image, (height, width) in enumerate(image_sizes):
        if min(height, width) < block_size_px:
            raise ValueError(f"image {image} is {height} x {width} px, smaller than a block of {block_size_px} px")
        blocks += [
            Block(image, x, y, block_size_px, block_size_px)
            for y in range(0, height - block_size_px + 1, stride_px)
            for x in range(0, width - block_size_px + 1, stride_px)
        ]
    return blocks


def block_fractions(masks: Sequence[np.ndarray], blocks: Sequence[Block], num_classes: int) -> np.ndarray:
    """The exact fraction of each class in each block: c_l of Eq. 1 with the true pixel classes.

    Args:
        masks: integer (H, W) class ids in [0, num_classes), one map per image.
        blocks: N blocks inside those images.
        num_classes: L.

    Returns:
        float64 (N, L) in [0, 1]; rows sum to 1.

    Raises:
        ValueError: a class id outside [0, num_classes), or a block outside its image.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
        >>> block_fractions([mask], cut_blocks([mask.shape], 2), num_classes=2).tolist()
        [[0.75, 0.25], [0.0, 1.0]]
    """
    for image in {block.image for block in blocks}:
        low, high = masks[image].min(), masks[image].max()
        if low < 0 or high >= num_classes:
            raise ValueError(f"mask {image}: expected class ids in [0, {num_classes}), got {low} to {high}")
    fractions = np.empty((len(blocks), num_classes))
    for row, block in zip(fractions, blocks, strict=True):
        ids = block.cut(masks[block.image])
        row[:] = np.bincount(ids.ravel(), minlength=num_classes) / ids.size
    return fractions
