"""Scores near boundaries: masked IoU and Dice (section 3.2.2, Table 9), trimap and Boundary IoU.

In all of them the border of the image is not a boundary. Whole slides are scored in tiles that overlap by the
distance, which gives the same counts as one pass. If nothing is counted, because there is no boundary or a class
is absent, the score is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from lsr_ext.metrics.overlap import OverlapScores, overlap_scores
from lsr_ext.progress import track_progress


def boundary_band(truth: np.ndarray, distance_px: float) -> np.ndarray:
    """The pixels near a boundary between classes.

    A boundary pixel has one of its 4 neighbours in another class; the border of the image is not a boundary. A
    pixel belongs to the band if the Euclidean distance from its centre to the nearest boundary pixel's
    centre is at most `distance_px`, so 0 gives the boundary pixels themselves.

    Args:
        truth: integer (H, W) class ids.
        distance_px: in pixels.

    Returns:
        bool (H, W), all False if there is only one class.

    Raises:
        TypeError: `truth` is not integer.
        ValueError: `truth` is not (H, W), or `distance_px` is negative or NaN.

    Example:
        >>> import numpy as np
        >>> boundary_band(np.array([[0, 0, 0, 1, 1, 1]]), 0).astype(int).tolist()
        [[0, 0, 1, 1, 0, 0]]
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
    pred: Any | Sequence[Any],
    truth: Any | Sequence[Any],
    distance_px: float,
    num_classes: int,
    *,
    tile_px: int = 2048,
) -> OverlapScores:
    """Overlap within `distance_px` of the true boundaries, pooled over images; the paper uses 240 px.

    Args:
        pred: integer class ids, (H, W) or (N, H, W), or a sequence of (H, W) maps of different sizes. A map may be
            any array that can be sliced by rows and columns and loads only the slice, such as a zarr array.
        truth: of the same shapes.
        distance_px: the half-width of `boundary_band`.
        num_classes: L.
        tile_px: the side of the tiles that are processed one at a time; the result does not depend on it.

    Raises:
        TypeError: the maps are not integer.
        ValueError: no images, numbers or shapes of images that differ, ids out of range in the band, or a
            `distance_px` that is negative or NaN.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0, 0, 0, 1, 1, 1]])
        >>> pred = np.array([[1, 0, 0, 0, 1, 1]])
        >>> masked_scores(pred, truth, distance_px=0, num_classes=2).iou.tolist()
        [0.5, 0.0]
    """

    def score(pred: np.ndarray, truth: np.ndarray, inner: tuple[slice, slice]) -> OverlapScores:
        band = boundary_band(truth, distance_px)
        return overlap_scores(pred[inner], truth[inner], num_classes, valid=band[inner])

    return _score_tiles(pred, truth, distance_px, tile_px, score)


def trimap_scores(
    pred: Any | Sequence[Any],
    truth: Any | Sequence[Any],
    distance_px: float,
    num_classes: int,
    *,
    tile_px: int = 2048,
) -> OverlapScores:
    """Overlap of each class within `distance_px` of the true boundary of that class alone.

    With two classes this is `masked_scores`; with more, `masked_scores` counts a class along the boundaries
    between any others too. Like `masked_scores` it looks only near the true boundary: a prediction that is wrong
    farther away costs nothing; Boundary IoU corrects this. Arguments and errors are those of `masked_scores`; ids
    out of range are an error everywhere.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0, 0, 0, 1, 1, 1]])
        >>> trimap_scores(truth, truth, distance_px=1, num_classes=2).iou.tolist()
        [1.0, 1.0]
    """

    def score(pred: np.ndarray, truth: np.ndarray, inner: tuple[slice, slice]) -> OverlapScores:
        _ids_present(pred, num_classes, "pred")
        counts = np.zeros((num_classes, 3), dtype=np.int64)
        for c, band in _own_bands(truth, distance_px, num_classes, "truth").items():
            near = band[inner]
            counts[c] = _counts((pred == c)[inner] & near, (truth == c)[inner] & near)
        return OverlapScores(*counts.T)

    return _score_tiles(pred, truth, distance_px, tile_px, score)


