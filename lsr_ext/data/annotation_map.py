"""Outlined areas of a slide in GeoJSON, and the label map that they draw."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from lsr_ext.data.geojson import read_features


class Annotation(NamedTuple):
    """An area of a slide: its class, or None, and its shape, a valid Polygon or MultiPolygon in level-0 pixels."""

    kind: str | None
    shape: shapely.Geometry


def read_areas(path: str | Path, corner: tuple[float, float] = (0, 0)) -> list[Annotation]:
    """Read the areas of a file in its order, also those without a class; points and lines are passed over.

    Args:
        path: GeoJSON, as for `read_features`. Outlines that cross themselves are mended by the even-odd rule.
        corner: the level-0 pixel from which the file counts; QuPath counts from the slide's bounds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not GeoJSON, or a feature whose geometry cannot be read.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "a.geojson"
        >>> square = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}
        >>> properties = {"classification": {"name": "Tumour"}}
        >>> _ = path.write_text(json.dumps([{"type": "Feature", "geometry": square, "properties": properties}]))
        >>> [(area.kind, area.shape.area) for area in read_areas(path)]
        [('Tumour', 16.0)]
    """
    found = []
    for feature in read_features(path):
        where = f"{path}, feature {feature.number}"
        if not feature.geometry:
            raise ValueError(f"{where}: expected a feature with a geometry")
        try:
            shape = shapely.from_geojson(json.dumps(feature.geometry))
            is_finite = not shape.is_empty and np.isfinite(shapely.get_coordinates(shape)).all()
            areas = areas_of(shape) if is_finite else None
        except (shapely.errors.ShapelyError, ValueError) as error:
            raise ValueError(f"{where}: not readable as a geometry ({error})") from error
        if not is_finite:
            raise ValueError(f"{where}: expected finite coordinates")
        if areas is None:
            continue
        moved = shapely.transform(areas, lambda xy: xy + np.array(corner, float))
        found.append(Annotation(feature.name, moved))
    return found


class AnnotationMap:
    """Annotations as a label map that is drawn where it is sliced: a pixel is of the last area over its centre.

    Args:
        annotations: areas in level-0 pixels.
        ids: class of an annotation -> its id; areas of other classes, or of none, are passed over.
        shape: (H, W) of the map.
        step: level-0 pixels per pixel of the map, (x, y).
        outside: the id of pixels that no area holds.

    Example:
        >>> areas = [Annotation("Tumour", shapely.box(0, 0, 4, 2))]
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


def areas_of(shape: shapely.Geometry) -> shapely.Geometry | None:
    """The areas of a shape, also of nested collections: a valid Polygon or MultiPolygon; None: it has none."""
    # Of a line, or an outline without an area, nothing is left.
    polygons = [
        part for part in _parts(shapely.make_valid(shape)) if part.geom_type == "Polygon" and not part.is_empty
    ]
    if not polygons:
        return None
    return polygons[0] if len(polygons) == 1 else shapely.union_all(polygons)


def _parts(shape: shapely.Geometry) -> Iterator[shapely.Geometry]:
    if not hasattr(shape, "geoms"):
        yield shape
        return
    for part in shape.geoms:
        yield from _parts(part)
