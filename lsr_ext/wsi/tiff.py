"""Read tiled TIFF, SVS and OME-TIFF: find tiles once with tifffile, then read them with pread and decode them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

from lsr_ext.wsi import native
from lsr_ext.wsi.backend import Facts, Job, Level, Region, Tile, place_each
from lsr_ext.wsi.codecs import DECODERS, JPEG, RGB, YCBCR, Coding, decode, jpeg_prefix
from lsr_ext.wsi.directories import check_directories
from lsr_ext.wsi.errors import CorruptSlideError, SlideError, UnsupportedSlideError
from lsr_ext.wsi.resolution import aperio_mpp, ome_mpp, tiff_mpp

WHITE = (255, 255, 255)
MAX_TILE_PIXELS = 2**24
MAX_ASSOCIATED_PIXELS = 2**26
_MOST_OVERHEAD_BYTES = 2**16  # a tile's headers and tables
_REDUCTIONS = (1, 2, 4, 8)  # reductions that cost libjpeg almost nothing
_ASPECT_TOLERANCE = 0.01


class _TileTable(NamedTuple):
    """Positions of a level's tiles in the file: int64 arrays in row order; 0 bytes: no tile there."""

    offsets: np.ndarray
    sizes: np.ndarray
    columns: int
    coding: Coding