def boundary_iou(
    pred: Any | Sequence[Any],
    truth: Any | Sequence[Any],
    distance_px: float,
    num_classes: int,
    *,
    tile_px: int = 2048,
) -> OverlapScores:
    """Overlap of the predicted and the true band of each class; `.iou` is the Boundary IoU (Cheng et al., 2021).

    The band of a class is its own pixels within `distance_px` of its own boundary; G_d of the truth, P_d of the
    prediction: IoU = |G_d & P_d| / |G_d | P_d|. Unlike in the trimap, a wrong boundary costs wherever it is.
    The original measures distance in steps to any of 8 neighbours and counts the border of the image as a
    boundary. Here distance is Euclidean, as in `boundary_band`, and the border does not count. Arguments and
    errors are those of `masked_scores`; ids out of range are an error everywhere.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0, 0, 0, 1, 1, 1]])
        >>> pred = np.array([[0, 0, 1, 1, 1, 1]])
        >>> boundary_iou(pred, truth, distance_px=0, num_classes=2).iou.tolist()
        [0.0, 0.0]
    """

    def score(pred: np.ndarray, truth: np.ndarray, inner: tuple[slice, slice]) -> OverlapScores:
        nothing = np.zeros_like(truth, dtype=bool)
        predicted = _own_bands(pred, distance_px, num_classes, "pred")
        true = _own_bands(truth, distance_px, num_classes, "truth")
        counts = np.zeros((num_classes, 3), dtype=np.int64)
        for c in {*predicted, *true}:
            bands = (band.get(c, nothing) & (ids == c) for band, ids in ((predicted, pred), (true, truth)))
            counts[c] = _counts(*(band[inner] for band in bands))
        return OverlapScores(*counts.T)

    return _score_tiles(pred, truth, distance_px, tile_px, score)


def _score_tiles(
    pred: Any,
    truth: Any,
    distance_px: float,
    tile_px: int,
    score: Callable[[np.ndarray, np.ndarray, tuple[slice, slice]], OverlapScores],
) -> OverlapScores:
    """Sum `score` over tiles; it gets a window of both maps and the position of the tile within it."""
    if not distance_px >= 0:
        raise ValueError(f"expected a distance_px of at least 0, got {distance_px}")
    if tile_px < 1:
        raise ValueError(f"expected a tile_px of at least 1, got {tile_px}")
    pred, truth = _images(pred), _images(truth)
    if len(pred) != len(truth) or not truth:
        raise ValueError(f"expected as many predictions as truths, at least 1, got {len(pred)} and {len(truth)}")
    for p, t in zip(pred, truth, strict=True):
        if np.shape(p) != np.shape(t):
            raise ValueError(f"expected two maps (H, W) of one shape, got {np.shape(p)} and {np.shape(t)}")
    windows = [
        (p, t, *window)
        for p, t in zip(pred, truth, strict=True)
        for window in _windows(np.shape(t), distance_px, tile_px)
    ]
    return reduce(
        add,
        (
            score(np.asarray(p[window]), np.asarray(t[window]), inner)
            for p, t, window, inner in track_progress(windows, "scoring tiles")
        ),
    )


def _windows(
    shape: tuple[int, ...], distance_px: float, tile_px: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Yield the tiles of an image: the window that is needed to score a tile, and the tile within that window."""
    if len(shape) != 2:
        raise ValueError(f"expected a map (H, W), got shape {shape}")
    # A pixel at this distance can be a boundary pixel because of its neighbour one pixel farther.
    reach = int(min(distance_px, max(shape))) + 1
    for top in range(0, max(shape[0], 1), tile_px):
        for left in range(0, max(shape[1], 1), tile_px):
            window = tuple(slice(max(0, start - reach), start + tile_px + reach) for start in (top, left))
            offsets = (top - window[0].start, left - window[1].start)
            yield window, tuple(slice(offset, offset + tile_px) for offset in offsets)


def _own_bands(ids: np.ndarray, distance_px: float, num_classes: int, name: str) -> dict[int, np.ndarray]:
    """Return the pixels near the boundary of each class that is present."""
    present = _ids_present(ids, num_classes, name)
    if len(present) <= 2:  # both classes have the same boundary
        return dict.fromkeys(present, boundary_band(ids, distance_px))
    return {c: boundary_band(ids == c, distance_px) for c in present}


def _ids_present(ids: np.ndarray, num_classes: int, name: str) -> list[int]:
    if ids.dtype.kind not in "iub":
        raise TypeError(f"expected integer class ids in {name}, got {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= num_classes):
        raise ValueError(f"expected ids in [0, {num_classes}) in {name}, got {ids.min()} to {ids.max()}")
    return [c for c in range(num_classes) if (ids == c).any()]


def _counts(pred: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    """Count the true positives, false positives and false negatives of two masks."""
    both = np.count_nonzero(pred & truth)
    return both, np.count_nonzero(pred) - both, np.count_nonzero(truth) - both


def _images(maps: Any) -> list[Any]:
    return [maps] if getattr(maps, "ndim", None) == 2 else list(maps)
