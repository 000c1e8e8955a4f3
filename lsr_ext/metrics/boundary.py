"""Masked IoU and Dice: scores near the true boundaries only (section 3.2.2, Table 9)."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from lsr_ext.metrics.overlap import OverlapScores, overlap_scores


def boundary_band(truth: np.ndarray, distance_px: float) -> np.ndarray:
    """The pixels near a boundary between classes.

    A boundary pixel has one of its 4 neighbours in another class; the image's border is no boundary. A
    pixel belongs to the band if the Euclidean distance from its centre to the nearest boundary pixel's
    centre is at most `distance_px`, so 0 gives the boundary pixels themselves.

    Args:
        truth: integer (H, W) class ids.
        distance_px: in pixels.

    Returns:
        bool (H, W), all False where there is one class only.

    Raises:
        TypeError: `truth` is not integer.
        ValueError: `truth` is not (H, W), or `distance_px` is negative or NaN.
    """
    truth = np.asarray(truth)
    if truth.ndim != 2:
        raise ValueError(f"expected a map (H, W), got shape {truth.shape}")
    if truth.dtype.kind not in "iub":
        raise TypeError(f"expected integer class ids, got {truth.dtype}")
    if not distance_px >= 0:
        raise ValueError(f"expected a distance_px of at least 0, got {distance_px}")
    boundary = find_boundaries(truth, connectivity=1, mode="thick")
    if not boundary.any():
        return boundary
    return distance_transform_edt(~boundary) <= distance_px


def masked_scores(
    pred: np.ndarray | Sequence[np.ndarray],
    truth: np.ndarray | Sequence[np.ndarray],
    distance_px: float,
    num_classes: int,
) -> OverlapScores:
    """Overlap within `distance_px` of the true boundaries, pooled over images; the paper uses 240 px.

    Args:
        pred: integer class ids, (H, W) or (N, H, W), or a sequence of (H, W) maps of different sizes.
        truth: of the same shapes.
        distance_px: the half-width of `boundary_band`.
        num_classes: L.

    Raises:
        TypeError: maps that are not integer.
        ValueError: no images, numbers or shapes of images that differ, ids out of range, or a
            `distance_px` that is negative or NaN.
    """
    pred, truth = _images(pred), _images(truth)
    if len(pred) != len(truth) or not truth:
        raise ValueError(f"expected as many predictions as truths, at least 1, got {len(pred)} and {len(truth)}")
    scores = (
        overlap_scores(p, t, num_classes, valid=boundary_band(t, distance_px))
        for p, t in zip(pred, truth, strict=True)
    )
    return reduce(add, scores)


def _images(maps: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    return [maps] if isinstance(maps, np.ndarray) and maps.ndim == 2 else list(maps)
