"""Where block labels come from: each source gives every patch of a slide a value in [0, 1], or NaN for unknown."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
from PIL import Image

from lsr_ext.data.cohort.grid import Grid, Patches
from lsr_ext.data.images import MAX_PIXELS, read_mask

MAX_TEXT_BYTES = 2**30


class LabelSource(Protocol):
    """Values of the patches of slides.

    Attributes:
        name: name of the source in the manifest.
    classes: names of the L classes that have a value each; empty: one value in all.
        knows_fractions: whether a value is the share of an area that the class covers.
    """

    name: str
    classes: tuple[str, ...]
    knows_fractions: bool

    def values(self, slide: Path, size: tuple[int, int], grid: Grid | Patches) -> np.ndarray:
        """Return the values of the patches: float64 (rows * columns, L), L = 1 without classes; NaN: unknown.

        Args:
            slide: the file; sources use its name.
            size: (width, height) in level-0 pixels.
            grid: the patches.

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

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._patches: dict[str, dict[tuple[int, int], float]] = {}
        with _text(self.path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not {"slide", "x", "y", "probability"} <= set(reader.fieldnames or ()):
                raise ValueError(
                    f"{self.path}: expected columns slide,x,y,probability, got {','.join(reader.fieldnames or ())}"
                )
            for fields in reader:
                self._add(fields, f"{self.path}, row {reader.line_num}")

    def _add(self, fields: dict[str, str | None], where: str) -> None:
        try:
            corner = int(fields["x"] or ""), int(fields["y"] or "")
            probability = float(fields["probability"] or "")
        except (ValueError, TypeError):
            raise ValueError(f"{where}: expected whole x and y and a probability, got {fields}") from None
        if not 0 <= probability <= 1:
            raise ValueError(f"{where}: expected a probability in [0, 1], got {probability}")
        patches = self._patches.setdefault(Path(fields["slide"] or "").name, {})
        if corner in patches:
            raise ValueError(f"{where}: the patch at {corner} occurs a second time")
        patches[corner] = probability

    def values(self, slide: Path, size: tuple[int, int], grid: Grid | Patches) -> np.ndarray:
        patches = self._of(slide)
        if not patches:
            raise ValueError(f"{self.path}: expected patches of {slide.name}, found none")
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

    def fingerprint(self, slide: Path) -> str:
        return _digest(repr(sorted(self._of(slide).items())).encode())

    def _of(self, slide: Path) -> dict[tuple[int, int], float]:
        return self._patches.get(slide.name) or self._patches.get(_stem(slide.name), {})


class HeatMaps:
    """A folder with a heat map per slide that covers the whole slide; a patch's value is the mean of the map.

    `<name>.npy`: (H, W) of numbers in [0, 1], NaN for unknown; `<name>.png`, `.tif`, ...: 8-bit grey, 255 for 1.
    """

    name = "heat map"
    classes: tuple[str, ...] = ()
    knows_fractions = False

    def __init__(self, folder: str | Path) -> None:
        self.folder = _folder(folder)

    def values(self, slide: Path, size: tuple[int, int], grid: Grid | Patches) -> np.ndarray:
        path = _beside(self.folder, slide, (".npy", ".png", ".tif", ".tiff"))
        return _means(_read_heat_map(path), size, grid.rectangles())[:, None]

    def fingerprint(self, slide: Path) -> str:
        return _file_digest(_beside(self.folder, slide, (".npy", ".png", ".tif", ".tiff")))


class Masks:
    """A folder with a mask of class ids per slide that covers the whole slide; values are class fractions.

    Args:
        folder: folder of files that `read_mask` reads.
        classes: names of the ids 1, 2, ...; 0 is background and has no value. One name: one label per block.
    """

    name = "mask"
    knows_fractions = True

    def __init__(self, folder: str | Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = _folder(folder), _checked_classes(classes)

    def values(self, slide: Path, size: tuple[int, int], grid: Grid | Patches) -> np.ndarray:
        path = _beside(self.folder, slide, (".npy", ".png", ".tif", ".tiff"))
        mask = read_mask(path)
        if mask.min() < 0 or mask.max() > len(self.classes):
            raise ValueError(
                f"{path}: expected class ids in [0, {len(self.classes)}], got {mask.min()} to {mask.max()}"
            )
        rectangles = grid.rectangles()
        ids = range(1, len(self.classes) + 1)
        return np.stack([_means((mask == i).astype(np.float64), size, rectangles) for i in ids], axis=1)

    def fingerprint(self, slide: Path) -> str:
        path = _beside(self.folder, slide, (".npy", ".png", ".tif", ".tiff"))
        return _file_digest(path) + repr(self.classes)


class Regions:
    """A folder with GeoJSON per slide, as QuPath exports it; values are the fractions that the regions cover.

    Polygons and multi-polygons in level-0 pixels; `properties.classification.name` (or `properties.name`) is
    the class. Regions of one class may overlap: their union counts. Other classes are ignored.

    Args:
        folder: folder of `<name>.geojson` or `<name>.json`.
        classes: the names that have a value. One name: one label per block.
    """

    name = "regions"
    knows_fractions = True

    def __init__(self, folder: str | Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = _folder(folder), _checked_classes(classes)

    def values(self, slide: Path, size: tuple[int, int], grid: Grid | Patches) -> np.ndarray:
        path = _beside(self.folder, slide, (".geojson", ".json"))
        shapes = read_regions(path)
        x, y, width, height = grid.rectangles().T
        patches = shapely.box(x, y, x + width, y + height)
        columns = []
        for name in self.classes:
            union = shapely.union_all(shapes.get(name, []))
            shapely.prepare(union)
            columns.append(shapely.area(shapely.intersection(patches, union)) / (width * height))
        return np.clip(np.stack(columns, axis=1), 0.0, 1.0)

    def fingerprint(self, slide: Path) -> str:
        return _file_digest(_beside(self.folder, slide, (".geojson", ".json"))) + repr(self.classes)


def read_regions(path: Path) -> dict[str, list[shapely.Geometry]]:
    """The polygons of a GeoJSON file by class; see `Regions`.

    Raises:
        ValueError: not readable GeoJSON, or a region without a name.
    """
    try:
        content = json.loads(_text(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not readable JSON ({error})") from error
    features = content.get("features") if isinstance(content, dict) else content
    if not isinstance(features, list):
        raise ValueError(f"{path}: expected a GeoJSON FeatureCollection or a list of features")
    shapes: dict[str, list[shapely.Geometry]] = {}
    for number, feature in enumerate(features):
        try:
            properties = feature.get("properties") or {}
            name = (properties.get("classification") or properties)["name"]
            shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        except (AttributeError, KeyError, TypeError, shapely.errors.ShapelyError) as error:
            raise ValueError(f"{path}, feature {number}: expected a named region ({error!r})") from error
        if shape.geom_type in ("Polygon", "MultiPolygon"):
            # Outlines drawn by hand can cross themselves.
            shapes.setdefault(name, []).append(shapely.make_valid(shape))
    return shapes


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


def _beside(folder: Path, slide: Path, suffixes: Sequence[str]) -> Path:
    found = [path for suffix in suffixes if (path := folder / f"{_stem(slide.name)}{suffix}").is_file()]
    if len(found) != 1:
        raise ValueError(
            f"{folder}: expected one of {_stem(slide.name)}({'|'.join(suffixes)}), found {len(found)}"
        )
    return found[0]


def _stem(name: str) -> str:
    return Path(name).name.removesuffix(Path(name).suffix)


def _folder(folder: str | Path) -> Path:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"expected a folder of label files, found none at {folder}")
    return Path(folder)


def _text(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of labels, found none at {path}")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_TEXT_BYTES} bytes, got {path.stat().st_size}")
    return path


def _checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    if not classes or len(set(classes)) < len(classes):
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
