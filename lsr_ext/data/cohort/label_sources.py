"""Where block labels come from: each source gives every patch of a slide a value in [0, 1], or NaN for unknown."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias
from unicodedata import normalize

import numpy as np
import shapely
from PIL import Image

from lsr_ext.data.beside import check_aspect, find_beside, find_named
from lsr_ext.data.cohort.annotations import ANNOTATION_SUFFIXES, Annotations, read_annotations
from lsr_ext.data.cohort.grid import Grid, Patches
from lsr_ext.data.csv_files import read_rows
from lsr_ext.data.geojson import QUPATH_BOUNDS, qupath_corner
from lsr_ext.data.images import MAX_PIXELS, read_mask

MAP_SUFFIXES = (".npy", ".png", ".tif", ".tiff")
_ENOUGH_PATCHES = 8  # to tell the grid that they lie on from chance
_logger = logging.getLogger(__name__)
Bounds: TypeAlias = tuple[int, int, int, int]


class LabelSource(Protocol):
    """Values of the patches of slides.

    Attributes:
        name: name of the source in the manifest.
        classes: names of the L classes that have a value each; empty: one value in all.
        knows_fractions: whether a value is the share of an area that the class covers.
        any_grid: whether values can be computed for any grid, not only for the patches that were labelled.
    """

    name: str
    classes: tuple[str, ...]
    knows_fractions: bool
    any_grid: bool

    def labels_of(self, slide: Path) -> str:
        """Return the file of the labels of a slide, or what names them in a file of all slides.

        Raises:
            ValueError: there are none, or it cannot be decided which.
        """

    def values(
        self, slide: Path, size: tuple[int, int], grid: Grid | Patches, bounds: Bounds | None
    ) -> np.ndarray:
        """Return the values of the patches: float64 (rows * columns, L), L = 1 without classes; NaN: unknown.

        Args:
            slide: the file; sources use its name.
            size: (width, height) in level-0 pixels.
            grid: the patches.
            bounds: as of `Slide.bounds`; sources whose coordinates may count from there use it.

        Raises:
            ValueError, OSError: the source's data for this slide are missing or wrong.
        """

    def fingerprint(self, slide: Path) -> str:
        """Return a text that changes when the values for the slide may have changed."""


class PatchProbabilities:
    """A CSV with the columns slide, x, y, probability: one row per patch, x and y its top left level-0 pixel.

    `slide` is the slide's file name, with or without its suffix. Patches without a row are unknown.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a wrong column or number, or a patch that occurs twice; the message names file and row.
    """

    name = "patch probabilities"
    classes: tuple[str, ...] = ()
    knows_fractions = False
    any_grid = False

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._patches: dict[str, dict[tuple[int, int], float]] = {}
        for where, fields in read_rows(self.path, ("slide", "x", "y", "probability")):
            self._add(fields, where)

    def _add(self, fields: dict[str, str], where: str) -> None:
        try:
            corner = int(fields["x"]), int(fields["y"])
            probability = float(fields["probability"])
        except ValueError:
            raise ValueError(f"{where}: expected whole x and y and a probability, got {fields}") from None
        if not 0 <= probability <= 1:
            raise ValueError(f"{where}: expected a probability in [0, 1], got {probability}")
        patches = self._patches.setdefault(Path(fields["slide"]).as_posix(), {})
        if corner in patches:
            raise ValueError(f"{where}: the patch at {corner} occurs a second time")
        patches[corner] = probability

    def labels_of(self, slide: Path) -> str:
        """The slide's name in the CSV: that which has most of its folders in common with the slide's path."""
        best = find_named(self._patches, slide)
        if len(best) != 1:
            found = ", ".join(best) or "none"
            raise ValueError(f"{self.path}: expected patches of {slide.name}, found {found}")
        return best[0]

    def values(
        self, slide: Path, size: tuple[int, int], grid: Grid | Patches, bounds: Bounds | None
    ) -> np.ndarray:
        patches = self._patches[self.labels_of(slide)]
        if grid.origin is not None:
            self._check_corners(slide, patches, grid.side, grid.origin)
        corners = map(tuple, grid.rectangles()[:, :2].tolist())
        values = np.array([patches.get(corner, np.nan) for corner in corners]).reshape(-1, 1)
        if len(values) and np.isnan(values).all():
            raise ValueError(
                f"{self.path}, {slide.name}: expected patches of {grid.side} px, none lies on a block"
            )
        return values

    def _check_corners(
        self, slide: Path, patches: dict[tuple[int, int], float], side: int, origin: tuple[int, int]
    ) -> None:
        start = "" if origin == (0, 0) else f" from {origin}"
        for x, y in patches:
            if (x - origin[0]) % side or (y - origin[1]) % side or x < 0 or y < 0:
                raise ValueError(
                    f"{self.path}, {slide.name}: expected multiples of {side} px{start}, got a patch at {x}, {y}"
                )
        # A classifier that tiles every slide alike, whatever its resolution, has other patches on some.
        corners = np.array(list(patches)) - origin
        spacing = int(np.gcd.reduce(corners, axis=None))
        if len(patches) >= _ENOUGH_PATCHES and spacing > side:
            _logger.warning(
                "%s, %s: expected patches of %d px, all %d lie on a grid of %d px: are they larger?",
                self.path,
                slide.name,
                side,
                len(patches),
                spacing,
            )

    def fingerprint(self, slide: Path) -> str:
        return _digest(repr(sorted(self._patches[self.labels_of(slide)].items())).encode())


class HeatMaps:
    """A folder with a heat map per slide that covers the whole slide; a patch's value is the mean of the map.

    A map of another aspect than its slide is refused. `find_beside` says where the file of a slide may lie.

    `<name>.npy`: (H, W) of numbers in [0, 1], NaN for unknown; `<name>.png`, `.tif`, ...: 8-bit grey, 255 for 1.
    """

    name = "heat map"
    classes: tuple[str, ...] = ()
    knows_fractions = False
    any_grid = True

    def __init__(self, folder: str | Path) -> None:
        self.folder = _folder(folder)

    def values(
        self, slide: Path, size: tuple[int, int], grid: Grid | Patches, bounds: Bounds | None
    ) -> np.ndarray:
        path = Path(self.labels_of(slide))
        heat = _read_heat_map(path)
        check_aspect(path, heat.shape, slide.name, size)
        return _means(heat, size, grid.rectangles())[:, None]

    def labels_of(self, slide: Path) -> str:
        return _beside(self.folder, slide, MAP_SUFFIXES)

    def fingerprint(self, slide: Path) -> str:
        return _file_digest(Path(self.labels_of(slide)))


class Masks:
    """A folder with a mask of class ids per slide that covers the whole slide; values are class fractions.

    Args:
        folder: folder of files that `read_mask` reads.
        classes: names of the ids 1, 2, ...; 0 is background and has no value. One name: one label per block.
    """

    name = "mask"
    knows_fractions = True
    any_grid = True

    def __init__(self, folder: str | Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = _folder(folder), _checked_classes(classes)

    def values(
        self, slide: Path, size: tuple[int, int], grid: Grid | Patches, bounds: Bounds | None
    ) -> np.ndarray:
        path = Path(self.labels_of(slide))
        mask = read_mask(path)
        check_aspect(path, mask.shape, slide.name, size)
        if mask.min() < 0 or mask.max() > len(self.classes):
            raise ValueError(
                f"{path}: expected class ids in [0, {len(self.classes)}], got {mask.min()} to {mask.max()}"
            )
        rectangles = grid.rectangles()
        ids = range(1, len(self.classes) + 1)
        return np.stack([_means((mask == i).astype(np.float64), size, rectangles) for i in ids], axis=1)

    def fingerprint(self, slide: Path) -> str:
        return _file_digest(Path(self.labels_of(slide))) + repr(self.classes)

    def labels_of(self, slide: Path) -> str:
        return _beside(self.folder, slide, MAP_SUFFIXES)


class Regions:
    """A folder with outlined regions per slide; values are the fractions that the regions cover.

    Files are GeoJSON, as QuPath exports it, or the XML of ASAP or ImageScope; see `read_annotations`. Regions of
    one class may overlap: their union counts. Without a class, an annotation's name counts as one. A derived class
    of QuPath, such as "Tumor: Invasive", counts for the class of its whole name, or else for the class "Tumor", if
    one of these is wanted. Other classes are ignored.

    Args:
        folder: folder of `<name>.geojson`, `.json`, `.xml`; GeoJSON may be gzipped.
        classes: the names that have a value. One name: one label per block.
        qupath_bounds: whether coordinates count from the bounds that some slides have (MRXS, SCN), as in QuPath,
            or from the corner of level 0: "on"; "off"; "auto": for GeoJSON, not for XML. See `qupath_corner`.
    """

    name = "regions"
    knows_fractions = True
    any_grid = True

    def __init__(self, folder: str | Path, classes: Sequence[str], qupath_bounds: str = "auto") -> None:
        self.folder, self.classes = _folder(folder), _checked_classes(classes)
        if qupath_bounds not in QUPATH_BOUNDS:
            raise ValueError(f"expected qupath_bounds of {', '.join(QUPATH_BOUNDS)}, got {qupath_bounds!r}")
        self.qupath_bounds = qupath_bounds
        self._wanted = {normalize("NFC", name): name for name in self.classes}

    def values(
        self, slide: Path, size: tuple[int, int], grid: Grid | Patches, bounds: Bounds | None
    ) -> np.ndarray:
        annotations = self.read(slide)
        if not annotations.shapes and annotations.passed_over:
            counts = ", ".join(f"{count} {reason}" for reason, count in annotations.passed_over.items())
            raise ValueError(f"{self.labels_of(slide)}: expected regions with a class, got none: {counts}")
        dx, dy = self.offset(slide, annotations, bounds)
        x, y, width, height = grid.rectangles().T
        patches = shapely.box(x - dx, y - dy, x - dx + width, y - dy + height)
        columns = []
        for name in self.classes:
            shapes = [
                shape
                for given, found in annotations.shapes.items()
                if self.counts_for(given) == name
                for shape in found
            ]
            union = shapely.union_all(shapes)
            shapely.prepare(union)
            columns.append(shapely.area(shapely.intersection(patches, union)) / (width * height))
        return np.clip(np.stack(columns, axis=1), 0.0, 1.0)

    def read(self, slide: Path) -> Annotations:
        """Read the regions of a slide."""
        return read_annotations(Path(self.labels_of(slide)))

    def counts_for(self, name: str) -> str | None:
        """Return the wanted class that a region of this class counts for, in whatever form Unicode writes them."""
        parts = normalize("NFC", name).split(": ")
        longest_first = (": ".join(parts[:count]) for count in range(len(parts), 0, -1))
        return next((self._wanted[prefix] for prefix in longest_first if prefix in self._wanted), None)

    def offset(self, slide: Path, annotations: Annotations, bounds: Bounds | None) -> tuple[int, int]:
        """Return the level-0 pixel, (x, y), that coordinates count from."""
        use = "off" if self.qupath_bounds == "auto" and not annotations.is_geojson else self.qupath_bounds
        return qupath_corner(slide.name, bounds, use)

    def labels_of(self, slide: Path) -> str:
        return _beside(self.folder, slide, ANNOTATION_SUFFIXES)

    def fingerprint(self, slide: Path) -> str:
        return _file_digest(Path(self.labels_of(slide))) + repr((self.classes, self.qupath_bounds))


def check_labels_differ(labels_of: Callable[[Path], str], slides: Sequence[Path]) -> None:
    """Refuse slides that would get the same labels, because their names are equal.

    Args:
        labels_of: a source's, or that of `Rectangles`.
        slides: the files.

    Raises:
        ValueError: two slides share them; the message names both.
    """
    seen: dict[str, Path] = {}
    for slide in slides:
        try:
            labels = labels_of(slide)
        except (ValueError, OSError):  # reported for this slide
            continue
        other = seen.setdefault(labels, slide)
        if other != slide:
            raise ValueError(
                f"{labels} would be used for two slides, {other} and {slide}; name the folder too, as in "
                f"{slide.parent.name}/{slide.stem}"
            )


def _read_heat_map(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # reads only the header
        except ValueError as error:
            raise ValueError(f"{path}: not a readable .npy array ({error})") from error
        if mapped.ndim != 2 or mapped.dtype.kind not in "fiu" or mapped.size > MAX_PIXELS:
            raise ValueError(f"{path}: expected (H, W) of at most {MAX_PIXELS} numbers, got {mapped.shape}")
        heat = np.asarray(mapped, dtype=np.float64)
    else:
        with Image.open(path) as image:
            if image.mode != "L" or image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{path}: expected 8-bit grey of at most {MAX_PIXELS} px, got {image}")
            heat = np.asarray(image, dtype=np.float64) / 255
    if np.nanmin(heat, initial=0.0) < 0 or np.nanmax(heat, initial=0.0) > 1:
        raise ValueError(f"{path}: expected values in [0, 1], got {np.nanmin(heat)} to {np.nanmax(heat)}")
    return heat


def _means(image: np.ndarray, size: tuple[int, int], rectangles: np.ndarray) -> np.ndarray:
    """Average an image that covers a slide of `size` over rectangles of level-0 pixels, by exact areas."""
    rows, columns = image.shape
    sides = np.arange(rows + 1) * size[1] / rows, np.arange(columns + 1) * size[0] / columns
    x, y, width, height = rectangles.T
    means = np.empty(len(rectangles))
    for i in range(len(rectangles)):
        down = _lengths(sides[0], y[i], y[i] + height[i])
        across = _lengths(sides[1], x[i], x[i] + width[i])
        (r0, r1), (c0, c1) = _support(down), _support(across)
        means[i] = down[r0:r1] @ image[r0:r1, c0:c1] @ across[c0:c1] / (width[i] * height[i])
    return np.clip(means, 0.0, 1.0)


def _lengths(sides: np.ndarray, start: float, end: float) -> np.ndarray:
    return np.clip(np.minimum(sides[1:], end) - np.maximum(sides[:-1], start), 0, None)


def _support(weights: np.ndarray) -> tuple[int, int]:
    used = np.flatnonzero(weights)
    return (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)


def _beside(folder: Path, slide: Path, suffixes: Sequence[str]) -> str:
    found = find_beside(folder, slide, suffixes)
    if found is None:
        raise ValueError(f"{folder}: expected {slide.stem}({'|'.join(suffixes)}), found none")
    return str(found)


def _folder(folder: str | Path) -> Path:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"expected a folder of label files, found none at {folder}")
    return Path(folder)


def _checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    if not classes or len({normalize("NFC", name) for name in classes}) < len(classes):
        raise ValueError(f"expected distinct names of classes, got {list(classes)}")
    return tuple(classes)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _digest(file.read())
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
