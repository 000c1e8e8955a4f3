"""Read the TIFF files that `tiff.py` does not: planes, channels, strips, grey, palettes, more bits, other codings.

tifffile decodes each tile or strip; what it stores becomes red, green and blue here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from lsr_ext.codestreams import check_declared_size, correct_photometric
from lsr_ext.files import read_at
from lsr_ext.wsi.agreement import pages_agree
from lsr_ext.wsi.backend import WHOLE_FILE, Backend, Facts, Level, Tile, View
from lsr_ext.wsi.codecs import RGB, YCBCR
from lsr_ext.wsi.errors import CorruptSlideError, SlideError, UnsupportedSlideError
from lsr_ext.wsi.pages import PageImage, choose_image
from lsr_ext.wsi.resolution import tagged_mpp
from lsr_ext.wsi.samples import Samples, choose_samples
from lsr_ext.wsi.tiff import (
    MOST_OVERHEAD_BYTES,
    TOP_LEFT,
    WHITE,
    OpenFile,
    level_of,
    mpp_of,
    properties_of,
    vendor_of,
)

BLACK = (0, 0, 0)  # of fluorescence where nothing shines
_STRIP_ROWS = 256  # strips are read together up to this height


class PlanesBackend(Backend):
    """A TIFF as tifffile reads it; slower than `TiffBackend`, and for everything else that is a TIFF.

    Raises:
        UnsupportedSlideError: its pixels cannot be shown as RGB without a choice that `view` does not make; the
            message says which.
        CorruptSlideError: a TIFF that cannot be parsed.
    """

    def __init__(self, path: Path, view: View = WHOLE_FILE) -> None:
        self._path = path
        self._file = OpenFile(path)
        with self._file.parsed() as tiff:
            self.facts = self._parse(tiff, view)

    def _parse(self, tiff: tifffile.TiffFile, view: View) -> Facts:
        image, names = choose_image(tiff, self._path, view.image, pages_agree)
        try:
            self._samples: Samples = choose_samples(image, view)
            self._levels = [pages for pages in image.levels if _alike(pages, image)]
        except ValueError as error:
            raise UnsupportedSlideError(f"{self._path}: {error}") from None
        for page in {id(page): page for pages in self._levels for page in pages}.values():
            if page.is_tiled and not (page.tilewidth and page.tilelength):
                raise CorruptSlideError(
                    f"{self._path}, page {page.index}: expected tiles of some size, got {page}"
                )
            correct_photometric(page)
        self._decoders = [[page.decode for page in pages] for pages in self._levels]
        self._tables = [[page.jpegtables for page in pages] for pages in self._levels]
        first = image.first
        return Facts(
            backend="planes",
            levels=tuple(_level(pages[0], first) for pages in self._levels),
            vendor=vendor_of(tiff),
            mpp=mpp_of(tiff, image),
            background=BLACK if self._samples.is_fluorescent else WHITE,
            has_holes=any(not all(page.databytecounts) for pages in self._levels for page in pages)
            or self._samples.alpha is not None,
            properties=properties_of(tiff, first.description or ""),
            associated=(),
            images=names,
            print_mpp=tagged_mpp(first),
        )

    def decode_tile(self, level: int, column: int, row: int, reduction: int) -> Tile | None:
        spec = self.facts.levels[level]
        where = f"{self._path}, level {level}, tile ({column}, {row})"

        try:
            planes = {plane: self._plane(level, plane, column, row) for plane in self._samples.planes}
            if any(values is None for values in planes.values()):
                return None
            pixels, inside = self._samples.show(planes)
        except SlideError:
            raise
        except Exception as error:  # decoders raise many kinds of errors on damaged bytes
            raise CorruptSlideError(f"{where}: {error}") from error
        if pixels.shape != (spec.tile_height, spec.tile_width, 3):
            expected = spec.tile_height, spec.tile_width, 3
            raise CorruptSlideError(f"{where}: expected a tile of {expected}, got {pixels.shape}")
        return Tile(pixels, inside)

    def _plane(self, level: int, plane: int, column: int, row: int) -> np.ndarray | None:
        """Decode a tile's samples of a page: (height, width, samples); None: a hole."""
        page, spec = self._levels[level][plane], self.facts.levels[level]
        separate = page.samplesperpixel if page.planarconfig == 2 else 1
        parts = [self._segments(level, plane, sample, column, row) for sample in range(separate)]
        if any(part is None for part in parts):
            return None
        samples = np.concatenate(parts, axis=2)
        missing = spec.tile_height - samples.shape[0], spec.tile_width - samples.shape[1]
        return np.pad(samples, ((0, missing[0]), (0, missing[1]), (0, 0))) if any(missing) else samples

    def _segments(self, level: int, plane: int, sample: int, column: int, row: int) -> np.ndarray | None:
        page, spec = self._levels[level][plane], self.facts.levels[level]
        if page.is_tiled:
            columns, rows = -(-page.imagewidth // page.tilewidth), -(-page.imagelength // page.tilelength)
            return self._segment(level, plane, sample * columns * rows + row * columns + column)
        strips = -(-page.imagelength // page.rowsperstrip)
        together = spec.tile_height // page.rowsperstrip
        chosen = range(row * together, min((row + 1) * together, strips))
        parts = [self._segment(level, plane, sample * strips + index) for index in chosen]
        return None if any(part is None for part in parts) else np.concatenate(parts)

    def _segment(self, level: int, plane: int, index: int) -> np.ndarray | None:
        """Decode a tile or a strip: (rows, columns, samples)."""
        page = self._levels[level][plane]
        offset, size = page.dataoffsets[index], page.databytecounts[index]
        if size == 0:
            return None
        width, height = page.imagewidth, page.rowsperstrip
        if page.is_tiled:
            width, height = page.tilewidth, page.tilelength
        # A damaged size must not decide how much memory is allocated: no coding doubles its data.
        most = MOST_OVERHEAD_BYTES + 2 * width * height * page.samplesperpixel * page.dtype.itemsize
        data = read_at(self._file.descriptor, size, offset) if 0 < size <= most else b""
        if len(data) != size:
            raise CorruptSlideError(f"{self._path}, page {page.index}: expected {size} bytes at {offset}")
        check_declared_size(data, int(page.compression), width, height)
        decode, tables = self._decoders[level][plane], self._tables[level][plane]
        return decode(data, index, jpegtables=tables)[0][0]


def _alike(pages: Sequence[tifffile.TiffPage], image: PageImage) -> bool:
    """Whether a level's pages are stored alike, and its samples like those of level 0."""
    first = image.first
    for page in pages:
        if int(page.tags.valueof("Orientation", TOP_LEFT)) != TOP_LEFT:
            raise ValueError(f"expected rows from the top, got another orientation in page {page.index}")
        if page.imagedepth != 1 or (page.shape, page.tile, page.rowsperstrip) != (
            pages[0].shape,
            pages[0].tile,
            pages[0].rowsperstrip,
        ):
            raise ValueError(f"expected planes of one size, tiled alike, got {page}")
    alike = all(_kind(page) == _kind(first) for page in pages)
    if not alike and first in pages:
        raise ValueError(f"expected planes of one kind of pixels, got {', '.join(map(str, pages))}")
    return alike


def _kind(page: tifffile.TiffPage) -> tuple[int, np.dtype, int]:
    photometric = int(page.photometric)
    return page.samplesperpixel, page.dtype, RGB if photometric == YCBCR else photometric  # RGB once decoded


def _level(page: tifffile.TiffPage, first: tifffile.TiffPage) -> Level:
    level = level_of(page, first)
    if page.is_tiled:
        return level
    together = max(_STRIP_ROWS // page.rowsperstrip, 1)
    return level._replace(tile_width=page.imagewidth, tile_height=together * page.rowsperstrip)
