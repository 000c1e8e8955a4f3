"""Pictures of slides for a page: the slide or a block of it, with contours of the predicted classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import simplejpeg
from PIL import Image, ImageColor, ImageDraw

from lsr_ext.inference.class_edges import inner_edges
from lsr_ext.inference.prediction import Area, Prediction
from lsr_ext.report.page import data_address
from lsr_ext.wsi import Slide

THUMBNAIL_PX, BLOCK_PX = 900, 320
_LINE_PX = 2
_JPEG_QUALITY = 82


def slide_picture(
    slide: Slide,
    prediction: Prediction | None,
    drawn: Sequence[int],
    blocks: np.ndarray,
    colours: Sequence[str],
) -> str:
    """The whole slide with contours and blocks, as an address for `src`.

    Args:
        slide: the slide.
        prediction: its prediction, or None.
        drawn: the classes whose contours are drawn.
        blocks: (N, 4): rectangles to outline: x, y, width, height in level-0 pixels.
        colours: "#rrggbb" of each block.
    """
    scale = max(max(slide.size) / THUMBNAIL_PX, 1.0)
    pixels = _with_contours(slide, prediction, drawn, (0, 0, *slide.size), scale)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    for (x, y, width, height), colour in zip(blocks / scale, colours, strict=True):
        pen.rectangle((x, y, x + width - 1, y + height - 1), outline=colour)
    return _embed(np.asarray(image))


def block_picture(slide: Slide, prediction: Prediction, drawn: Sequence[int], rectangle: Sequence[float]) -> str:
    """A block of a slide with contours, as an address for `src`; the rectangle is in level-0 pixels."""
    scale = max(max(rectangle[2:]) / BLOCK_PX, 1.0)
    return _embed(_with_contours(slide, prediction, drawn, rectangle, scale))


def _with_contours(
    slide: Slide,
    prediction: Prediction | None,
    drawn: Sequence[int],
    rectangle: Sequence[float],
    scale: float,
) -> np.ndarray:
    """uint8 (H, W, 3); `scale`: level-0 pixels per pixel."""
    x, y, width, height = (float(value) for value in rectangle)
    size = max(round(height / scale), 1), max(round(width / scale), 1)
    pixels = np.array(slide.read_resized(x, y, width, height, size))
    if prediction is None:
        return pixels
    ids = prediction.labels_of(Area(x, y, scale, size[1], size[0]), margin_px=_LINE_PX)
    is_edge, inner = inner_edges(ids, _LINE_PX), ids[_LINE_PX:-_LINE_PX, _LINE_PX:-_LINE_PX]
    for index in drawn:
        pixels[is_edge & (inner == index)] = ImageColor.getrgb(prediction.colours[index])
    return pixels


def _embed(pixels: np.ndarray) -> str:
    content = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_JPEG_QUALITY, colorsubsampling="444")
    return data_address(content, "jpeg")
