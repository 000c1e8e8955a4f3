"""Pixel labels by colour for the blocks of a collection (section 3.1.4, "high res")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lsr_ext.data import BlockCollection
from lsr_ext.training.labelling import HIGH

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet


def pseudo_masks(blocks: BlockCollection, stains: StainSet | None) -> list[np.ndarray]:
    """A map of class ids for each image, int64 (H, W): the surest pixels of the stains that a block is high in.

    Blocks have a label "high" or "low" for each class but the first, the background; -1 = not labelled.

    Raises:
        ValueError: no stains or not those of the classes, labels that are not per class, or blocks that overlap.
    """
    from lsr_ext.baselines import pseudo_labels

    if stains is None:
        raise ValueError("pseudo-labels need stains (data.stains), got none")
    if tuple(stains.classes) != tuple(blocks.classes[1:]):
        raise ValueError(f"expected stains of the classes {blocks.classes[1:]}, got {stains.classes}")
    if blocks.labels.ndim != 2:
        raise ValueError("pseudo-labels need a label for each class (data.high_share), got one for each block")
    masks = [np.full(image.shape[:2], -1, np.int64) for image in blocks.images]
    for block, labels in zip(blocks.blocks, blocks.labels, strict=True):
        target = block.cut(masks[block.image])
        if (target >= 0).any():
            raise ValueError("pseudo-labels are of blocks side by side (data.stride_px), got blocks that overlap")
        target[:] = pseudo_labels(block.cut(blocks.images[block.image]), (labels[1:] == HIGH).astype(int), stains)
    return masks
