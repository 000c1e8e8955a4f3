"""Held-out blocks as the rectangles of images that they fill."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lsr_ext.data import Block, BlockCollection


def rectangles_of(blocks: Sequence[Block]) -> dict[int, Block]:
    """Image index -> the smallest rectangle that holds its blocks, in the order of the blocks."""
    regions = {}
    for image in dict.fromkeys(block.image for block in blocks):
        members = [block for block in blocks if block.image == image]
        left, top = (min(getattr(block, side) for block in members) for side in "xy")
        right = max(block.x + block.width for block in members)
        bottom = max(block.y + block.height for block in members)
        regions[image] = Block(image, left, top, right - left, bottom - top)
    return regions


def stitch(blocks: Sequence[Block], maps: np.ndarray) -> dict[int, np.ndarray]:
    """Put maps of blocks in place: image index -> the map of the rectangle that its blocks fill."""
    regions = rectangles_of(blocks)
    stitched = {
        image: np.zeros((region.height, region.width, *maps.shape[3:]), dtype=maps.dtype)
        for image, region in regions.items()
    }
    for block, part in zip(blocks, maps, strict=True):
        region = regions[block.image]
        place = stitched[block.image][block.y - region.y :, block.x - region.x :]
        place[: block.height, : block.width] = part
    return stitched


def cut_blocks_of(collection: BlockCollection, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The parts (N, H, W, ...) of per-image arrays, such as the images or the masks, that the blocks cover."""
    return np.stack([block.cut(arrays[block.image]) for block in collection.blocks])


def cut_rectangles(blocks: Sequence[Block], maps: dict[int, np.ndarray]) -> np.ndarray:
    """The inverse of `stitch`: maps of rectangles, cut into those of the blocks (N, H, W)."""
    regions = rectangles_of(blocks)
    parts = []
    for block in blocks:
        region = regions[block.image]
        part = maps[block.image][block.y - region.y :, block.x - region.x :]
        parts.append(part[: block.height, : block.width])
    return np.stack(parts)
