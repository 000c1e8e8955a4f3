"""Slides for tests: real ones if they are available, and small pyramids written with tifffile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

SHARED = Path(__file__).parents[1].parent / "shared"
REAL = SHARED / "data" / "slides"
CASES = SHARED / "cases" / "slides"  # small files that others read wrongly
_MICRONS = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}
needs_cases = pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not there")


def tissue_like(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth pink and purple with fine grain: uint8 (H, W, 3). JPEG keeps such pixels about as they are."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((-(-height // 32) + 1, -(-width // 32) + 1))
    smooth = np.kron(coarse, np.ones((32, 32)))[:height, :width, None]
    grain = rng.normal(0, 4, (height, width, 1))
    pixels = smooth * [220, 120, 190] + (1 - smooth) * [120, 60, 150] + grain
    return np.clip(pixels, 0, 255).astype(np.uint8)


def halved(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    parts = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, 3)
    return parts.mean(axis=(1, 3)).astype(np.uint8)


def write_pyramid(
    path: Path,
    pixels: np.ndarray,
    *,
    levels: int = 1,
    tile_px: int = 128,
    compression: str | None = "jpeg",
    mpp: float | None = 0.25,
    holes: Collection[tuple[int, int]] = (),
    description: str | None = None,
    byteorder: str = "<",
    **options: object,
) -> list[np.ndarray]:
    """Write a tiled pyramid; `holes` are the (row, column) of tiles of level 0 that are left out.

    Returns:
        The levels' pixels before compression.
    """
    written = []
    settings = {"compression": compression, "photometric": "rgb", "tile": (tile_px, tile_px), "metadata": None}
    if compression == "jpeg":
        settings["compressionargs"] = {"level": 85}
    if mpp is not None:
        settings |= {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, byteorder=byteorder) as tiff:
        for level in range(levels):
            pixels = pixels if level == 0 else halved(pixels)
            tiff.write(
                _tiles(pixels, tile_px, holes if level == 0 else ()),
                shape=pixels.shape,
                dtype=np.uint8,
                subfiletype=min(level, 1),
                description=description,
                **settings | options,
            )
            written.append(pixels)
    return written


def write_ome_planes(
    path: Path, planes: np.ndarray, channels: dict[str, list] | None = None, levels: int = 2
) -> Path:
    """An OME-TIFF of planes (C, H, W) with lower levels in sub-directories."""
    metadata = {"axes": "CYX", **_MICRONS} | ({} if channels is None else {"Channel": channels})
    options = {"tile": (128, 128), "photometric": "minisblack", "compression": "lzw"}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(planes, subifds=levels - 1, metadata=metadata, **options)
        for level in range(1, levels):
            tiff.write(planes[:, :: 2**level, :: 2**level], subfiletype=1, **options)
    return path


def area_average(
    pixels: np.ndarray, x: float, y: float, step: float | tuple[float, float], height: int, width: int
) -> np.ndarray:
    """float64 mean of (H, W, 3) `pixels` over squares of `step`, white outside: two products of matrices."""
    step_x, step_y = step if isinstance(step, tuple) else (step, step)
    down = _overlaps(y, step_y, height, pixels.shape[0])
    across = _overlaps(x, step_x, width, pixels.shape[1])
    inside = np.einsum("jr,rck,ic->jik", down, pixels.astype(np.float64), across, optimize=True)
    covered = np.outer(down.sum(axis=1), across.sum(axis=1))[..., None]
    return (inside + 255 * (step_y * step_x - covered)) / (step_y * step_x)


def _overlaps(start: float, step: float, count: int, source: int) -> np.ndarray:
    """(count, source): the length of source pixel c in output pixel i."""
    low = start + step * np.arange(count)[:, None]
    pixel = np.arange(source)[None]
    return np.clip(np.minimum(low + step, pixel + 1) - np.maximum(low, pixel), 0, None)


def _tiles(pixels: np.ndarray, tile_px: int, holes: Collection[tuple[int, int]]) -> Iterator[np.ndarray | None]:
    for row, y in enumerate(range(0, pixels.shape[0], tile_px)):
        for column, x in enumerate(range(0, pixels.shape[1], tile_px)):
            yield None if (row, column) in holes else pixels[y : y + tile_px, x : x + tile_px]
