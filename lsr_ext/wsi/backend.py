"""What a backend gives: levels made of tiles. Everything above it is the same for all formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np


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
    """

    pixels: np.ndarray
    inside: np.ndarray | None

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + (0 if self.inside is None else self.inside.nbytes)


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

    def announce(self, level: int, tiles: Sequence[tuple[int, int]]) -> None:
        """Tiles (column, row) that will be decoded soon, so that the system may read ahead."""

    def associated_image(self, name: str) -> np.ndarray:
        """uint8 (H, W, 3)."""
