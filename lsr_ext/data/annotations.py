"""Outlined areas of a slide, read from GeoJSON as QuPath and others export it."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely

ANNOTATION_SUFFIXES = (".geojson", ".json", ".geojson.gz")
_MAX_BYTES = 2**30


class Annotation(NamedTuple):
    """An area of a slide.

    Attributes:
        kind: the name of its class; None: it has none.
        name: its own name, or None.
        shape: a valid Polygon or MultiPolygon, in level-0 pixels.
    """

    kind: str | None
    name: str | None
    shape: shapely.Geometry


def read_annotations(path: str | Path, corner: tuple[float, float] = (0, 0)) -> list[Annotation]:
    """Read the areas of a file, in its order; points and lines are passed over.

    The class is `properties.classification.name`, or QuPath's `names` joined by ": ". Outlines that
    cross themselves are mended by the even-odd rule.

    Args:
        path: `.geojson`, `.json` or `.geojson.gz`: a FeatureCollection, a list of features, or one.
        corner: the level-0 pixel from which the file counts; QuPath counts from the slide's bounds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file, or over 1 GiB; the message names the feature.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "a.geojson"
        >>> square = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}
        >>> properties = {"classification": {"name": "Tumour"}}
        >>> _ = path.write_text(json.dumps([{"type": "Feature", "geometry": square, "properties": properties}]))
        >>> [(area.kind, area.shape.area) for area in read_annotations(path)]
        [('Tumour', 16.0)]
    """
    path = Path(path)
    found = []
    for number, feature in enumerate(_features(path), start=1):
        where = f"{path}, feature {number}"
        if not isinstance(feature, dict) or not isinstance(feature.get("geometry"), dict):
            raise ValueError(f"{where}: expected a feature with a geometry")
        try:
            shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        except shapely.errors.ShapelyError as error:
            raise ValueError(f"{where}: not readable as a geometry ({error})") from error
        areas = _areas(shape)
        if areas is None:
            continue
        if not np.isfinite(areas.bounds).all():
            raise ValueError(f"{where}: expected finite coordinates")
        properties = feature.get("properties") or {}
        kind = class_name(properties.get("classification"))
        name = properties.get("name")
        moved = shapely.transform(areas, lambda xy: xy + np.array(corner, float))
        found.append(Annotation(kind, name if isinstance(name, str) else None, moved))
    return found


def class_name(classification: Any) -> str | None:
    """The name of a feature's class, in any of the ways that QuPath writes it."""
    if isinstance(classification, dict):
        names = classification.get("names")
        classification = ": ".join(map(str, names)) if isinstance(names, list) else classification.get("name")
    return classification if isinstance(classification, str) and classification else None


class AnnotationMap:
    """Annotations as a label map that is drawn where it is sliced: a pixel is of the last area over its centre.

    Args:
        annotations: areas in level-0 pixels.
        ids: class of an annotation -> its id; areas of other classes, or of none, are passed over.
        shape: (H, W) of the map.
        step: level-0 pixels per pixel of the map, (x, y).
        outside: the id of pixels that no area holds.

    Example:
        >>> areas = [Annotation("Tumour", None, shapely.box(0, 0, 4, 2))]
        >>> AnnotationMap(areas, {"Tumour": 1}, (2, 3), (2.0, 2.0), outside=0)[:, :].tolist()
        [[1, 1, 0], [0, 0, 0]]
    """

    dtype = np.dtype(np.uint8)
    ndim = 2

    def __init__(
        self,
        annotations: Sequence[Annotation],
        ids: dict[str, int],
        shape: tuple[int, int],
        step: tuple[float, float],
        outside: int,
    ) -> None:
        kept = [area for area in annotations if area.kind in ids]
        scale = 1 / np.array(step)
        self._shapes = shapely.transform(np.array([area.shape for area in kept], object), lambda xy: xy * scale)
        self._ids = [ids[area.kind] for area in kept]
        self._tree = shapely.STRtree(self._shapes)
        self.shape, self.outside = tuple(shape), outside

    def __getitem__(self, place: slice | tuple[slice, slice]) -> np.ndarray:
        from rasterio.features import rasterize
        from rasterio.transform import Affine

        rows, columns = place if isinstance(place, tuple) else (place, slice(None))
        top, bottom, _ = rows.indices(self.shape[0])
        left, right, _ = columns.indices(self.shape[1])
        size = max(bottom - top, 0), max(right - left, 0)
        drawn = np.full(size, self.outside, np.uint8)
        near = np.sort(self._tree.query(shapely.box(left, top, right, bottom)))
        if not drawn.size or not len(near):
            return drawn
        # One pixel more, so that no centre lies on the edge that is cut.
        shapes = shapely.clip_by_rect(self._shapes[near], left - 1, top - 1, right + 1, bottom + 1)
        pairs = [
            (shape, self._ids[index]) for shape, index in zip(shapes, near, strict=True) if not shape.is_empty
        ]
        if not pairs:
            return drawn
        return rasterize(pairs, out=drawn, transform=Affine.translation(left, top))


def _features(path: Path) -> Iterator[Any]:
    if not path.name.lower().endswith(ANNOTATION_SUFFIXES):
        raise ValueError(f"{path}: expected annotations ({', '.join(ANNOTATION_SUFFIXES)})")
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of annotations, found none at {path}")
    opener = gzip.open if path.suffix.lower() == ".gz" else Path.open
    try:
        with opener(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"expected at most {_MAX_BYTES} bytes")
        content = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: not readable as GeoJSON ({error})") from error
    if isinstance(content, dict):
        content = content.get("features", [content])
    if not isinstance(content, list):
        raise ValueError(f"{path}: expected a FeatureCollection, a list of features, or one")
    return content


def _areas(shape: shapely.Geometry | None) -> shapely.Geometry | None:
    """The areas of a shape, valid; None: it has none."""
    if shape is None or shapely.area(shape) == 0:
        return None
    parts = shapely.get_parts(shapely.make_valid(shape))
    polygons = [part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")]
    if not polygons:
        return None
    return polygons[0] if len(polygons) == 1 else shapely.union_all(polygons)
