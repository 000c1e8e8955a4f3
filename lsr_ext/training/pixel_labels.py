"""Pixel labels by colour for the blocks of a collection (section 3.1.4, "high res")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lsr_ext.data import BlockCollection

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet


def pseudo_masks(blocks: BlockCollection, stains: StainSet | None, fractions: np.ndarray) -> list[np.ndarray]:
    """A map of class ids for each image, int64 (H, W); -1 = not labelled.

    Blocks with a label "high" or "low" for each class but the first, the background: the surest pixels of the
    stains that a block is high in. Blocks with one label: as many pixels of each class, those of most of its
    stain, as a block of this label is expected to hold. None in a block of which nothing is known.

    Args:
        blocks: N of them.
        stains: those of the classes but the first.
        fractions: (N, L), the expected ones of the blocks.

    Raises:
        ValueError: no stains or not those of the classes, stains that absorb no light where blocks have one label,
            or labels per class that are not low and high.
    """
    from lsr_ext.baselines import area_label_map, pseudo_label_map

    if stains is None:
        raise ValueError("pseudo-labels need stains (data.stains), got none")
    ordered = stains.in_order(blocks.classes[1:])
    per_class = blocks.labels.ndim == 2
    if per_class and list(blocks.label_names) != ["low", "high"]:
        raise ValueError(f"pseudo-labels need the labels low and high, in this order, got {blocks.label_names}")
    label_map = pseudo_label_map if per_class else area_label_map
    said = blocks.labels[:, 1:] if per_class else fractions
    masks = [np.full(image.shape[:2], -1, np.int64) for image in blocks.images]
    image_of = np.array([block.image for block in blocks.blocks])
    for image in np.unique(image_of):
        members = np.flatnonzero(blocks.known & (image_of == image))
        chosen = [blocks.blocks[index] for index in members]
        masks[image] = label_map(blocks.images[image], chosen, said[members], ordered)
    return masks
