"""Write an image as a small slide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from skimage.transform import downscale_local_mean

from lsr_ext.files import written_whole

_TILE_PX, _JPEG_QUALITY = 256, 85


def write_pyramid(path: str | Path, pixels: np.ndarray, mpp: float, description: str | None = None) -> None:
    """Write a pyramidal tiled TIFF with its resolution, JPEG inside.

    Levels are halved while their sides stay even and more than one tile is left.

    Args:
        path: ending in .tif or .tiff.
        pixels: uint8 (H, W, 3).
        mpp: microns per pixel.
        description: of the image, for the file.
    """
    with written_whole(path) as temporary, tifffile.TiffWriter(temporary) as tiff:
        for level in range(_levels(*pixels.shape[:2])):
            if level:
                pixels = np.rint(downscale_local_mean(pixels, (2, 2, 1))).astype(np.uint8)
            tiff.write(
                pixels,
                photometric="rgb",
                tile=(_TILE_PX, _TILE_PX),
                compression="jpeg",
                compressionargs={"level": _JPEG_QUALITY},
                resolution=(1e4 / (mpp * 2**level),) * 2,
                resolutionunit="CENTIMETER",
                subfiletype=min(level, 1),
                description=description if level == 0 else None,
                metadata=None,
            )


def _levels(height: int, width: int) -> int:
    levels = 1
    while height % 2 == width % 2 == 0 and max(height, width) > _TILE_PX:
        height, width, levels = height // 2, width // 2, levels + 1
    return levels
