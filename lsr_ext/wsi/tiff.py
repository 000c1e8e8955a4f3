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

from lsr_ext.codestreams import correct_photometric
from lsr_ext.files import read_at
from lsr_ext.tiff_directories import check_directories
from lsr_ext.wsi import native
from lsr_ext.wsi.agreement import pages_agree
from lsr_ext.wsi.backend import WHOLE_FILE, Backend, Facts, Job, Level, Region, Tile, View
from lsr_ext.wsi.codecs import DECODERS, JPEG, MAY_BE_YCBCR, RGB, YCBCR, Coding, decode, jpeg_prefix
from lsr_ext.wsi.errors import CorruptSlideError, IncompleteLevelError, SlideError, UnsupportedSlideError
from lsr_ext.wsi.pages import PageImage, choose_image, whole_page
from lsr_ext.wsi.resolution import aperio_mpp, tagged_mpp, tiff_mpp

WHITE = (255, 255, 255)
MAX_TILE_PIXELS = 2**24
MAX_ASSOCIATED_PIXELS = 2**26
MOST_OVERHEAD_BYTES = 2**16  # a tile's headers and tables
_REDUCTIONS = (1, 2, 4, 8)  # reductions that cost libjpeg almost nothing
TOP_LEFT = 1  # the usual orientation


class _TileTable(NamedTuple):
    """Positions of a level's tiles in the file: int64 arrays in row order; 0 bytes: no tile there."""

    offsets: np.ndarray
    sizes: np.ndarray
    columns: int
    coding: Coding


class OpenFile:
    """A file descriptor that is closed with its last user."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Bound here: when the interpreter exits, module names disappear before the last handles.
        self._close = os.close

    def __del__(self) -> None:
        if hasattr(self, "_close"):
            self._close(self.descriptor)

    @contextmanager
    def parsed(self) -> Iterator[tifffile.TiffFile]:
        """Open it with tifffile, if it is complete; what fails meanwhile is a `CorruptSlideError`."""
        try:
            check_directories(self.descriptor)
            with parsed(self._path) as tiff:
                yield tiff
        except (SlideError, OSError):
            raise
        except Exception as error:  # tifffile raises many kinds of errors on damaged files
            raise CorruptSlideError(f"{self._path}: not a readable TIFF ({error!r})") from error


class TiffBackend(Backend):
    """A tiled TIFF file of 8-bit RGB.

    Tiles are coded with JPEG, JPEG 2000, deflate, LZW, or not compressed. `find_images` says which pages are its
    levels. A tile of zero bytes is a hole.

    Raises:
        UnsupportedSlideError: another kind of TIFF.
        CorruptSlideError: a TIFF that cannot be parsed.
    """

    def __init__(self, path: Path, view: View = WHOLE_FILE) -> None:
        self._path = path
        self._file = OpenFile(path)
        if view.channels or view.display_range:
            raise UnsupportedSlideError(
                f"{path}: expected no choice of channels or of a range for 8-bit RGB, got {view}"
            )
        with self._file.parsed() as tiff:
            self.facts, self._tables, self._associated = self._parse(tiff, view)

    def _parse(self, tiff: tifffile.TiffFile, view: View) -> tuple[Facts, list[_TileTable], dict[str, int]]:
        file_bytes = os.fstat(self._file.descriptor).st_size
        if not tiff.pages.first.is_tiled and len(tiff.pages) == 1:
            raise UnsupportedSlideError(f"{self._path}: expected a tiled TIFF, got one of strips")
        image, names = choose_image(tiff, self._path, view.image, pages_agree)
        planes = len(image.levels[0])
        if planes > 1:
            raise UnsupportedSlideError(f"{self._path}: expected RGB in one page, got {planes} planes")
        first, levels = image.first, [pages[0] for pages in image.levels]
        tables = [self._tile_table(page, file_bytes) for page in levels]
        holes = [not table.sizes.all() for table in tables]
        if tiff.is_svs and any(holes[1:]):
            raise IncompleteLevelError(f"{self._path}: an SVS with holes in a lower level")
        associated = _associated(tiff, levels)
        facts = Facts(
            backend="tiff",
            levels=tuple(level_of(page, first) for page in levels),
            vendor=vendor_of(tiff),
            mpp=mpp_of(tiff, image),
            background=WHITE,
            has_holes=any(holes),
            properties=properties_of(tiff, first.description or ""),
            associated=tuple(associated),
            images=names,
            print_mpp=tagged_mpp(first),
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
        most = MOST_OVERHEAD_BYTES + 2 * 3 * page.tilewidth * page.tilelength
        outside = (offsets < 0) | (sizes < 0) | (sizes > most) | (offsets + sizes > file_bytes)
        sizes[outside] = -1  # an error only when such a tile is read: the others may be intact
        sizes[offsets == 0] = 0
        return _TileTable(offsets, sizes, columns, coding)

    def _coding(self, page: tifffile.TiffPage) -> Coding:
        correct_photometric(page)
        compression, photometric = int(page.compression), int(page.photometric)
        found = {
            "8 bits per sample": page.bitspersample == 8 and page.dtype == np.uint8,
            "3 samples per pixel": page.samplesperpixel == 3,
            "interleaved samples": int(page.planarconfig) == 1,
            "tiles": page.is_tiled,
            "rows from the top": int(page.tags.valueof("Orientation", TOP_LEFT)) == TOP_LEFT,
            "RGB or YCbCr": photometric == RGB or (photometric == YCBCR and compression in MAY_BE_YCBCR),
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
            return super().place(level, reduction, jobs, region)
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
            data = read_at(self._file.descriptor, size, offset)
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
            with parsed(self._path) as tiff:
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
def parsed(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a file with tifffile, which is not to look at its name, nor into other files."""
    # With a neutral name: tifffile treats every file named .ndpi as that format.
    with path.open("rb") as file, tifffile.TiffFile(file, name="slide.tif", _multifile=False) as tiff:
        yield tiff


