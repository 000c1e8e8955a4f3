"""Stains: their names, their standard colours, and the optical-density vectors computed from these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from skimage.color import rgb_from_hdx

from lsr_ext.files import write_atomically

_WHITE = (255.0, 255.0, 255.0)
_MAX_FILE_BYTES = 2**20
# Smallest optical density (log10) of a stain: one or two grey levels away from the background.
_LEAST_DENSITY = 5e-3
_LEAST_LEVELS = 2.0  # the same for a colour that is brighter than the background, in grey levels
# Above this density, 8 bits no longer show a colour.
_MOST_DENSITY = 2.0

# Table 2 of the paper names the colours; the values are those of well-stained cells on white.
_MULTIPLEX = {
    "CD16": (50, 45, 45),  # black, myeloid cells
    "CD20": (195, 45, 60),  # red, B cells
    "CD3": (225, 185, 50),  # yellow, double-negative T cells
    "CD4": (50, 170, 190),  # cyan, helper T cells
    "CD8": (120, 50, 140),  # purple, cytotoxic T cells
}
# A counterstain is pale. At a density of 1 its standard colour would be nearer to dark positive nuclei than that
# of DAB: on real Ki67 tiles L2 separation then had an F1 of 0.63 instead of 0.78.
_COUNTERSTAIN_DENSITY = 0.4
_HAEMATOXYLIN = {"haematoxylin": (140, 134, 195)}  # scikit-image's vector at this density


@dataclass(frozen=True, eq=False)
class StainSet:
    """K stains on a background.

    Attributes:
        names: names of the stains, all different.
        rgb: float64 (K, 3), the standard colour of each stain in [0, 255], used by L2 separation.
        background_rgb: float64 (3,), the colour of bare glass.
        counterstains: the names of stains that are separated but are not classes: their pixels are background.

    Raises:
        ValueError: no stain, a repeated or reserved name, an unknown counterstain, another shape, a colour outside
            [0, 255], or a stain with the colour of the background.

    Example:
        >>> stains = StainSet.preset("h-dab")
        >>> stains.names, stains.classes
        (('haematoxylin', 'DAB'), ('DAB',))
    """

    names: tuple[str, ...]
    rgb: np.ndarray
    background_rgb: np.ndarray = field(default_factory=lambda: np.array(_WHITE))
    counterstains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "counterstains", tuple(self.counterstains))
        _check_names(self.names, self.counterstains)
        for name, shape in (("rgb", (len(self.names), 3)), ("background_rgb", (3,))):
            object.__setattr__(self, name, _checked_colours(name, getattr(self, name), shape))
        glows = (self.rgb - self.background_rgb).max(axis=1) >= _LEAST_LEVELS
        self._refuse(np.flatnonzero(~glows & ~self._absorbing), "other")

    @property
    def absorb_light(self) -> bool:
        """Whether all stains are darker than the background; fluorescent ones on a dark background are not."""
        return bool(self._absorbing.all())

    @property
    def vectors(self) -> np.ndarray:
        """float64 (K, 3): optical densities of red, green and blue, each row of length 1.

        The direction of -log(max(rgb, 1) / background_rgb), clipped at 0. As in scikit-image's `separate_stains`
        the light is used as it is (no +1 to avoid log 0), so a pixel with a stain's standard colour, if that is
        at least 1, decomposes into this stain alone.

        Raises:
            ValueError: a stain absorbs no light.
        """
        self._refuse(np.flatnonzero(~self._absorbing), "darker")
        densities = self._densities()
        return densities / np.linalg.norm(densities, axis=1, keepdims=True)

    @property
    def classes(self) -> tuple[str, ...]:
        """The stains that are classes, in order: class c of a map is the c-th of them, counted from 1."""
        return tuple(name for name in self.names if name not in self.counterstains)

    @property
    def class_ids(self) -> np.ndarray:
        """The class id of each stain in maps, uint8 (K,); 0 for counterstains."""
        ids = {name: index for index, name in enumerate(self.classes, 1)}
        return np.array([ids.get(name, 0) for name in self.names], dtype=np.uint8)

    def in_order(self, classes: Sequence[str]) -> StainSet:
        """Return the same stains with the classes in this order and the counterstains last.

        Raises:
            ValueError: the stains have other classes.
        """
        if sorted(classes) != sorted(self.classes):
            raise ValueError(f"expected stains of the classes {tuple(classes)}, got {self.classes}")
        names = (*classes, *self.counterstains)
        rgb = self.rgb[[self.names.index(name) for name in names]]
        return StainSet(names, rgb, self.background_rgb, self.counterstains)

    @classmethod
    def preset(cls, name: str) -> StainSet:
        """Return a set of stains by its name.

        "multiplex": the five of Table 2: CD16 (black), CD20 (red), CD3 (yellow), CD4 (cyan) and CD8 (purple).
        "multiplex-haematoxylin": the same and haematoxylin, a counterstain.
        "h-dab": haematoxylin, a counterstain, and DAB by scikit-image's `rgb_from_hdx`, at optical densities of
        0.4 and 1.

        Raises:
            ValueError: an unknown name.
        """
        if name not in PRESETS:
            raise ValueError(f"expected one of the presets {', '.join(PRESETS)}, got {name!r}")
        if name == "h-dab":
            vectors = rgb_from_hdx[:2] * [[_COUNTERSTAIN_DENSITY], [1.0]]
            return cls.from_vectors(("haematoxylin", "DAB"), vectors, counterstains=("haematoxylin",))
        extra = _HAEMATOXYLIN if name == "multiplex-haematoxylin" else {}
        colours = _MULTIPLEX | extra
        return cls(tuple(colours), np.array(list(colours.values())), counterstains=tuple(extra))

    @classmethod
    def from_vectors(
        cls,
        names: Sequence[str],
        vectors: np.ndarray,
        background_rgb: Sequence[float] = _WHITE,
        counterstains: Sequence[str] = (),
    ) -> StainSet:
        """Make stains from optical densities (log10); the standard colour is background_rgb * 10^-vector.

        Args:
            names: K names.
            vectors: (K, 3), each from 0 to 2; use length 1, a deeply stained cell, if the strength is not known.

        Raises:
            ValueError: as for the class, or vectors out of range.
        """
        vectors = np.asarray(vectors, dtype=np.float64)
        if vectors.shape != (len(names), 3) or not ((vectors >= 0) & (vectors <= _MOST_DENSITY)).all():
            raise ValueError(
                f"expected optical densities ({len(names)}, 3) in [0, {_MOST_DENSITY:g}], "
                f"got {vectors.tolist() if vectors.size <= 12 else vectors.shape}"
            )
        return cls(tuple(names), background_rgb * 10**-vectors, background_rgb, tuple(counterstains))

    @classmethod
    def find(cls, name: str | Path) -> StainSet:
        """The preset of this name, or else the stains of a file; see `preset` and `load`.

        Raises:
            FileNotFoundError: neither a preset nor a file.
            ValueError: not a readable file of stains.
        """
        if name in PRESETS:
            return cls.preset(name)
        if not Path(name).is_file():
            raise FileNotFoundError(f"expected stains: {', '.join(PRESETS)} or a file, found none at {name}")
        return cls.load(name)

    @classmethod
    def from_pixels(
        cls,
        image: np.ndarray,
        picks: Mapping[str, Iterable[tuple[int, int]]],
        radius_px: int = 0,
        counterstains: Sequence[str] = (),
    ) -> StainSet:
        """Make stains from an image: the median of each channel over the picked pixels and their surroundings.

        Args:
            image: uint8 (H, W, 3).
            picks: stain -> pixels (x, y); the name "background" gives the colour of the background.
            radius_px: half the side of the square around each pixel.
            counterstains: names of the stains that are not classes.

        Raises:
            ValueError: a stain without pixels, a pixel outside the image, or as for the class.
            TypeError: the image is not uint8.
        """
        check_rgb(image)
        picks = {name: np.array(list(points), dtype=np.int64).reshape(-1, 2) for name, points in picks.items()}
        colours = {name: _median_colour(image, name, points, radius_px) for name, points in picks.items()}
        background = colours.pop("background", _WHITE)
        return cls(tuple(colours), np.array(list(colours.values())), background, tuple(counterstains))

    @classmethod
    def load(cls, path: str | Path) -> StainSet:
        """Read stains from a YAML file.

        A line for each stain, `name: [r, g, b]` or `name: {vector: [r, g, b]}` with optical densities, and
        optionally `background: [r, g, b]` and `counterstains: [names]`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: invalid content; the message names the file.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"expected a file of stains, found none at {path}")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"{path}: expected at most {_MAX_FILE_BYTES} bytes of stains")
        try:
            return cls.from_mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
        except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write a file that `load` reads, with colours, not vectors."""
        content: dict[str, list] = {name: rgb.tolist() for name, rgb in zip(self.names, self.rgb, strict=True)}
        content |= {"background": self.background_rgb.tolist(), "counterstains": list(self.counterstains)}
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True)
        write_atomically(Path(path), text.encode())

    @classmethod
    def from_mapping(cls, content: object) -> StainSet:
        """Make stains from the content of a file that `load` reads.

        Raises:
            ValueError, TypeError: invalid content.
        """
        if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
            raise ValueError("expected lines of the kind name: [r, g, b]")
        content = dict(content)
        background = np.array(content.pop("background", _WHITE), dtype=np.float64)
        counterstains = content.pop("counterstains", ())
        if isinstance(counterstains, str):
            raise ValueError(f"expected a list of counterstains, got {counterstains!r}")
        rgb = [_colour(name, value, background) for name, value in content.items()]
        return cls(tuple(content), np.array(rgb), background, tuple(counterstains))

    @property
    def _absorbing(self) -> np.ndarray:
        darker = self.rgb.sum(axis=1) < self.background_rgb.sum()
        return darker & (np.linalg.norm(self._densities(), axis=1) > _LEAST_DENSITY)

    def _refuse(self, indices: np.ndarray, wanted: str) -> None:
        if len(indices):
            raise ValueError(
                f"stain {self.names[indices[0]]!r}: expected a colour {wanted} than the background "
                f"{self.background_rgb.tolist()}, got {self.rgb[indices[0]].tolist()}"
            )

    def _densities(self) -> np.ndarray:
        light = np.maximum(self.rgb, 1) / np.maximum(self.background_rgb, 1)
        return -np.log10(np.minimum(light, 1))


def check_rgb(image: Any) -> None:
    """Raise a ValueError or TypeError unless an array is uint8 (H, W, 3); the pixels are not read."""
    if len(image.shape) != 3 or image.shape[2] != 3:
        raise ValueError(f"expected an RGB image (H, W, 3), got shape {tuple(image.shape)}")
    if image.dtype != np.uint8:
        raise TypeError(f"expected an image of uint8, got {image.dtype}")


PRESETS = ("multiplex", "multiplex-haematoxylin", "h-dab")


def _checked_colours(name: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    colours = np.array(values, dtype=np.float64)
    if colours.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {colours.shape}")
    if not ((colours >= 0) & (colours <= 255)).all():
        raise ValueError(f"expected {name} in [0, 255], got {colours.tolist()}")
    colours.flags.writeable = False
    return colours


def _check_names(names: tuple[str, ...], counterstains: tuple[str, ...]) -> None:
    if not names or len(set(names)) < len(names) or len(names) > 254:
        raise ValueError(f"expected 1 to 254 stains with different names, got {names}")
    reserved = {"background", "counterstains"} & set(names)
    if reserved:
        raise ValueError(f"{reserved.pop()!r} cannot be the name of a stain")
    unknown = set(counterstains) - set(names)
    if unknown:
        raise ValueError(f"expected counterstains among {names}, got {unknown.pop()!r}")


def _median_colour(image: np.ndarray, name: str, points: np.ndarray, radius_px: int) -> np.ndarray:
    if not len(points):
        raise ValueError(f"stain {name!r}: expected at least one pixel (x, y)")
    outside = ((points < 0) | (points >= (image.shape[1], image.shape[0]))).any(1)
    if outside.any():
        raise ValueError(
            f"stain {name!r}: expected pixels within {image.shape[1]} x {image.shape[0]} px, "
            f"got {tuple(points[outside.argmax()].tolist())}"
        )
    squares = [
        image[max(0, y - radius_px) : y + radius_px + 1, max(0, x - radius_px) : x + radius_px + 1].reshape(-1, 3)
        for x, y in points
    ]
    return np.median(np.concatenate(squares), axis=0)


def _colour(name: str, value: object, background: np.ndarray) -> np.ndarray:
    if not isinstance(value, dict):
        return _checked_colours(name, value, (3,))
    if set(value) != {"vector"}:
        raise ValueError(f"{name}: expected [r, g, b] or {{vector: [r, g, b]}}, got {value}")
    return StainSet.from_vectors((name,), np.array(value["vector"], dtype=np.float64)[None], background).rgb[0]
