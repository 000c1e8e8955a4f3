"""Pixel labels from how much of each class a block is said to hold, and from colour."""

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
    """Label in each block as many pixels of a class as it is said to hold, those of most of its stain.

    A block gives each class the fraction of its pixels where the class's concentration by `deconvolve` is
    greatest (of several classes the one further above its threshold), and the background that where all classes
    together have least. Ranks within a block do not mind how strongly a slide is stained. Where blocks overlap,
    the label is what more than half of them say.

    Args:
        image: uint8 (H, W, 3); levels of 0 are taken for 1.
        blocks: N of them, within it; their `image` is not looked at.
        fractions: (N, 1 + C) in [0, 1], of the background and of `stains.classes`; what they leave is ignored.
        stains: they absorb light.
        smoothing_px: standard deviation of the Gaussian that steadies the concentrations.

    Returns:
        int64 (H, W): -1 = ignored, 0 = background, c = the c-th of `stains.classes`.

    Raises:
        TypeError, ValueError: an image of another dtype or shape, other fractions, a block that reaches
            outside the image, or stains as for `deconvolve`.
    """
    check_rgb(image)
    fractions = checked_fractions(fractions)
    shape = (len(blocks), 1 + len(stains.classes))
    if fractions.shape != shape:
        raise ValueError(f"expected fractions of shape {shape}, got {fractions.shape}")
    # scikit-image takes a level of 0 for six decades of absorption, which smoothing would spread.
    densities = deconvolve(np.maximum(image, 1), stains)[..., stains.class_ids > 0]
    densities = gaussian(densities, smoothing_px, channel_axis=-1)
    votes = np.zeros((*image.shape[:2], fractions.shape[1]), np.int32)
    covered = np.zeros(image.shape[:2], np.int32)
    for block, areas in zip(blocks, fractions, strict=True):
        block.cut(votes)[:] += _label(block.cut(densities), areas)[..., None] == np.arange(len(areas))
        block.cut(covered)[:] += 1
    return np.where(2 * votes.max(-1) > covered, votes.argmax(-1), IGNORED)


def _label(densities: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Class ids, int64 (H, W), of densities (H, W, C): to each class its part of the area."""
    least = [np.quantile(densities[..., index], 1 - area) for index, area in enumerate(areas[1:])]
    lead = densities - least
    total = densities.sum(-1)
    ground = np.where(total <= np.quantile(total, areas[0]), 0, IGNORED)
    return np.where(lead.max(-1) > 0, 1 + lead.argmax(-1), ground)
