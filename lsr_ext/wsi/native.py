"""Read, decode and place JPEG tiles with one call into C++, without Python in between."""

from __future__ import annotations

import ctypes
import importlib
from array import array
from functools import cache
from pathlib import Path

import numpy as np

_LIBRARY = Path(__file__).parents[1] / "_slides.so"
_MESSAGE_BYTES = 256
# Their wheels contain libjpeg-turbo as a separate library.
_HOLDERS = ("PIL._imaging", "imagecodecs._jpeg8")


class Parts:
    """Windows of tiles and their places, in the layout of `Part` in csrc/slides/tiles.h."""

    FIELDS = 9

    def __init__(self) -> None:
        self.numbers = array("q")

    def __len__(self) -> int:
        return len(self.numbers) // self.FIELDS

    def add(
        self,
        offset: int,
        size: int,
        tile: int,
        out: int,
        out_stride: int,
        top: int,
        bottom: int,
        left: int,
        right: int,
    ) -> None:
        """Add a part.

        Args:
            offset, size: position of the tile's bytes in the file; size 0: `tile` holds its pixels.
            tile: address of the whole tile, or of space for it; 0: only the window is decoded.
            out, out_stride: address of the window's first pixel, and bytes from row to row.
            top, bottom, left, right: the window, in the reduced tile's pixels.
        """
        self.numbers.extend((offset, size, tile, out, out_stride, top, bottom, left, right))


class NativeCoding(ctypes.Structure):
    """How the JPEG tiles of a level are coded: `prefix` is the start of the stream, before the tile's own data."""

    _fields_ = (
        ("width", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("reduction", ctypes.c_int64),
        ("prefix_bytes", ctypes.c_int64),
        ("prefix", ctypes.c_char_p),
    )


def address(pixels: np.ndarray) -> int:
    """Return the address of an array's first element."""
    return pixels.ctypes.data


def is_available() -> bool:
    """Whether a libjpeg-turbo was found; without one, tiles are decoded one by one."""
    return _libjpeg() is not None


def place(descriptor: int, coding: NativeCoding, parts: Parts) -> tuple[int, str]:
    """Place parts in their order; windows must lie inside their tiles, and addresses must be valid.

    Returns:
        How many were placed before one failed, and the reason of the failure.
    """
    message = ctypes.create_string_buffer(_MESSAGE_BYTES)
    numbers, _ = parts.numbers.buffer_info()
    done = _library().lsr_place_jpeg_tiles(
        _libjpeg(), descriptor, ctypes.byref(coding), numbers, len(parts), message
    )
    return done, "" if done == len(parts) else message.value.decode(errors="replace")


@cache
def _library() -> ctypes.CDLL:
    if not _LIBRARY.exists():
        raise ImportError(f"{_LIBRARY} is missing: build the extension with `make build`, or reinstall lsr_ext")
    library = ctypes.CDLL(str(_LIBRARY))
    library.lsr_open_libjpeg.argtypes = [ctypes.c_char_p]
    library.lsr_open_libjpeg.restype = ctypes.c_void_p
    library.lsr_place_jpeg_tiles.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_char_p,
    ]
    library.lsr_place_jpeg_tiles.restype = ctypes.c_int64
    return library


@cache
def _libjpeg() -> int | None:
    for name in _HOLDERS:
        try:
            path = importlib.import_module(name).__file__
        except ImportError:
            continue
        found = _library().lsr_open_libjpeg(path.encode())
        if found is not None:
            return found
    return None
