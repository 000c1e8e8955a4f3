"""Where a slide's tissue is, read from a file: areas in GeoJSON, or an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lsr_ext.data.annotations import ANNOTATION_SUFFIXES, read_annotations
from lsr_ext.data.images import read_mask
from lsr_ext.wsi import Slide
from lsr_ext.wsi.tissue import TissueMask

_SUFFIXES = (*ANNOTATION_SUFFIXES, ".png")
_DRAWN_PX = 4096  # the longer side of the mask that areas are drawn into
_LARGEST_DISTORTION = 0.02


def read_tissue(path: str | Path, slide: Slide) -> TissueMask:
    """Read the tissue of a slide.

    Args:
        path: GeoJSON of areas, in level-0 pixels from the corner of the slide's bounds, as QuPath writes them; a
            PNG over the whole slide, 0 for glass; or a folder with one of these for each slide, named like it.
        slide: of this slide.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that cannot be read, no area, or an image of other proportions than the slide.
    """
    path = Path(path)
    if path.is_dir():
        path = _beside(path, slide)
    mask = _drawn(path, slide) if path.suffix.lower() != ".png" else read_mask(path) > 0
    (height, width), size = mask.shape, slide.size
    # A pixel more or less is rounding.
    allowed = _LARGEST_DISTORTION + 1 / min(height, width)
    if abs(width / height * size[1] / size[0] - 1) > allowed:
        raise ValueError(
            f"{path}: expected the proportions of the slide, {size[0]} x {size[1]}, got {width} x {height}"
        )
    if not mask.any():
        raise ValueError(f"{path}: expected tissue, found none")
    return TissueMask(mask, size)


def slide_bounds(slide: Slide) -> list[int] | None:
    """The part of the canvas that holds the slide, x, y, width and height in level-0 pixels; None: all of it."""
    sides = [slide.properties.get(f"openslide.bounds-{side}") for side in ("x", "y", "width", "height")]
    return None if None in sides else [int(side) for side in sides]


def _drawn(path: Path, slide: Slide) -> np.ndarray:
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    areas = read_annotations(path, tuple((slide_bounds(slide) or [0, 0])[:2]))
    if not areas:
        raise ValueError(f"{path}: expected areas of tissue, found none")
    scale = max(max(slide.size) / _DRAWN_PX, 1.0)
    shape = tuple(max(round(side / scale), 1) for side in slide.size[::-1])
    to_slide = Affine.scale(slide.size[0] / shape[1], slide.size[1] / shape[0])
    # All pixels that an area touches, so that none of it is lost.
    drawn = rasterize([area.shape for area in areas], shape, transform=to_slide, all_touched=True, dtype=np.uint8)
    return drawn > 0


def _beside(folder: Path, slide: Slide) -> Path:
    found = [path for suffix in _SUFFIXES if (path := folder / f"{slide.path.stem}{suffix}").is_file()]
    if len(found) != 1:
        raise ValueError(f"{folder}: expected one of {slide.path.stem}({'|'.join(_SUFFIXES)}), found {len(found)}")
    return found[0]
