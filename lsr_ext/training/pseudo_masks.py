"""Pixel labels by colour for the blocks of a collection (section 3.1.4, "high res")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lsr_ext.data import BlockCollection

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet


def pseudo_masks(blocks: BlockCollection, stains: StainSet | None) -> list[np.ndarray]:
    """A map of class ids for each image, int64 (H, W): the surest pixels of the stains that a block is high in.

    Blocks have a label "high" or "low" for each class but the first, the background; `stains` are those of these
    classes. -1 = not labelled.

    Raises:
        ValueError: no stains or not those of the classes, or labels that are not per class.
    """
    from lsr_ext.baselines import pseudo_label_map

    if stains is None:
        raise ValueError("pseudo-labels need stains (data.stains), got none")
    if blocks.labels.ndim != 2:
        raise ValueError("pseudo-labels need a label for each class (data.high_share), got one for each block")
    if list(blocks.label_names) != ["low", "high"]:
        raise ValueError(f"pseudo-labels need the labels low and high, in this order, got {blocks.label_names}")
    ordered = stains.in_order(blocks.classes[1:])
    masks = [np.full(image.shape[:2], -1, np.int64) for image in blocks.images]
    image_of = np.array([block.image for block in blocks.blocks])
    for image in np.unique(image_of):
        members = np.flatnonzero(image_of == image)
        masks[image] = pseudo_label_map(
            blocks.images[image], [blocks.blocks[i] for i in members], blocks.labels[members, 1:], ordered
        )
    return masks
