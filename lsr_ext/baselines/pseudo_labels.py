"""Pixel labels from block labels and colour: the paper's "high res" supervision (section 3.1.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lsr_ext.baselines.colour_separation import l2_distances
from lsr_ext.baselines.stains import StainSet, check_rgb
from lsr_ext.data import Block

IGNORED = -1
_LABELS = (-1, 0, 1)


def pseudo_labels(
    image: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    stains: StainSet,
    share: tuple[float, float] = (0.0025, 0.005),
    background_share: float = 0.005,
) -> np.ndarray:
    """Label the pixels of a block whose colour is most certain; ignore the rest.

    For each class labelled high, pixels are ranked by how much nearer they are to its standard colour than to any
    other stain or the background: min_m ||x - r_m|| - ||x - r_k||. The first share[0] of the block's pixels are
    labelled, and further pixels up to share[1] as long as this stain is their nearest colour. (Compared with a
    ranking by the distance itself, more of the labelled pixels lie in positive nuclei on real Ki67 tiles: 0.86
    against 0.67 with the preset's colours, and 0.79 against 0.68 with colours picked there.) By the same measure,
    the background gets the pixels that are most certainly bare glass, and those that are most certainly each
    counterstain: `background_share` of each, as long as that is their nearest colour.

    A pixel has one label: the classes choose in their order, and the background last, among the pixels that are
    left. Pixels of equal rank are taken row by row.

    Args:
        image: uint8 (H, W, 3), the block.
        labels: (C,) of `stains.classes`: 1 = high, 0 = low, -1 = unknown.
        stains: their standard colours.
        share: smallest and largest share of the block's pixels for a class labelled high, in [0, 1].
        background_share: largest share of the block's pixels for each colour that is no class.

    Returns:
        int64 (H, W): -1 = ignored, 0 = background, c = the c-th of `stains.classes`.

    Raises:
        TypeError, ValueError: an image of another dtype or shape, invalid labels, or shares outside [0, 1].

    Example:
        >>> from lsr_ext.baselines import StainSet
        >>> stains = StainSet(("red",), [[200, 40, 40]])
        >>> block = np.full((4, 4, 3), 255, np.uint8)
        >>> block[:2, :2] = [200, 40, 40]
        >>> labels = pseudo_labels(block, np.array([1]), stains, share=(0.25, 0.25))
        >>> labels.shape, int(labels[0, 0])
        ((4, 4), 1)
    """
    check_rgb(image)
    labels = _checked_labels(labels, (len(stains.classes),))
    if not 0 <= share[0] <= share[1] <= 1 or not 0 <= background_share <= 1:
        raise ValueError(f"expected shares in [0, 1], the smaller first, got {share} and {background_share}")
    pixels = image.shape[0] * image.shape[1]
    least, most, most_background = (round(pixels * part) for part in (*share, background_share))
    distances = l2_distances(image, stains).reshape(pixels, -1)
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    class_ids = np.append(stains.class_ids, 0)
    marked = np.full(pixels, IGNORED, np.int64)
    for index in np.argsort(class_ids == 0, kind="stable"):
        class_id, own = int(class_ids[index]), distances[:, index]
        if class_id and labels[class_id - 1] != 1:
            continue
        lead = np.where(own == first, second, first) - own
        _mark(marked, class_id, lead, *((least, most) if class_id else (0, most_background)))
    return marked.reshape(image.shape[:2])


def pseudo_label_map(
    image: np.ndarray,
    blocks: Sequence[Block],
    labels: np.ndarray,
    stains: StainSet,
    share: tuple[float, float] = (0.0025, 0.005),
    background_share: float = 0.005,
) -> np.ndarray:
    """Make the pseudo-labels of the blocks of one image; where blocks overlap, the first label of a pixel counts.

    Args:
        image: uint8 (H, W, 3).
        blocks: N blocks within the image; their `image` index is ignored.
        labels: (N, C), as in `pseudo_labels`.
        stains, share, background_share: as in `pseudo_labels`.

    Returns:
        int64 (H, W), as in `pseudo_labels`; pixels outside blocks are ignored (-1).

    Raises:
        As in `pseudo_labels`; ValueError: a block reaches outside the image.

    Example:
        >>> from lsr_ext.baselines import StainSet
        >>> from lsr_ext.data import cut_blocks
        >>> stains = StainSet(("red",), [[200, 40, 40]])
        >>> image = np.full((4, 8, 3), 255, np.uint8)
        >>> image[:2, :2] = [200, 40, 40]
        >>> blocks, high = cut_blocks([(4, 8)], 4), np.array([[1], [0]])
        >>> labels = pseudo_label_map(image, blocks, high, stains, share=(0.25, 0.25))
        >>> labels.shape, int(labels[0, 0])
        ((4, 8), 1)
    """
    check_rgb(image)
    labels = _checked_labels(labels, (len(blocks), len(stains.classes)))
    marked = np.full(image.shape[:2], IGNORED, np.int64)
    for block, row in zip(blocks, labels, strict=True):
        part = block.cut(marked)
        found = pseudo_labels(block.cut(image), row, stains, share, background_share)
        np.copyto(part, found, where=part == IGNORED)
    return marked


def _checked_labels(labels: Sequence[int] | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != shape:
        raise ValueError(f"expected labels of shape {shape}, got {labels.shape}")
    if not np.isin(labels, _LABELS).all():
        raise ValueError(f"expected labels 1 (high), 0 (low) or -1 (unknown), got {np.unique(labels).tolist()}")
    return labels


def _mark(marked: np.ndarray, class_id: int, lead: np.ndarray, least: int, most: int) -> None:
    """Label the free pixels with the largest lead: `least` of them, and up to `most` if the lead is above 0."""
    free = np.flatnonzero(marked == IGNORED)
    most = min(most, len(free))
    if not most:
        return
    lead = lead[free]
    candidates = np.flatnonzero(lead >= np.partition(lead, -most)[-most])
    order = candidates[np.argsort(-lead[candidates], kind="stable")[:most]]
    count = max(min(least, most), int(np.count_nonzero(lead[order] > 0)))
    marked[free[order[:count]]] = class_id
