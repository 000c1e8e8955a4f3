"""Read what is drawn over a slide: GeoJSON of regions and dots, and the blocks of a cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from lsr_ext.data.cohort.manifest import Manifest, read_manifest
from lsr_ext.data.geojson import Feature, read_features
from lsr_ext.viewer.shapes import Shapes, block_kinds, truth_kinds

UNCLASSIFIED = "unclassified"
_REGIONS, _DOTS = ("Polygon", "MultiPolygon"), ("Point",)


class Annotations(NamedTuple):
    """The regions and the dots of a file."""

    regions: Shapes
    dots: Shapes


def read_annotations(path: str | Path, corner: tuple[int, int] = (0, 0)) -> Annotations:
    """Read regions and dots from GeoJSON, as QuPath exports it.

    A FeatureCollection, a list of features or a feature of polygons and points; the class is
    `properties.classification.name` or `properties.name`, the colour `properties.classification.color`.

    Args:
        path: the file.
        corner: the level-0 pixel from which the file counts; see `lsr_ext.data.geojson.qupath_corner`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not GeoJSON, another geometry, coordinates that are not finite, or a file over 1 GiB; the
            message names the file and the feature.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "dots.geojson"
        >>> _ = path.write_text('[{"geometry": {"type": "Point", "coordinates": [3, 4]}}]')
        >>> found = read_annotations(path)
        >>> len(found.regions), found.dots.describe()["kinds"][0]["name"]
        (0, 'unclassified')
    """
    geometries, names, colours = [], [], {}
    for feature in read_features(path):
        name = feature.name or feature.title or UNCLASSIFIED
        if feature.colour:
            colours[name] = "#" + "".join(f"{part:02x}" for part in feature.colour)
        for part in _geometries(feature, f"{path}, feature {feature.number}"):
            geometries.append(part)
            names.append(name)
    moved = shapely.transform(np.array(geometries, object), lambda xy: xy + np.array(corner, float))
    all_names = list(dict.fromkeys(names))

    def of_type(types: tuple[str, ...]) -> Shapes:
        chosen = [index for index, geometry in enumerate(moved) if geometry.geom_type in types]
        kinds = [all_names.index(names[index]) for index in chosen]
        return Shapes(moved[chosen], kinds, truth_kinds(all_names, colours))

    return Annotations(of_type(_REGIONS), of_type(_DOTS))


def read_blocks(path: str | Path, slide: Path) -> Shapes:
    """The labelled blocks of a slide, from a manifest of `lsr cohort build`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a manifest, no block of the slide, or several slides of its name in other folders.
    """
    manifest = read_manifest(path)
    rows = manifest.rows_of_slide(slide)
    x, y, width, height = manifest.rectangles[rows].T
    texts = [_label_text(manifest, label) for label in manifest.labels[rows]]
    known = [text for text in dict.fromkeys(manifest.label_names) if text in texts]
    names = known + sorted(set(texts) - set(known))
    return Shapes(
        shapely.box(x, y, x + width, y + height).tolist(),
        [names.index(text) for text in texts],
        block_kinds(names),
    )


def _label_text(manifest: Manifest, label: np.ndarray) -> str:
    def name(value: int) -> str:
        return "unknown" if value < 0 else manifest.label_names[value]

    if not manifest.classes:
        return name(int(label))
    return ", ".join(f"{c} {name(int(value))}" for c, value in zip(manifest.classes, label, strict=True))


def _geometries(feature: Feature, where: str) -> list[shapely.Geometry]:
    """The polygons and points of a feature."""
    if not feature.geometry:
        raise ValueError(f"{where}: expected a feature with a geometry")
    try:
        found = shapely.from_geojson(json.dumps(feature.geometry))
    except (shapely.errors.ShapelyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: expected a geometry ({error})") from error
    if found.geom_type not in (*_REGIONS, *_DOTS, "MultiPoint"):
        raise ValueError(f"{where}: expected a polygon or points, got {found.geom_type}")
    if found.is_empty or not np.isfinite(shapely.get_coordinates(found)).all():
        raise ValueError(f"{where}: expected finite coordinates")
    return list(shapely.get_parts(found)) if found.geom_type == "MultiPoint" else [found]
