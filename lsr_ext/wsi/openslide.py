"""Read every format that OpenSlide reads, in tiles of our own size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from weakref import WeakSet

import numpy as np
import openslide

from lsr_ext.wsi.backend import Backend, Facts, Level, Tile
from lsr_ext.wsi.errors import CorruptSlideError, UnsupportedSlideError
from lsr_ext.wsi.handles import tiles
from lsr_ext.wsi.resolution import openslide_mpp

_WHITE = "FFFFFF"
_TILE_PX, _LARGEST_TILE_PX = 512, 4096


class OpenSlideBackend(Backend):
    """A slide as OpenSlide shows it.

    Each tile consists of whole OpenSlide tiles, so that these are decoded once. If the downsample of a level is
    not a whole number, OpenSlide shifts pixels by fractions of a pixel and interpolates.

    Raises:
        UnsupportedSlideError: OpenSlide does not know the format.
        CorruptSlideError: OpenSlide knows the format, but the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise UnsupportedSlideError(f"{path}: expected a format that OpenSlide reads ({error})") from error
        except openslide.OpenSlideError as error:
            raise CorruptSlideError(f"{path}: {error}") from error
        _open.add(self)
        self._slide.set_cache(_cache.shared())
        properties = dict(self._slide.properties)
        colour = properties.get("openslide.background-color", _WHITE)
        self.facts = Facts(
            backend="openslide",
            levels=tuple(self._level(index, properties) for index in range(self._slide.level_count)),
            vendor=properties.get("openslide.vendor", ""),
            mpp=openslide_mpp(properties),
            background=tuple(bytes.fromhex(colour)),
            has_holes=True,
            properties=properties,
            associated=tuple(self._slide.associated_images),
        )

    def _level(self, index: int, properties: Mapping[str, str]) -> Level:
        width, height = self._slide.level_dimensions[index]
        native = [int(properties.get(f"openslide.level[{index}].tile-{side}", 1)) for side in ("width", "height")]
        tile_width, tile_height = (_tile_px(px) for px in native)
        return Level(width, height, self._slide.level_downsamples[index], tile_width, tile_height)

    def decode_tile(self, level: int, column: int, row: int, reduction: int) -> Tile:
        spec = self.facts.levels[level]
        left, top = column * spec.tile_width, row * spec.tile_height
        size = min(spec.tile_width, spec.width - left), min(spec.tile_height, spec.height - top)
        corner = round(left * spec.downsample), round(top * spec.downsample)
        try:
            # Alpha is 0 where there is no tile; the colours there are 0 too.
            rgba = np.asarray(self._slide.read_region(corner, level, size))
        except openslide.OpenSlideError as error:
            raise CorruptSlideError(f"{self._path}, level {level}, pixels at {left}, {top}: {error}") from error
        alpha = rgba[..., 3:]
        if alpha.all() and (alpha == 255).all():
            return Tile(np.ascontiguousarray(rgba[..., :3]), None)
        weight = alpha / np.float32(255)
        pixels = rgba[..., :3] * weight + np.array(self.facts.background, np.float32) * (1 - weight)
        return Tile((pixels + 0.5).astype(np.uint8), alpha[..., 0] >= 128)

    def associated_image(self, name: str) -> np.ndarray:
        try:
            return np.array(self._slide.associated_images[name].convert("RGB"))
        except openslide.OpenSlideError as error:
            raise CorruptSlideError(f"{self._path}: the image {name!r} does not read ({error})") from error


def _tile_px(native: int) -> int:
    if native >= _TILE_PX:
        return min(native, _LARGEST_TILE_PX)
    return native * -(-_TILE_PX // native)


class _SharedCache:
    """One cache of OpenSlide's tiles for all slides of a process, of the bytes of `configure`."""

    def __init__(self) -> None:
        self._cache: openslide.OpenSlideCache | None = None
        self._bytes = self._process = 0

    def shared(self) -> openslide.OpenSlideCache:
        # A forked child makes its own: another thread of the parent may have held its lock.
        if self._cache is None or (self._bytes, self._process) != (tiles.budget, os.getpid()):
            _former.append(self._cache)
            self._cache = openslide.OpenSlideCache(tiles.budget)
            self._bytes, self._process = tiles.budget, os.getpid()
        return self._cache


_former: list[openslide.OpenSlideCache | None] = []  # not freed: a forked child must not touch their locks
_cache = _SharedCache()
_open: WeakSet[OpenSlideBackend] = WeakSet()
_kept: list[OpenSlideBackend] = []
# A forked child never closes its parent's handles: another thread may have held their locks during the fork.
os.register_at_fork(before=lambda: _kept.extend(_open), after_in_parent=_kept.clear)
