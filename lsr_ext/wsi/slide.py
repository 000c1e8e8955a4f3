"""A slide: its facts, and its pixels at any resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.wsi import handles
from lsr_ext.wsi.averaging import read_average
from lsr_ext.wsi.backend import WHOLE_FILE, Level, Region, Source, View
from lsr_ext.wsi.errors import CorruptSlideError, MissingResolutionError, SlideError
from lsr_ext.wsi.reading import read_level

BACKENDS = ("auto", "tiff", "planes", "picture", "openslide")
_SAME_MPP = 1.01  # a level may be up to 1 % too coarse, because downsamples are rounded


def open_slide(
    path: str | Path,
    *,
    mpp: float | tuple[float, float] | None = None,
    backend: str = "auto",
    image: str | None = None,
    channels: Sequence[str] = (),
    display_range: tuple[float, float] | None = None,
) -> Slide:
    """Open a whole-slide image.

    Args:
        path: TIFF, SVS, OME-TIFF, PNG, JPEG, or any format that OpenSlide reads.
        mpp: microns per level-0 pixel, one number or (x, y); None: the value in the file. A resolution for print,
            such as 300 dots per inch, is not taken from a file.
        backend: "auto" chooses by the file; "tiff", "planes", "picture" and "openslide" force a backend.
        image: the image of a TIFF that holds several, by its name (`Slide.images`); None: the largest.
        channels: the channels of a multiplex TIFF to show, by their names: one as grey, two as red and cyan,
            three as red, green and blue.
        display_range: the values that become 0 and 255, for more than 8 bits per sample.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedSlideError: the file has none of these formats.
        CorruptSlideError: it is damaged.
        ValueError: an unknown backend, an mpp that is not above 0, or a display range that does not increase.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> import numpy as np, tifffile
        >>> path = Path(mkdtemp()) / "slide.tif"
        >>> tifffile.imwrite(path, np.zeros((256, 512, 3), np.uint8), photometric="rgb", tile=(128, 128))
        >>> slide = open_slide(path, mpp=0.5)
        >>> slide.size, slide.read(0, 0, 64, 32, mpp=1.0).shape
        ((512, 256), (32, 64, 3))
    """
    if backend not in BACKENDS:
        raise ValueError(f"expected a backend of {', '.join(BACKENDS)}, got {backend!r}")
    pair = mpp if mpp is None or isinstance(mpp, tuple) else (mpp, mpp)
    if pair is not None and not all(math.isfinite(value) and value > 0 for value in pair):
        raise ValueError(f"{path}: expected an mpp above 0, got {mpp}")
    if display_range is not None and not -math.inf < display_range[0] < display_range[1] < math.inf:
        raise ValueError(f"{path}: expected a display range that increases, got {display_range}")
    view = View(image, tuple(channels), None if display_range is None else tuple(map(float, display_range)))
    return Slide(Path(path), pair, backend, view)


class Slide:
    """A readable slide; make one with `open_slide`.

    It holds no open file: handles and decoded tiles belong to the process (see `configure`) and are opened when
    needed. So it is small, can be used by any number of threads, can be pickled, and works after a fork.

    Attributes:
        path: path of the file.
        size: (width, height) of level 0, in pixels.
        levels: size, downsample and tile size of each; level 0 is the finest.
        mpp: microns per level-0 pixel, (x, y), as given or from the file; None: unknown.
        vendor, backend: vendor of the format, and the backend that reads it.
        properties: the other metadata of the file.
        associated_images: names of the label, macro, ...; see `associated_image`.
        images: names of the images in the file, if it holds several; `open_slide` takes one.
        view: the image, channels and display range that were given.
    """

    def __init__(self, path: Path, mpp: tuple[float, float] | None, backend: str, view: View = WHOLE_FILE) -> None:
        self.path, self.view = path, view
        self._key = handles.file_key(path, backend, view)
        facts = handles.handle(self._key).facts
        self.levels: tuple[Level, ...] = facts.levels
        self.size: tuple[int, int] = facts.levels[0][:2]
        self.mpp = facts.mpp if mpp is None else mpp
        self.vendor, self.backend = facts.vendor, facts.backend
        self.properties: Mapping[str, str] = facts.properties
        self.associated_images = facts.associated
        self.background, self.images = facts.background, facts.images
        self._print_mpp = facts.print_mpp

    @property
    def bounds(self) -> tuple[int, int, int, int] | None:
        """The scanned part of level 0, x, y, width and height, for formats that have it (MRXS, SCN); None: all."""
        sides = [self.properties.get(f"openslide.bounds-{side}") for side in ("x", "y", "width", "height")]
        return None if None in sides else tuple(map(int, sides))

    def __repr__(self) -> str:
        return f"Slide({str(self.path)!r}, {self.size[0]} x {self.size[1]} px, mpp={self.mpp})"

    def read(
        self,
        x: float,
        y: float,
        width: int,
        height: int,
        *,
        mpp: float | None = None,
        level: int | None = None,
        with_mask: bool = False,
    ) -> np.ndarray | Region:
        """Read a rectangle at a resolution.

        With `level`, it returns the unchanged pixels of the level, starting at the pixel nearest to (x, y). With
        `mpp`, it returns exact area averages over squares of that side, from the coarsest level that is not
        coarser (by more than 1 %). If that level is still at least twice as fine, JPEG tiles are decoded at a
        half, quarter or eighth of their size, which changes values by one or two grey levels. If `mpp` is finer
        than level 0, pixels are magnified.

        Args:
            x, y: top left corner in level-0 pixels; may lie outside the slide.
            width, height: size of the result, in its own pixels.
            mpp, level: give exactly one: microns per pixel of the result, or the index of a level.
            with_mask: also return where the slide covers at least half of the output pixel.

        Returns:
            uint8 (height, width, 3), background outside the slide and in its holes; if `with_mask`, a `Region` of
            these pixels and of `inside`, bool (height, width).

        Raises:
            MissingResolutionError: `mpp` was given, but the slide's resolution is unknown.
            CorruptSlideError: a tile that is needed is damaged. The handle is closed; the next read opens a new
                one.
            ReadTooLargeError: the read would take more memory than `configure` allows.
            ValueError: a size below 1, no such level, not exactly one of `mpp` and `level`.
        """
        if (mpp is None) == (level is None):
            raise ValueError(f"{self.path}: expected either mpp or level, got mpp={mpp}, level={level}")
        self._check(x, y, width, height)
        if level is not None:
            if not 0 <= level < len(self.levels):
                raise ValueError(f"{self.path}: expected a level in [0, {len(self.levels)}), got {level}")
            region = self._read_level(x, y, width, height, level, with_mask)
        else:
            if not (math.isfinite(mpp) and mpp > 0):
                raise ValueError(f"{self.path}: expected an mpp above 0, got {mpp}")
            own_x, own_y = self.known_mpp()
            region = self._read_average(x, y, (mpp / own_x, mpp / own_y), (height, width), with_mask)
        return region if with_mask else region.pixels

    def read_resized(
        self, x: float, y: float, width: float, height: float, size: tuple[int, int], *, with_mask: bool = False
    ) -> np.ndarray | Region:
        """Read a rectangle of level 0 averaged to a size in pixels; needs no mpp.

        Args:
            x, y, width, height: the rectangle, in level-0 pixels.
            size: (height, width) of the result, in its own pixels.
            with_mask: as in `read`.

        Returns:
            As for `read`.

        Raises:
            As for `read`.
        """
        self._check(x, y, size[1], size[0])
        if not (width > 0 and height > 0):
            raise ValueError(f"{self.path}: expected a rectangle with an area, got {width} x {height} px")
        region = self._read_average(x, y, (width / size[1], height / size[0]), size, with_mask)
        return region if with_mask else region.pixels

    def thumbnail(self, largest_px: int, *, with_mask: bool = False) -> np.ndarray | Region:
        """Read the whole slide; its longer side becomes `largest_px`, or stays as it is if it is smaller."""
        width, height = self.size
        scale = min(largest_px / max(width, height), 1.0)
        size = max(round(height * scale), 1), max(round(width * scale), 1)
        return self.read_resized(0, 0, width, height, size, with_mask=with_mask)

    def associated_image(self, name: str) -> np.ndarray:
        """Read the label, macro or thumbnail image: uint8 (H, W, 3).

        Raises:
            KeyError: the slide has no image of that name.
            CorruptSlideError: the image is damaged.
        """
        if name not in self.associated_images:
            raise KeyError(f"{self.path}: expected one of {self.associated_images}, got {name!r}")
        return handles.handle(self._key).associated_image(name)

    def known_mpp(self) -> tuple[float, float]:
        """Return microns per level-0 pixel, (x, y).

        Raises:
            MissingResolutionError: neither the file nor the caller gave it.
        """
        if self.mpp is None:
            raise MissingResolutionError(
                f"{self.path}: expected a resolution in the file, found {_printed(self._print_mpp)}; give it: "
                "open_slide(path, mpp=...), or the column mpp in a CSV of slides"
            )
        return self.mpp

    def forget(self) -> None:
        """Drop the handle and the decoded tiles; the next read opens the file again."""
        handles.forget(self._key)

    def tile_order(self, x: float, y: float, step: float) -> tuple[int, int, int]:
        """Return a key that sorts reads so that neighbours follow each other: level, tile row, tile column.

        `step` is the read's resolution in level-0 pixels per pixel.
        """
        index = self._best_level((step, step))
        level = self.levels[index]
        row = y / level.downsample // level.tile_height
        return index, int(row), int(x / level.downsample // level.tile_width)

    def _best_level(self, step: tuple[float, float]) -> int:
        limit = min(step) * _SAME_MPP
        return max((i for i, level in enumerate(self.levels) if level.downsample <= limit), default=0)

    def _read_level(self, x: float, y: float, width: int, height: int, level: int, with_mask: bool) -> Region:
        downsample = self.levels[level].downsample
        left, top = math.floor(x / downsample + 0.5), math.floor(y / downsample + 0.5)
        with _Giving(self._key):
            source = Source(self._key, handles.handle(self._key), level, self.levels[level])
            return read_level(source, left, top, width, height, with_mask)

    def _read_average(
        self, x: float, y: float, step: tuple[float, float], size: tuple[int, int], with_mask: bool
    ) -> Region:
        """`step`: level-0 pixels per output pixel, (x, y)."""
        index = self._best_level(step)
        downsample = self.levels[index].downsample
        step = step[0] / downsample, step[1] / downsample
        with _Giving(self._key):
            source = Source(self._key, handles.handle(self._key), index, self.levels[index])
            return read_average(source, x / downsample, y / downsample, step, size, with_mask)

    def _check(self, x: float, y: float, width: int, height: int) -> None:
        if not (math.isfinite(x) and math.isfinite(y)):
            raise SlideError(f"{self.path}: expected a corner in pixels, got {x}, {y}")
        if width < 1 or height < 1:
            raise SlideError(f"{self.path}: expected at least 1 x 1 px, got {width} x {height}")


def _printed(mpp: tuple[float, float] | None) -> str:
    if mpp is None:
        return "none"
    return f"{25_400 / mpp[0]:.4g} pixels per inch ({mpp[0]:.4g} microns per pixel), a resolution for print"


class _Giving:
    """Closes a handle when a read with it fails: perhaps the handle is damaged, not the file."""

    __slots__ = ("key",)

    def __init__(self, key: handles.FileKey) -> None:
        self.key = key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, CorruptSlideError):
            handles.forget(self.key)
