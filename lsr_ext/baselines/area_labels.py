"""Pixel labels from the class fractions that are given for a block, and from colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.filters import gaussian

from lsr_ext.baselines.deconvolution import deconvolve
from lsr_ext.baselines.pseudo_labels import IGNORED
from lsr_ext.baselines.stains import StainSet, check_rgb
from lsr_ext.data import Block
from lsr_ext.data.labels import checked_fractions


def area_label_map(
    image: np.ndarray,
    blocks: Sequence[Block],
    fractions: np.ndarray,
    stains: StainSet,
    smoothing_px: float = 1.0,
) -> np.ndarray:
    """Label pixels in each block: as many as the given fraction of a class, those with most of its stain.

    In a block, each class gets its fraction of the pixels, those with the highest concentration of its stain by
    `deconvolve` (if several classes claim a pixel, the one farther above its threshold). The background gets its
    fraction where all classes together have the lowest concentration. Ranks within a block do not depend on how
    strongly a slide is stained. Where blocks overlap, the label is that of more than half of them.

    Args:
        image: uint8 (H, W, 3); levels of 0 count as 1.
        blocks: N blocks within the image; their `image` index is ignored.
        fractions: (N, 1 + C) in [0, 1], of the background and of `stains.classes`; the remaining pixels are
            ignored.
        stains: stains that absorb light.
        smoothing_px: standard deviation of the Gaussian that smooths the concentrations, in pixels.

    Returns:
        int64 (H, W): -1 = ignored, 0 = background, c = the c-th of `stains.classes`.

    Raises:
        TypeError, ValueError: an image of another dtype or shape, fractions of another shape or range, a block
            that reaches outside the image, or an error of `deconvolve`.

    Example:
        >>> from lsr_ext.baselines import StainSet
        >>> from lsr_ext.data import cut_blocks
        >>> image = np.full((8, 8, 3), 255, np.uint8)
        >>> image[:, :4] = StainSet.preset("h-dab").rgb[1]
        >>> labels = area_label_map(
        ...     image, cut_blocks([(8, 8)], 8), np.array([[0.5, 0.5]]), StainSet.preset("h-dab"), smoothing_px=0
        ... )
        >>> labels[0].tolist()
        [1, 1, 1, 1, 0, 0, 0, 0]
    """
    check_rgb(image)
    fractions = checked_fractions(fractions)
    shape = (len(blocks), 1 + len(stains.classes))
    if fractions.shape != shape:
        raise ValueError(f"expected fractions of shape {shape}, got {fractions.shape}")
    # scikit-image reads a level of 0 as six decades of absorption, which smoothing would spread.
    densities = deconvolve(np.maximum(image, 1), stains)[..., stains.class_ids > 0]
    densities = gaussian(densities, smoothing_px, channel_axis=-1)
    votes = np.zeros((*image.shape[:2], fractions.shape[1]), np.int32)
    covered = np.zeros(image.shape[:2], np.int32)
    for block, areas in zip(blocks, fractions, strict=True):
        block.cut(votes)[:] += _label(block.cut(densities), areas)[..., None] == np.arange(len(areas))
        block.cut(covered)[:] += 1
    return np.where(2 * votes.max(-1) > covered, votes.argmax(-1), IGNORED)


def _label(densities: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Class ids, int64 (H, W), of densities (H, W, C); each class gets its share of the area."""
    least = [np.quantile(densities[..., index], 1 - area) for index, area in enumerate(areas[1:])]
    lead = densities - least
    total = densities.sum(-1)
    ground = np.where(total <= np.quantile(total, areas[0]), 0, IGNORED)
    return np.where(lead.max(-1) > 0, 1 + lead.argmax(-1), ground)