def level_of(page: tifffile.TiffPage, first: tifffile.TiffPage) -> Level:
    """Describe a tiled page as a level of the page `first`."""
    # The mean over both axes, as in OpenSlide.
    downsample = (first.imagewidth / page.imagewidth + first.imagelength / page.imagelength) / 2
    return Level(page.imagewidth, page.imagelength, downsample, page.tilewidth, page.tilelength)


def vendor_of(tiff: tifffile.TiffFile) -> str:
    """Return the name that OpenSlide uses, or "ome-tiff"."""
    return "aperio" if tiff.is_svs else "ome-tiff" if tiff.is_ome else "generic-tiff"


def mpp_of(tiff: tifffile.TiffFile, image: PageImage) -> tuple[float, float] | None:
    """Return microns per pixel of an image, (x, y): the vendor's, or that of the resolution tags."""
    vendors = aperio_mpp(image.first.description or "") if tiff.is_svs else image.mpp
    return vendors or tiff_mpp(image.first)


def properties_of(tiff: tifffile.TiffFile, description: str) -> dict[str, str]:
    """Return the description, and Aperio's fields of it one by one."""
    if not tiff.is_svs:
        return {"tiff.ImageDescription": description} if description else {}
    properties = {"tiff.ImageDescription": description}
    for field in description.split("|")[1:]:
        name, _, value = field.partition("=")
        properties[f"aperio.{name.strip()}"] = value.strip()
    return properties


def _associated(tiff: tifffile.TiffFile, levels: Sequence[tifffile.TiffPage]) -> dict[str, int]:
    """Return the pages of an SVS's label, macro and thumbnail."""
    if not tiff.is_svs:
        return {}
    pages = map(whole_page, list(tiff.pages))
    others = [page for page in pages if page not in levels and not page.is_tiled]
    return {name: page.index for page in others if (name := _associated_name(page))}


def _associated_name(page: tifffile.TiffPage) -> str | None:
    if page.index == 1:
        return "thumbnail"
    lines = (page.description or "").splitlines()
    return lines[1].split()[0] if len(lines) > 1 and lines[1].split() else None
