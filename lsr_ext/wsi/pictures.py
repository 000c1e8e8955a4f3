"""Read a PNG or JPEG file as a slide of one level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ImageFile, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from lsr_ext.wsi import handles
from lsr_ext.wsi.backend import Backend, Facts, Level, Tile
from lsr_ext.wsi.cache import Cache
from lsr_ext.wsi.errors import CorruptSlideError, ReadTooLargeError, SlideError, UnsupportedSlideError
from lsr_ext.wsi.resolution import dpi_mpp, from_microscope

_TILE_PX = 512
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_WHITE = (255, 255, 255)
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_PNG_BITS = 24  # position of the bit depth in the file
_ORIENTATION = 0x0112  # from 5 on, rows and columns are exchanged

# Such a file can only be decoded as a whole, so pixels are kept: of the last ones, as many as one read may take.
_decoded = Cache(handles.DEFAULT_MAX_READ_BYTES, size=lambda pixels: pixels.nbytes)


def is_picture(path: Path) -> bool:
    """Whether the file begins as PNG or JPEG do."""
    with path.open("rb") as file:
        return file.read(len(_PNG)).startswith((_PNG, _JPEG))


class PictureBackend(Backend):
    """A PNG or JPEG file: 8 bits per channel; transparent pixels are shown on white and are not inside.

    Raises:
        UnsupportedSlideError: another kind of file, or other pixels.
        ReadTooLargeError: its pixels take more memory than one read may.
        CorruptSlideError: it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not is_picture(path):
            raise UnsupportedSlideError(f"{path}: expected a PNG or JPEG file")
        try:
            with _opened(path) as image:
                width, height = image.size[::-1] if _lies(image) else image.size
                has_holes, mode = image.has_transparency_data, image.mode
                dpi = image.info.get("dpi")
                is_deep = image.format == "PNG" and _png_bits(path) > 8
        except Exception as error:  # Pillow raises many kinds of errors on damaged files
            raise CorruptSlideError(f"{path}: not a readable picture ({error!r})") from error
        if mode not in _MODES or is_deep:
            raise UnsupportedSlideError(f"{path}: expected grey or RGB of 8 bits per channel, got {mode}")
        needed = 4 * width * height
        if needed > handles.max_read_bytes:
            raise ReadTooLargeError(
                f"{path}: a picture of {width} x {height} px takes {needed} bytes, more than the limit of "
                f"{handles.max_read_bytes}; convert it to a tiled TIFF (vips tiffsave --tile --pyramid), or raise "
                "lsr_ext.wsi.configure(read_limit_bytes=...)"
            )
        _decoded.set_budget(handles.max_read_bytes)
        found = path.stat()
        self._key = str(path), found.st_ino, found.st_size, found.st_mtime_ns
        mpp = None if dpi is None else dpi_mpp(dpi)
        self.facts = Facts(
            backend="picture",
            levels=(Level(width, height, 1.0, min(_TILE_PX, width), min(_TILE_PX, height)),),
            vendor="picture",
            mpp=from_microscope(mpp),
            background=_WHITE,
            has_holes=has_holes,
            properties={},
            associated=(),
            print_mpp=mpp,
        )

    def decode_tile(self, level: int, column: int, row: int, reduction: int) -> Tile:
        pixels = _decoded.get(self._key, self._decode)
        spec = self.facts.levels[0]
        top, left = row * spec.tile_height, column * spec.tile_width
        part = pixels[top : top + spec.tile_height, left : left + spec.tile_width]
        tile = np.full((spec.tile_height, spec.tile_width, 3), 255, np.uint8)
        inside = None
        if pixels.shape[2] == 4:
            opacity = part[..., 3:] / np.float32(255)
            tile[: part.shape[0], : part.shape[1]] = part[..., :3] * opacity + 255 * (1 - opacity) + 0.5
            inside = np.zeros(tile.shape[:2], bool)
            inside[: part.shape[0], : part.shape[1]] = opacity[..., 0] >= 0.5
        else:
            tile[: part.shape[0], : part.shape[1]] = part
        return Tile(tile, inside)

    def _decode(self) -> np.ndarray:
        try:
            with _opened(self._path) as image:
                turned = ImageOps.exif_transpose(image)
                pixels = np.asarray(turned.convert("RGBA" if self.facts.has_holes else "RGB"))
        except Exception as error:  # Pillow raises many kinds of errors on damaged files
            raise CorruptSlideError(f"{self._path}: not a readable picture ({error!r})") from error
        if pixels.shape[:2] != self.facts.levels[0][1::-1]:
            raise SlideError(
                f"{self._path}: expected {self.facts.levels[0][:2]} px (width, height), got {pixels.shape[1::-1]}"
            )
        return pixels


def _opened(path: Path) -> ImageFile.ImageFile:
    # Not by Image.open, which refuses large pictures whatever memory there is.
    with path.open("rb") as file:
        is_png = file.read(len(_PNG)) == _PNG
    return PngImageFile(path) if is_png else JpegImageFile(path)


def _lies(image: ImageFile.ImageFile) -> bool:
    """Whether it is to be turned by a quarter."""
    # Pillow would decode a PNG without EXIF at its start to look for it at the end.
    return (image.format == "JPEG" or "exif" in image.info) and image.getexif().get(_ORIENTATION, 1) > 4


def _png_bits(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(_PNG_BITS + 1)[_PNG_BITS]
