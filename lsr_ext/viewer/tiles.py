"""Tiles as the browser gets them: JPEG of the slide, PNG with a palette of what lies over it."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence

import numpy as np
import simplejpeg
from PIL import Image, ImageColor

from lsr_ext.inference.class_edges import inner_edges
from lsr_ext.inference.prediction import Area, Prediction
from lsr_ext.inference.slide_store import NOT_PREDICTED
from lsr_ext.viewer.tile_grid import TileGrid
from lsr_ext.wsi import Slide

# A tile for which more of the slide must be read is refused: without coarse levels it takes too long.
MAX_SOURCE_PX = 2**28
_JPEG_QUALITY = 85
_LINE_PX = 2
_SAME_SCALE = 1.01


class OversizeTileError(ValueError):
    """A tile for which too much of the slide would have to be read."""


def slide_tile(slide: Slide, area: Area) -> bytes:
    """A tile of the slide as JPEG.

    Raises:
        OversizeTileError: more than `MAX_SOURCE_PX` pixels would be read.
        SlideError: the slide is damaged there.
    """
    needed = source_px(slide, area)
    if needed > MAX_SOURCE_PX:
        raise OversizeTileError(
            f"{slide.path.name} has no level that is coarse enough: this tile takes {needed} pixels of it, more "
            f"than {MAX_SOURCE_PX}"
        )
    size = area.height, area.width
    covered = area.width * area.downsample, area.height * area.downsample
    pixels = slide.read_resized(area.x, area.y, *covered, size)
    return simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_JPEG_QUALITY, colorsubsampling="420")


def source_px(slide: Slide, area: Area) -> int:
    """How many pixels of the slide's level a tile is averaged from."""
    finer = [level.downsample for level in slide.levels if level.downsample <= area.downsample * _SAME_SCALE]
    factor = area.downsample / max(finer, default=1.0)
    return round(area.width * area.height * factor**2)


def coarsest_level(slide: Slide, grid: TileGrid) -> int:
    """The first level of the pyramid of which any tile can be read."""
    for level in range(grid.last_level + 1):
        if source_px(slide, grid.area(level, 0, 0)) <= MAX_SOURCE_PX:
            return level
    return grid.last_level


def label_tile(prediction: Prediction, area: Area, shown: Collection[int]) -> bytes:
    """The areas of the classes that are shown, in their colours, as PNG; elsewhere transparent."""
    return _palette_png(prediction.labels_of(area), *_palette(prediction.colours, shown))


def contour_tile(prediction: Prediction, area: Area, shown: Collection[int]) -> bytes:
    """The inner edges of the areas of the classes that are shown, 2 px wide, as PNG; elsewhere transparent."""
    wide = prediction.labels_of(area, margin_px=_LINE_PX)
    inner = wide[_LINE_PX:-_LINE_PX, _LINE_PX:-_LINE_PX]
    shown_ids = np.where(inner_edges(wide, _LINE_PX), inner, NOT_PREDICTED)
    return _palette_png(shown_ids, *_palette(prediction.colours, shown))


def probability_tile(prediction: Prediction, area: Area, index: int) -> bytes:
    """The probability of a class as PNG in its colour, the more opaque the likelier."""
    palette = bytes(ImageColor.getrgb(prediction.colours[index])) * 256
    return _palette_png(prediction.probabilities_of(area, index), palette, bytes(range(256)))


def _palette(colours: Sequence[str], shown: Collection[int]) -> tuple[bytes, bytes]:
    """Colour and opacity of each class id, 3 and 1 bytes."""
    palette, opacity = bytearray(3 * 256), bytearray(256)
    for index, colour in enumerate(colours):
        palette[3 * index : 3 * index + 3] = bytes(ImageColor.getrgb(colour))
        opacity[index] = 255 * (index in shown)
    return bytes(palette), bytes(opacity)


def _palette_png(ids: np.ndarray, palette: bytes, opacity: bytes) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(ids))  # grey, which the palette makes colours of
    image.putpalette(palette)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=opacity, compress_level=1)
    return buffer.getvalue()
