"""Colour separation: L2 distance of pixels to each stain's standard RGB (section 3.1.4)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsr_ext.baselines.stains import StainSet, check_rgb
from lsr_ext.metrics.regions import strip_rows
from lsr_ext.progress import track_progress


def l2_distances(image: np.ndarray, stains: StainSet) -> np.ndarray:
    """Distances in RGB of each pixel to each standard colour, ||x - r_k||.

    Args:
        image: uint8 (H, W, 3).
        stains: K of them.

    Returns:
        float32 (H, W, K + 1), in grey levels; the last is that to the background.

    Raises:
        TypeError, ValueError: an image of another dtype or shape.
    """
    check_rgb(image)
    # Planes rather than pixels: sums over three neighbours are what NumPy does slowest.
    red, green, blue = np.moveaxis(image, -1, 0).astype(np.float32)
    planes = [
        np.sqrt((red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2)
        for r, g, b in _colours(stains).astype(np.float32)
    ]
    return np.stack(planes, -1)


def l2_map(image: Any, stains: StainSet, max_distance: float | None = None, out: Any = None) -> Any:
    """The class of each pixel: that of the nearest standard colour.

    The image is read, and the map written, by strips of rows, so both may be memory maps, zarr arrays or other
    things that are sliced by rows. Memory: some strips of some
    million pixels each, and 16 MiB of colours already looked at.

    Args:
        image: uint8 (H, W, 3), with `shape`, `dtype` and slicing.
        stains: any number of them.
        max_distance: pixels farther than this from their nearest colour are background, in grey levels.
        out: uint8 (H, W), written to; None: a new array.

    Returns:
        `out`: 0 = background or a counterstain, c = the c-th of `stains.classes`; of equally near colours the
        first of the stains' order.

    Raises:
        TypeError, ValueError: an image or `out` of another dtype or shape, or a max_distance that is not above 0.
        ModuleNotFoundError: numba is missing; it is in the extra `lsr_ext[metrics]`.
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
    # Whole chunks of the output, where it has such: part of one would be read and packed again.
    rows = strip_rows(out if getattr(out, "chunks", None) else image)
    for top in track_progress(range(0, shape[0], rows), "separating colours"):
        # Always a copy: of an array that cannot be written to, Numba would compile the kernel once more.
        strip = np.array(image[top : top + rows], order="C")
        found = np.empty(strip.shape[:2], np.uint8)
        nearest_colours(strip, colours, ids, limit2, known, found)
        out[top : top + rows] = found
    return out


def _colours(stains: StainSet) -> np.ndarray:
    """The stains' and, last, the background's, float64 (K + 1, 3)."""
    return np.vstack([stains.rgb, stains.background_rgb])


def _load_kernel() -> Any:
    try:
        from lsr_ext.baselines._nearest import nearest_colours
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the module {error.name!r} is missing: pip install lsr_ext[metrics]", name=error.name
        ) from error
    return nearest_colours
