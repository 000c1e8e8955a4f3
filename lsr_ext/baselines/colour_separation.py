"""Colour separation: L2 distance of pixels to each stain's standard RGB (section 3.1.4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsr_ext.baselines.stains import StainSet, check_rgb
from lsr_ext.metrics.regions import strip_rows
from lsr_ext.progress import track_progress


def l2_distances(image: np.ndarray, stains: StainSet) -> np.ndarray:
    """Compute the distance in RGB of each pixel to each standard colour, ||x - r_k||.

    Args:
        image: uint8 (H, W, 3).
        stains: K stains.

    Returns:
        float32 (H, W, K + 1), in grey levels; the last channel is the distance to the background.

    Raises:
        TypeError, ValueError: an image of another dtype or shape.

    Example:
        >>> from lsr_ext.baselines import StainSet
        >>> stains = StainSet(("red",), [[200, 40, 40]])
        >>> l2_distances(np.array([[[200, 43, 44]]], np.uint8), stains)[..., 0].tolist()
        [[5.0]]
    """
    check_rgb(image)
    # Plane by plane, because NumPy is slowest at sums over three neighbours.
    red, green, blue = np.moveaxis(image, -1, 0).astype(np.float32)
    planes = [
        np.sqrt((red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2)
        for r, g, b in _colours(stains).astype(np.float32)
    ]
    return np.stack(planes, -1)


def l2_map(image: Any, stains: StainSet, max_distance: float | None = None, out: Any = None) -> Any:
    """Classify each pixel by the nearest standard colour.

    The image is read, and the map is written, in strips of rows, so both may be memory maps, zarr arrays or other
    arrays that can be sliced by rows. Memory: a few strips of some million pixels each, and a table of 16 MiB for
    the colours already computed.

    Args:
        image: uint8 (H, W, 3), with `shape`, `dtype` and slicing.
        stains: any number of stains.
        max_distance: pixels farther than this from their nearest colour are background, in grey levels.
        out: uint8 (H, W), the array to write; None: a new array.

    Returns:
        `out`: 0 = background or a counterstain, c = the c-th of `stains.classes`; if colours are equally near,
        the first in the order of the stains.

    Raises:
        TypeError, ValueError: an image or `out` of another dtype or shape, or a max_distance that is not above 0.
        ModuleNotFoundError: numba is not installed; it is in the extra `lsr_ext[metrics]`.

    Example:
        >>> from lsr_ext.baselines import StainSet
        >>> stains = StainSet(("red", "blue"), [[200, 40, 40], [40, 40, 200]])
        >>> image = np.array([[[205, 50, 45], [40, 40, 190], [255, 255, 255]]], np.uint8)
        >>> l2_map(image, stains).tolist()
        [[1, 2, 0]]
    """
    check_rgb(image)
    if max_distance is not None and not max_distance > 0:
        raise ValueError(f"expected a max_distance above 0, got {max_distance}")
    shape = tuple(image.shape[:2])
    out = np.empty(shape, np.uint8) if out is None else out
    if tuple(out.shape) != shape or out.dtype != np.uint8:
        raise ValueError(f"expected out to be uint8 {shape}, got {out.dtype} {tuple(out.shape)}")
    nearest_colours = _load_kernel()
    colours, ids = _colours(stains), np.append(stains.class_ids, np.uint8(0))
    limit2 = np.inf if max_distance is None else float(max_distance) ** 2
    known = np.zeros(2**24, np.uint8)
    # Whole chunks of the output, if it has chunks: a part of one would be read and compressed again.
    rows = strip_rows(out if getattr(out, "chunks", None) else image)
    for top in track_progress(range(0, shape[0], rows), "separating colours"):
        # Always a copy: Numba would compile the kernel again for a read-only array.
        strip = np.array(image[top : top + rows], order="C")
        found = np.empty(strip.shape[:2], np.uint8)
        nearest_colours(strip, colours, ids, limit2, known, found)
        out[top : top + rows] = found
    return out


def _colours(stains: StainSet) -> np.ndarray:
    """Return the colours of the stains and, last, of the background, float64 (K + 1, 3)."""
    return np.vstack([stains.rgb, stains.background_rgb])


def _load_kernel() -> Any:
    try:
        from lsr_ext.baselines._nearest import nearest_colours
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the module {error.name!r} is missing: pip install lsr_ext[metrics]", name=error.name
        ) from error
    return nearest_colours
