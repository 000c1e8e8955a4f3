"""Check that a TIFF is complete: all its directories, their values and its pixels lie inside the file.

tifffile only logs what lies outside, so a truncated file would open with fewer levels, or without the tags that
describe the coding of its pixels, and pixels that are not there would be 0.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lsr_ext.files import read_at

if TYPE_CHECKING:
    import tifffile

MAX_DIRECTORIES = 4096
_SUB_DIRECTORIES = 330
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


class _Layout(NamedTuple):
    """The layout of a directory in a TIFF or a BigTIFF."""

    number: struct.Struct  # number of entries
    entry: struct.Struct  # tag, type, count, value or its offset
    offset: struct.Struct


def is_tiff(path: Path) -> bool:
    """Whether the file begins as a TIFF does."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def check_directories(descriptor: int) -> None:
    """Check a TIFF's directories and sub-directories.

    Raises:
        ValueError: a directory or one of its values lies outside the file, or there are implausibly many.
    """
    size = os.fstat(descriptor).st_size
    layout, first = _header(descriptor)
    waiting, seen = [first], set()
    while waiting:
        place = waiting.pop()
        if place == 0 or place in seen:
            continue
        seen.add(place)
        if len(seen) > MAX_DIRECTORIES:
            raise ValueError(f"expected at most {MAX_DIRECTORIES} directories")
        waiting += _follow(descriptor, place, layout, size)


def check_pixels(page: tifffile.TiffPage, file_bytes: int) -> None:
    """Check that all strips or tiles of a page are there; those of zero bytes were left out on purpose.

    Raises:
        ValueError: there are fewer than the page needs, or one lies outside the file.
    """
    offsets, counts = (np.array(values, np.float64) for values in (page.dataoffsets, page.databytecounts))
    needed = int(np.prod(page.chunked))
    if not needed or len(offsets) != needed or len(counts) != needed:
        raise ValueError(f"expected {needed} strips or tiles, got {len(offsets)} offsets and {len(counts)} sizes")
    if (end := int((offsets + counts)[counts > 0].max(initial=0))) > file_bytes:
        raise ValueError(f"expected pixels up to byte {end}, in a file of {file_bytes} bytes")


def _header(descriptor: int) -> tuple[_Layout, int]:
    start = read_at(descriptor, 16, 0).ljust(16, b"\0")
    order = "<" if start[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", start, 2)[0] == 43:
        layout = _Layout(*(struct.Struct(order + code) for code in ("Q", "HHQ8s", "Q")))
        return layout, layout.offset.unpack_from(start, 8)[0]
    layout = _Layout(*(struct.Struct(order + code) for code in ("H", "HHI4s", "I")))
    return layout, layout.offset.unpack_from(start, 4)[0]


def _follow(descriptor: int, place: int, layout: _Layout, size: int) -> list[int]:
    """Check the directory at `place`; return the offsets of the directories that it refers to."""
    (number,) = layout.number.unpack(_read(descriptor, place, layout.number.size, size))
    length = number * layout.entry.size
    content = _read(descriptor, place + layout.number.size, length + layout.offset.size, size)
    following = [layout.offset.unpack_from(content, length)[0]]
    for tag, kind, count, field in layout.entry.iter_unpack(content[:length]):
        values = count * _BYTES.get(kind, 1)
        (offset,) = layout.offset.unpack(field)
        if values > layout.offset.size and offset + values > size:
            raise ValueError(f"expected {values} bytes of tag {tag} at {offset}, in a file of {size} bytes")
        if tag == _SUB_DIRECTORIES:
            following += _offsets(descriptor, field, count, kind, layout)
    return following


def _offsets(descriptor: int, field: bytes, count: int, kind: int, layout: _Layout) -> list[int]:
    if count > MAX_DIRECTORIES:
        raise ValueError(f"expected at most {MAX_DIRECTORIES} sub-directories, got {count}")
    order, width = layout.offset.format[0], _BYTES.get(kind, 4)
    if count * width > layout.offset.size:
        field = read_at(descriptor, count * width, layout.offset.unpack(field)[0])
    return list(struct.unpack_from(f"{order}{count}{'Q' if width == 8 else 'I'}", field))


def _read(descriptor: int, place: int, length: int, size: int) -> bytes:
    if place + length > size:
        raise ValueError(f"expected a directory of {length} bytes at {place}, in a file of {size} bytes")
    return read_at(descriptor, length, place)
