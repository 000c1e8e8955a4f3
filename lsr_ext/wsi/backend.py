"""The interface of a backend: levels made of tiles. All code above it is the same for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

MOST_CHANNELS = 3  # that are shown together


class View(NamedTuple):
    """What to show of a file that holds several images or channels.

    Attributes:
        image: name of the image; None: the largest.
        channels: names of one to three channels, shown as grey, or as red, green and blue; empty: the file is RGB.
        display_range: the values that become 0 and 255; None: those of 8 bits.
    """

    image: str | None = None
    channels: tuple[str, ...] = ()
    display_range: tuple[float, float] | None = None

    def given(self) -> dict[str, Any]:
        """The fields that are given, as JSON holds them; none for the whole file."""
        fields = self._asdict().items()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields if value}


WHOLE_FILE = View()


class FileKey(NamedTuple):
    """The identity of a file when it was opened: another file with the same name has another key."""

    path: str
    device: int
    inode: int
    size: int
    changed_ns: int
    backend: str
    view: View = WHOLE_FILE


class Level(NamedTuple):
    """One resolution of a slide: size in its pixels, level-0 pixels per pixel, and its tiles' size."""

    width: int
    height: int
    downsample: float
    tile_width: int
    tile_height: int


class Tile(NamedTuple):
    """A decoded tile.

    Attributes:
        pixels: uint8 (H, W, 3), C-contiguous. Pixels beyond the level's edge are undefined.
        inside: bool (H, W), where the slide holds pixels; None: everywhere.
        address: address of the first pixel; None: not determined yet, because it takes as long as placing a small
            part.
    """

    pixels: np.ndarray
    inside: np.ndarray | None
    address: int | None = None

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + (0 if self.inside is None else self.inside.nbytes)


class Region(NamedTuple):
    """Pixels, uint8 (H, W, 3), and where the slide holds pixels, bool (H, W), or None if not needed."""

    pixels: np.ndarray
    inside: np.ndarray | None


class Part(NamedTuple):
    """A window of a tile, and the place of its pixels in a region.

    Attributes:
        column, row: position of the tile.
        top, left: the window's corner in the tile, which may be a reduced one.
        y, x: the window's corner in the region.
        height, width: size of the window.
    """

    column: int
    row: int
    top: int
    left: int
    y: int
    x: int
    height: int
    width: int


class Job(NamedTuple):
    """A part to be placed: from its tile if that is given, else by decoding; `keep`: return the whole tile."""

    part: Part
    tile: Tile | None
    keep: bool


class Facts(NamedTuple):
    """The facts about a slide that were read when it was opened; small, and kept after the handle is closed.

    Attributes:
        backend: name of the backend.
        vendor: the name that OpenSlide uses, or "ome-tiff".
        mpp: microns per level-0 pixel, (x, y), from the file; None: the file has none.
        background: the colour of areas that the slide does not cover.
        has_holes: whether pixels inside a level may belong to no tile.
        associated: names of the associated images (label, macro, ...).
        images: names of the images that the file holds, if several.
        print_mpp: a resolution in the file that was not believed, because it is one for print.
    """

    backend: str
    levels: tuple[Level, ...]
    vendor: str
    mpp: tuple[float, float] | None
    background: tuple[int, int, int]
    has_holes: bool
    properties: Mapping[str, str]
    associated: tuple[str, ...]
    images: tuple[str, ...] = ()
    print_mpp: tuple[float, float] | None = None


class Backend(Protocol):
    """An open slide file; thread-safe. What is written out here is that of a backend which decodes whole tiles."""

    facts: Facts

    def decode_tile(self, level: int, column: int, row: int, reduction: int) -> Tile | None:
        """Decode a tile at 1/reduction of its size; None: the file has no tile there.

        Raises:
            CorruptSlideError: the tile is damaged.
        """

    def reductions(self, level: int) -> Sequence[int]:
        """The reductions that the decoder supports, ascending, 1 first."""
        return (1,)

    def decodes_windows(self, level: int) -> bool:
        """Whether `place` can decode a part of a tile faster than the whole tile."""
        return False

    def place(self, level: int, reduction: int, jobs: Sequence[Job], region: Region) -> list[Tile | None]:
        """Do all jobs, in one thread; pixels that no tile covers are left unchanged.

        Returns:
            The tiles of the jobs with `keep`; undefined for the others.

        Raises:
            CorruptSlideError: a tile is damaged.
        """
        tiles = []
        for part, held, _ in jobs:
            tile = self.decode_tile(level, part.column, part.row, reduction) if held is None else held
            copy_window(tile, part, region)
            tiles.append(tile)
        return tiles

    def associated_image(self, name: str) -> np.ndarray:
        """Read an associated image: uint8 (H, W, 3)."""
        raise KeyError(name)


class Source(NamedTuple):
    """A level of an open slide."""

    key: FileKey
    backend: Backend
    index: int
    level: Level


def copy_window(tile: Tile | None, part: Part, region: Region) -> None:
    """Copy a part from its tile to its place."""
    if tile is None:
        return
    _, _, top, left, y, x, height, width = part
    here, there = np.s_[top : top + height, left : left + width], np.s_[y : y + height, x : x + width]
    region.pixels[there] = tile.pixels[here]
    if region.inside is not None:
        region.inside[there] = True if tile.inside is None else tile.inside[here]
