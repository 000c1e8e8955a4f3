"""What a backend gives: levels made of tiles. Everything above it is the same for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np


class FileKey(NamedTuple):
    """A file as it was when it was opened: another file under the same name has another key."""

    path: str
    device: int
    inode: int
    size: int
    changed_ns: int
    backend: str


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
        pixels: uint8 (H, W, 3), C-contiguous. What lies beyond the level's edge means nothing.
        inside: bool (H, W), where the slide holds pixels; None: everywhere.
        address: of the first pixel; None: not asked for yet, which takes as long as placing a small part.
    """

    pixels: np.ndarray
    inside: np.ndarray | None
    address: int | None = None

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + (0 if self.inside is None else self.inside.nbytes)


class Region(NamedTuple):
    """Pixels, uint8 (H, W, 3), and where the slide holds them, bool (H, W), or None where nobody asks."""

    pixels: np.ndarray
    inside: np.ndarray | None


class Part(NamedTuple):
    """A window of a tile, and where in a region its pixels go.

    Attributes:
        column, row: of the tile.
        top, left: the window's corner in the tile, which may be a reduced one.
        y, x: the window's corner in the region.
        height, width: of the window.
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
    """A part to be placed: from its tile, where that is given, else by decoding; `keep`: give the whole tile."""

    part: Part
    tile: Tile | None
    keep: bool


class Facts(NamedTuple):
    """What is known of a slide once it was open: small, and kept when the handle is not.

    Attributes:
        backend: its name.
        vendor: as OpenSlide names it, or "ome-tiff".
        mpp: microns per level-0 pixel, (x, y), as the file says; None: it does not.
        background: the colour of what the slide does not cover.
        has_holes: some pixels inside a level may belong to no tile.
        associated: names of the associated images (label, macro, ...).
    """

    backend: str
    levels: tuple[Level, ...]
    vendor: str
    mpp: tuple[float, float] | None
    background: tuple[int, int, int]
    has_holes: bool
    properties: Mapping[str, str]
    associated: tuple[str, ...]


class Backend(Protocol):
    """An open slide file; safe under threads."""

    facts: Facts

    def decode_tile(self, level: int, column: int, row: int, reduction: int) -> Tile | None:
        """The tile, 1/reduction of its size; None: the file holds none there.

        Raises:
            CorruptSlideError: the tile is damaged.
        """

    def reductions(self, level: int) -> Sequence[int]:
        """The reductions that decoding can do on the way, ascending, 1 first."""

    def decodes_windows(self, level: int) -> bool:
        """Whether `place` makes a part of a tile for less than the whole tile."""

    def place(self, level: int, reduction: int, jobs: Sequence[Job], region: Region) -> list[Tile | None]:
        """Do all jobs, in one thread; what no tile covers is left as it is.

        Returns:
            The tiles of those that keep theirs, anything for the others.

        Raises:
            CorruptSlideError: a tile is damaged.
        """

    def associated_image(self, name: str) -> np.ndarray:
        """uint8 (H, W, 3)."""


class Source(NamedTuple):
    """A level of an open slide."""

    key: FileKey
    backend: Backend
    index: int
    level: Level


def copy_window(tile: Tile | None, part: Part, region: Region) -> None:
    """Fill a part's place from its tile."""
    if tile is None:
        return
    _, _, top, left, y, x, height, width = part
    here, there = np.s_[top : top + height, left : left + width], np.s_[y : y + height, x : x + width]
    region.pixels[there] = tile.pixels[here]
    if region.inside is not None:
        region.inside[there] = True if tile.inside is None else tile.inside[here]


def place_each(
    backend: Backend, level: int, reduction: int, jobs: Sequence[Job], region: Region
) -> list[Tile | None]:
    """`Backend.place` by its `decode_tile`, one job after the other."""
    tiles = []
    for part, held, _ in jobs:
        tile = backend.decode_tile(level, part.column, part.row, reduction) if held is None else held
        copy_window(tile, part, region)
        tiles.append(tile)
    return tiles
