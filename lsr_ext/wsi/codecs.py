"""Decode one tile of a TIFF file; data that is not exactly a tile is always an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import imagecodecs
import numpy as np
import simplejpeg

from lsr_ext.codestreams import J2kHeader

# Declares that the components are red, green and blue: without a JFIF or Adobe marker, libjpeg assumes YCbCr.
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
_JPEG_RGB, _JPEG_YCBCR = _ADOBE + b"\x00", _ADOBE + b"\x01"
_START, _END = b"\xff\xd8", b"\xff\xd9"
RGB, YCBCR = 2, 6

NONE, LZW, JPEG, DEFLATE, OLD_DEFLATE = 1, 5, 7, 8, 32946
APERIO_J2K_YCBCR, APERIO_J2K_RGB, JPEG2000 = 33003, 33005, 34712
MAY_BE_YCBCR = (JPEG, APERIO_J2K_YCBCR, APERIO_J2K_RGB, JPEG2000)  # decoded to RGB


class Coding(NamedTuple):
    """How the tiles of a level are coded: TIFF's numbers, and the JPEG tables that all tiles share."""

    compression: int
    photometric: int
    predictor: int
    width: int
    height: int
    jpeg_tables: bytes

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, 3


def decode(data: bytes, coding: Coding, reduction: int) -> np.ndarray:
    """Decode the pixels of a tile.

    Args:
        data: the tile's bytes.
        coding: the coding of its level.
        reduction: 1, 2, 4 or 8 for JPEG, 1 for the others; the tile's size must be a multiple of it.

    Returns:
        uint8 (height / reduction, width / reduction, 3), C-contiguous.

    Raises:
        ValueError: the bytes are not a tile of that coding and size.
    """
    pixels = DECODERS[coding.compression](data, coding, reduction)
    expected = coding.height // reduction, coding.width // reduction, 3
    if pixels.shape != expected or pixels.dtype != np.uint8:
        raise ValueError(f"expected a tile of {expected} bytes, got {pixels.dtype} {pixels.shape}")
    return pixels


def jpeg_prefix(coding: Coding) -> bytes:
    """Return the start of a JPEG stream, in place of the tile's start of image: colours and shared tables."""
    return b"".join((_START, _JPEG_RGB if coding.photometric == RGB else _JPEG_YCBCR, coding.jpeg_tables[2:-2]))


def _jpeg(data: bytes, coding: Coding, reduction: int) -> np.ndarray:
    if data[:2] != _START:
        raise ValueError(f"expected a JPEG stream, got bytes {data[:4].hex()}")
    stream = jpeg_prefix(coding) + data[2:]
    shape = coding.height // reduction, coding.width // reduction, 3
    # Space for exactly one tile: the size that the stream declares is not trusted.
    room = np.empty(shape, np.uint8)
    if reduction == 1:
        return simplejpeg.decode_jpeg(stream, buffer=room)
    return simplejpeg.decode_jpeg(
        stream, buffer=room, min_height=shape[0], min_width=shape[1], min_factor=reduction
    )


def _jpeg2000(data: bytes, coding: Coding, reduction: int) -> np.ndarray:
    header = J2kHeader.parse(data)
    # Checked first, because the decoder allocates memory for the size that the header declares.
    if (header.width, header.height, header.components) != (coding.width, coding.height, 3):
        raise ValueError(
            f"expected JPEG 2000 of {coding.width} x {coding.height} px in 3 components, "
            f"got {header.width} x {header.height} px in {header.components}"
        )
    pixels = np.ascontiguousarray(imagecodecs.jpeg2k_decode(data, numthreads=1))
    # The decoder has converted subsampled chroma, what the encoder had transformed, and colours named in a JP2.
    is_rgb = header.subsampled or header.transformed or header.named
    tagged_ycbcr = coding.compression == APERIO_J2K_YCBCR or coding.photometric == YCBCR
    return _rgb_from_ycbcr(pixels) if tagged_ycbcr and not is_rgb else pixels


def _rgb_from_ycbcr(pixels: np.ndarray) -> np.ndarray:
    """Convert full-range BT.601, as in JFIF."""
    y, cb, cr = np.moveaxis(pixels.astype(np.float32), -1, 0)
    cb, cr = cb - 128, cr - 128
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.floor(rgb + 0.5), 0, 255).astype(np.uint8)


def _flat(unpack: Callable[[bytes, int], bytes]) -> Callable[[bytes, Coding, int], np.ndarray]:
    """Make a decoder for data that unpacks to the tile's samples, or to their differences along the row."""

    def decode_flat(data: bytes, coding: Coding, reduction: int) -> np.ndarray:
        height, width, channels = coding.shape
        size = height * width * channels
        samples = unpack(data, size)
        if len(samples) != size:
            raise ValueError(f"expected {size} bytes of samples, got {len(samples)}")
        pixels = np.frombuffer(samples, np.uint8).reshape(coding.shape)
        # A copy, so that the file's bytes can be freed; sums wrap around at 256, as the format requires.
        return pixels.copy() if coding.predictor == 1 else np.cumsum(pixels, axis=1, dtype=np.uint8)

    return decode_flat


# One byte more than expected, to detect surplus data too.
_deflate = _flat(lambda data, size: imagecodecs.zlib_decode(data, out=size + 1))
DECODERS = {
    NONE: _flat(lambda data, size: data),
    LZW: _flat(lambda data, size: imagecodecs.lzw_decode(data, out=size + 1)),
    JPEG: _jpeg,
    DEFLATE: _deflate,
    OLD_DEFLATE: _deflate,
    APERIO_J2K_YCBCR: _jpeg2000,
    APERIO_J2K_RGB: _jpeg2000,
    JPEG2000: _jpeg2000,
}
