"""Compare a page of a TIFF with a larger one: is it a level of its pyramid, or does it show something else?"""

from __future__ import annotations

import numpy as np
import tifffile
from skimage.transform import downscale_local_mean

from lsr_ext.codestreams import check_declared_size

_TILES = 5  # of the smaller page
_CELLS = 16  # compared per tile, across and down: their averages depend little on how a pyramid was made
_MOST_PIXELS = 2**24  # of the larger page, decoded for one tile of the smaller
_LARGEST_MEAN, _LARGEST_CELL = 6.0, 40.0  # grey levels of 255


def pages_agree(page: tifffile.TiffPage, larger: tifffile.TiffPage) -> bool:
    """Whether a page shows the same as a larger page of its aspect, in a sample of its tiles.

    Pages of other samples, too coarse to compare, or damaged do not agree.
    """
    if not (page.is_tiled and larger.is_tiled) or (page.samplesperpixel, page.dtype) != (
        larger.samplesperpixel,
        larger.dtype,
    ):
        return False
    factor = larger.imagewidth / page.imagewidth
    if page.tilewidth * page.tilelength * factor**2 > _MOST_PIXELS:
        return False
    boxes = [box for box in _boxes(page) if box[2] > 1 and box[3] > 1]
    if not boxes:
        return False
    try:
        differences = [_cells(page, 1.0, box) - _cells(larger, factor, box) for box in boxes]
    except Exception:  # decoders raise many kinds of errors on damaged bytes
        return False
    most = np.iinfo(page.dtype).max if page.dtype.kind in "iu" else 1.0
    scaled = np.abs(np.concatenate([difference.ravel() for difference in differences])) * 255 / most
    return bool(scaled.mean() <= _LARGEST_MEAN and scaled.max() <= _LARGEST_CELL)


def _boxes(page: tifffile.TiffPage) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height of some tiles: those with the most bytes, which show most, and some between."""
    columns = -(-page.imagewidth // page.tilewidth)
    sizes = np.array(page.databytecounts)
    chosen = {*np.argsort(-sizes, kind="stable")[: _TILES // 2].tolist()}
    chosen |= {len(sizes) * i // (_TILES - 1) for i in range(1, _TILES - 1)}
    boxes = []
    for index in sorted(chosen):
        left, top = index % columns * page.tilewidth, index // columns * page.tilelength
        width = min(page.tilewidth, page.imagewidth - left)
        boxes.append((left, top, width, min(page.tilelength, page.imagelength - top)))
    return boxes


def _cells(page: tifffile.TiffPage, factor: float, box: tuple[int, int, int, int]) -> np.ndarray:
    """Average a box, given in pixels `factor` times larger, over cells."""
    left, top, width, height = (round(side * factor) for side in box)
    pixels = _read(page, left, top, width, height)
    rows, columns = (min(_CELLS, side) for side in (box[3], box[2]))
    down, across = pixels.shape[0] // rows, pixels.shape[1] // columns
    cut = pixels[: rows * down, : columns * across]
    return downscale_local_mean(cut, (down, across, 1))


def _read(page: tifffile.TiffPage, left: int, top: int, width: int, height: int) -> np.ndarray:
    """Decode a rectangle of a page: float32 (height, width, samples)."""
    columns = -(-page.imagewidth // page.tilewidth)
    right, bottom = min(left + width, page.imagewidth), min(top + height, page.imagelength)
    x, y = left // page.tilewidth, top // page.tilelength
    across, down = -(-right // page.tilewidth) - x, -(-bottom // page.tilelength) - y
    room = np.zeros((down * page.tilelength, across * page.tilewidth, page.samplesperpixel), np.float32)
    handle = page.parent.filehandle
    for row in range(down):
        for column in range(across):
            index = (y + row) * columns + x + column
            if not page.databytecounts[index]:
                continue
            handle.seek(page.dataoffsets[index])
            data = handle.read(page.databytecounts[index])
            check_declared_size(data, page.compression, page.tilewidth, page.tilelength)
            tile = page.decode(data, index, jpegtables=page.jpegtables)[0][0]
            there = room[row * page.tilelength :, column * page.tilewidth :]
            there[: tile.shape[0], : tile.shape[1]] = tile
    shift = top - y * page.tilelength, left - x * page.tilewidth
    return room[shift[0] : shift[0] + bottom - top, shift[1] : shift[1] + right - left]