class _File:
    """A file descriptor that is closed with its last user."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Bound here: when the interpreter exits, module names disappear before the last handles.
        self._close = os.close

    def __del__(self) -> None:
        if hasattr(self, "_close"):
            self._close(self.descriptor)


class TiffBackend:
    """A tiled TIFF file of 8-bit RGB.

    Tiles are coded with JPEG, JPEG 2000, deflate, LZW, or not compressed. The levels are the tiled pages, and the
    sub-pages of the first page, that show the first page at a smaller size. A tile of zero bytes is a hole.

    Raises:
        UnsupportedSlideError: another kind of TIFF.
        CorruptSlideError: a TIFF that cannot be parsed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _File(path)
        try:
            check_directories(self._file.descriptor)
            with _parsed(path) as tiff:
                self.facts, self._tables, self._associated = self._parse(tiff)
        except (SlideError, OSError):
            raise
        except Exception as error:  # tifffile raises many kinds of errors on damaged files
            raise CorruptSlideError(f"{path}: not a readable TIFF ({error!r})") from error

    def _parse(self, tiff: tifffile.TiffFile) -> tuple[Facts, list[_TileTable], dict[str, int]]:
        first = tiff.pages.first
        file_bytes = os.fstat(self._file.descriptor).st_size
        if not isinstance(first, tifffile.TiffPage) or not first.is_tiled:
            raise UnsupportedSlideError(f"{self._path}: expected a tiled TIFF, got one of strips")
        pages = [first, *(first.pages or ()), *(page for page in list(tiff.pages)[1:])]
        pages = [page if isinstance(page, tifffile.TiffPage) else page.aspage() for page in pages]
        levels = sorted((p for p in pages if _shows(first, p)), key=lambda page: -page.imagewidth)
        tables = [self._tile_table(page, file_bytes) for page in levels]
        others = [page for page in pages if page not in levels]
        associated = {name: page.index for page in others if (name := _associated_name(page, tiff.is_svs))}
        description = first.description or ""
        holes = [not table.sizes.all() for table in tables]
        if tiff.is_svs and any(holes[1:]):
            raise UnsupportedSlideError(
                f"{self._path}: an SVS with holes in a lower level, to be filled from the finer one"
            )
        facts = Facts(
            backend="tiff",
            levels=tuple(_level(page, first) for page in levels),
            vendor="aperio" if tiff.is_svs else "ome-tiff" if tiff.is_ome else "generic-tiff",
            mpp=_mpp(tiff, first),
            background=WHITE,
            has_holes=any(holes),
            properties=_properties(tiff, description),
            associated=tuple(associated),
        )
        return facts, tables, associated

    def _tile_table(self, page: tifffile.TiffPage, file_bytes: int) -> _TileTable:
        coding = self._coding(page)
        columns, rows = -(-page.imagewidth // page.tilewidth), -(-page.imagelength // page.tilelength)
        offsets, sizes = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
        if len(offsets) != columns * rows or len(sizes) != columns * rows:
            raise CorruptSlideError(
                f"{self._path}, page {page.index}: expected {columns * rows} tiles, got {len(offsets)} offsets "
                f"and {len(sizes)} sizes"
            )
        # A damaged size must not decide how much memory is allocated: no coding doubles its data.
        most = _MOST_OVERHEAD_BYTES + 2 * 3 * page.tilewidth * page.tilelength
        outside = (offsets < 0) | (sizes < 0) | (sizes > most) | (offsets + sizes > file_bytes)
        sizes[outside] = -1  # an error only when such a tile is read: the others may be intact
        sizes[offsets == 0] = 0
        return _TileTable(offsets, sizes, columns, coding)

    def _coding(self, page: tifffile.TiffPage) -> Coding:
        compression, photometric = int(page.compression), int(page.photometric)
        found = {
            "8 bits per sample": page.bitspersample == 8 and page.dtype == np.uint8,
            "3 samples per pixel": page.samplesperpixel == 3,
            "interleaved samples": int(page.planarconfig) == 1,
            "RGB or YCbCr": photometric == RGB or (photometric == YCBCR and compression == JPEG),
            "JPEG, JPEG 2000, deflate, LZW or no compression": compression in DECODERS,
            "no predictor or the horizontal one": int(page.predictor) in (1, 2),
            "one plane": page.imagedepth == 1,
            f"tiles of at most {MAX_TILE_PIXELS} px": page.tilewidth * page.tilelength <= MAX_TILE_PIXELS,
        }
        for expected, holds in found.items():
            if not holds:
                raise UnsupportedSlideError(f"{self._path}, page {page.index}: expected {expected}, got {page}")
        tables = page.jpegtables or b""
        return Coding(compression, photometric, int(page.predictor), page.tilewidth, page.tilelength, tables)

    def reductions(self, level: int) -> Sequence[int]:
        coding = self._tables[level].coding
        if coding.compression != JPEG:
            return (1,)
        return [r for r in _REDUCTIONS if coding.width % r == 0 and coding.height % r == 0]

    def decodes_windows(self, level: int) -> bool:
        return self._tables[level].coding.compression == JPEG and native.is_available()

    def place(self, level: int, reduction: int, jobs: Sequence[Job], region: Region) -> list[Tile | None]:
        coding = self._tables[level].coding
        if not self.decodes_windows(level):
            return place_each(self, level, reduction, jobs, region)
        shape = coding.height // reduction, coding.width // reduction, 3
        out, stride = native.address(region.pixels), region.pixels.strides[0]
        tiles, placed, parts = [], [], native.Parts()
        for part, tile, keep in jobs:
            column, row, top, left, y, x, height, width = part
            offset = size = 0
            if tile is None:
                offset, size = self._bytes_of(level, column, row)
                if size and keep:
                    room = np.empty(shape, np.uint8)
                    tile = Tile(room, None, native.address(room))
            tiles.append(tile)
            if tile is None and not size:
                continue
            address = 0 if tile is None else tile.address
            place = out + y * stride + 3 * x
            parts.add(offset, size, address, place, stride, top, top + height, left, left + width)
            placed.append(part)
            if region.inside is not None:
                region.inside[y : y + height, x : x + width] = True
        done, reason = native.place(self._file.descriptor, _native_coding(coding, reduction), parts)
        if done < len(placed):
            raise CorruptSlideError(f"{self._where(level, placed[done].column, placed[done].row)}: {reason}")
        return tiles

    def _where(self, level: int, column: int, row: int) -> str:
        return f"{self._path}, level {level}, tile ({column}, {row})"

    def _bytes_of(self, level: int, column: int, row: int) -> tuple[int, int]:
        """Return a tile's offset in the file and its size, 0 if there is no tile."""
        table = self._tables[level]
        index = row * table.columns + column
        offset, size = int(table.offsets[index]), int(table.sizes[index])
        if size < 0:
            where = self._where(level, column, row)
            raise CorruptSlideError(f"{where}: expected it inside the file, which ends before offset {offset}")
        return offset, size

    def decode_tile(self, level: int, column: int, row: int, reduction: int) -> Tile | None:
        offset, size = self._bytes_of(level, column, row)
        if size == 0:
            return None
        where = self._where(level, column, row)
        try:
            data = os.pread(self._file.descriptor, size, offset)
        except OSError as error:
            raise CorruptSlideError(f"{where}: {error}") from error
        if len(data) != size:
            raise CorruptSlideError(f"{where}: expected {size} bytes at {offset}, got {len(data)}")
        try:
            return Tile(decode(data, self._tables[level].coding, reduction), None)
        except Exception as error:  # decoders raise many kinds of errors on damaged bytes
            raise CorruptSlideError(f"{where}: {error}") from error

    def associated_image(self, name: str) -> np.ndarray:
        try:
            with _parsed(self._path) as tiff:
                page = tiff.pages[self._associated[name]]
                if page.imagewidth * page.imagelength > MAX_ASSOCIATED_PIXELS:
                    raise UnsupportedSlideError(f"{self._path}: the image {name!r} is too large: {page}")
                pixels = page.asarray()
        except SlideError:
            raise
        except Exception as error:
            raise CorruptSlideError(f"{self._path}: the image {name!r} does not read ({error!r})") from error
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise UnsupportedSlideError(f"{self._path}: expected {name!r} in 8-bit RGB, got {pixels.shape}")
        return pixels


@lru_cache(maxsize=64)
def _native_coding(coding: Coding, reduction: int) -> native.NativeCoding:
    prefix = jpeg_prefix(coding)
    return native.NativeCoding(coding.width, coding.height, reduction, len(prefix), prefix)


@contextmanager
def _parsed(path: Path) -> Iterator[tifffile.TiffFile]:
    # With a neutral name: tifffile treats every file named .ndpi as that format.
    with path.open("rb") as file, tifffile.TiffFile(file, name="slide.tif") as tiff:
        yield tiff


def _shows(first: tifffile.TiffPage, page: tifffile.TiffPage) -> bool:
    """Whether the page is the first page, or shows the same at a smaller size."""
    if page is first:
        return True
    if not page.is_tiled or page.imagewidth >= first.imagewidth or page.imagelength >= first.imagelength:
        return False
    # Allow a rounding of one pixel, up or down, in each of the sizes.
    across, down = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
    tolerance = _ASPECT_TOLERANCE + 1 / min(page.imagewidth, page.imagelength)
    return abs(across / down - 1) <= tolerance


def _level(page: tifffile.TiffPage, first: tifffile.TiffPage) -> Level:
    # The mean over both axes, as in OpenSlide.
    downsample = (first.imagewidth / page.imagewidth + first.imagelength / page.imagelength) / 2
    return Level(page.imagewidth, page.imagelength, downsample, page.tilewidth, page.tilelength)


def _associated_name(page: tifffile.TiffPage, is_svs: bool) -> str | None:
    if page.is_tiled or not is_svs:
        return None
    if page.index == 1:
        return "thumbnail"
    lines = (page.description or "").splitlines()
    return lines[1].split()[0] if len(lines) > 1 and lines[1].split() else None


def _mpp(tiff: tifffile.TiffFile, first: tifffile.TiffPage) -> tuple[float, float] | None:
    vendors = None
    if tiff.is_svs:
        vendors = aperio_mpp(first.description or "")
    elif tiff.is_ome:
        vendors = ome_mpp(tiff.ome_metadata or "")
    return vendors or tiff_mpp(first)


def _properties(tiff: tifffile.TiffFile, description: str) -> dict[str, str]:
    if not tiff.is_svs:
        return {"tiff.ImageDescription": description} if description else {}
    properties = {"tiff.ImageDescription": description}
    for field in description.split("|")[1:]:
        name, _, value = field.partition("=")
        properties[f"aperio.{name.strip()}"] = value.strip()
    return properties
