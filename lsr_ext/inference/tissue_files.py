"""Where a slide's tissue is, read from a file: areas in GeoJSON, or an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lsr_ext.data.annotation_map import read_areas
from lsr_ext.data.beside import check_aspect, find_beside
from lsr_ext.data.geojson import GEOJSON_SUFFIXES, qupath_corner
from lsr_ext.data.images import read_mask
from lsr_ext.wsi import Slide
from lsr_ext.wsi.tissue import TissueMask

_SUFFIXES = (*GEOJSON_SUFFIXES, ".png")
_DRAWN_PX = 4096  # the longer side of the mask that areas are drawn into


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
        found = find_beside(path, slide.path, _SUFFIXES)
        if found is None:
            raise FileNotFoundError(f"expected {slide.path.stem}({'|'.join(_SUFFIXES)}) in {path}, found none")
        path = found
    mask = _drawn(path, slide) if path.suffix.lower() != ".png" else read_mask(path) > 0
    check_aspect(path, mask.shape, slide.path.name, slide.size)
    if not mask.any():
        raise ValueError(f"{path}: expected tissue, found none")
    return TissueMask(mask, slide.size)


def _drawn(path: Path, slide: Slide) -> np.ndarray:
    from rasterio.features import rasterize
    from rasterio.transform import Affine

    areas = read_areas(path, qupath_corner(slide.path.name, slide.bounds))
    if not areas:
        raise ValueError(f"{path}: expected areas of tissue, found none")
    scale = max(max(slide.size) / _DRAWN_PX, 1.0)
    shape = tuple(max(round(side / scale), 1) for side in slide.size[::-1])
    to_slide = Affine.scale(slide.size[0] / shape[1], slide.size[1] / shape[0])
    # All pixels that an area touches, so that none of it is lost.
    drawn = rasterize([area.shape for area in areas], shape, transform=to_slide, all_touched=True, dtype=np.uint8)
    return drawn > 0
