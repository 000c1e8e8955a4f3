"""Regions that people outlined on a slide, from GeoJSON (QuPath and others), ASAP's XML and ImageScope's XML."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import shapely

from lsr_ext.data.annotation_map import areas_of
from lsr_ext.data.geojson import GEOJSON_SUFFIXES, read_features, read_text

ANNOTATION_SUFFIXES = (*GEOJSON_SUFFIXES, ".xml")
WITHOUT_CLASS = "without a class"
_ELLIPSE_CORNERS = 64
_NO_AREA = ("Dot", "PointSet", "Arrow", "Ruler", "Text")
_IMAGESCOPE_ELLIPSE = "2"
_IMAGESCOPE_AREAS = ("0", "1", _IMAGESCOPE_ELLIPSE)  # outline, rectangle, ellipse


class Annotations(NamedTuple):
    """The regions of a file.

    Attributes:
        shapes: for each class its polygons, valid, in the file's coordinates.
        passed_over: why features were passed over, and how many for each reason.
        is_geojson: GeoJSON, whose coordinates QuPath counts from the bounds of a slide; the others count from the
            slide's corner.
    """

    shapes: dict[str, list[shapely.Geometry]]
    passed_over: Counter[str]
    is_geojson: bool


def read_annotations(path: Path) -> Annotations:
    """Read a file of regions; what is no region of a class is passed over and counted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: neither GeoJSON nor XML of ASAP or ImageScope.
    """
    if path.suffix.lower() == ".xml":
        return _collect(_xml_regions(path), is_geojson=False)
    return _collect(_geojson_regions(path), is_geojson=True)


class _Region(NamedTuple):
    """A region before it is checked: `reason` says why it has no geometry; `is_hole`: taken out of its class."""

    name: str | None
    shape: shapely.Geometry | None
    reason: str = ""
    is_hole: bool = False


def _collect(regions: Iterator[_Region], *, is_geojson: bool) -> Annotations:
    shapes: dict[str, list[shapely.Geometry]] = {}
    holes: dict[str, list[shapely.Geometry]] = {}
    passed_over: Counter[str] = Counter()
    for name, shape, reason, is_hole in regions:
        if shape is None:
            passed_over[reason] += 1
        elif name is None:
            passed_over[WITHOUT_CLASS] += 1
        else:
            # Outlines drawn by hand can cross themselves.
            (holes if is_hole else shapes).setdefault(name, []).append(shapely.make_valid(shape))
    for name in holes.keys() & shapes.keys():
        out = shapely.union_all(holes[name])
        shapes[name] = [shapely.difference(shape, out) for shape in shapes[name]]
    return Annotations(shapes, passed_over, is_geojson)


def _geojson_regions(path: Path) -> Iterator[_Region]:
    for feature in read_features(path):
        kind = feature.geometry.get("type", "without a geometry")
        try:
            shape = areas_of(shapely.from_geojson(json.dumps(feature.geometry))) if feature.geometry else None
        except (shapely.errors.ShapelyError, ValueError, TypeError):
            yield _Region(None, None, f"not a valid {kind}")
            continue
        yield _Region(feature.name or feature.title, shape, kind)


def _xml_regions(path: Path) -> Iterator[_Region]:
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError(f"{path}: expected XML without declarations of entities, which annotations do not need")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: not readable XML ({error})") from error
    if root.tag == "ASAP_Annotations":
        yield from map(_asap_region, root.iter("Annotation"))
    elif root.tag == "Annotations":
        for layer in root.iter("Annotation"):
            for region in layer.iter("Region"):
                yield _imagescope_region(region, layer)
    else:
        raise ValueError(f"{path}: expected the XML of ASAP or ImageScope, got <{root.tag}>")


def _asap_region(annotation: ElementTree.Element) -> _Region:
    kind = annotation.get("Type", "")
    group = annotation.get("PartOfGroup", "")
    name = (annotation.get("Name", "") if group in ("", "None") else group).strip() or None
    try:
        corners = sorted(annotation.iter("Coordinate"), key=lambda one: float(one.get("Order", 0)))
    except ValueError:
        return _Region(None, None, "with corners in no order")
    return _outline(name, [(one.get("X"), one.get("Y")) for one in corners], kind or "Polygon")


def _imagescope_region(region: ElementTree.Element, layer: ElementTree.Element) -> _Region:
    kind = region.get("Type", "0")
    # The layer is the class; layers without a name are told apart by their regions' texts.
    name = (layer.get("Name", "").strip() or region.get("Text", "").strip()) or None
    corners = [(one.get("X"), one.get("Y")) for one in region.iter("Vertex")]
    if kind not in _IMAGESCOPE_AREAS:
        return _Region(None, None, "without an area")
    found = _outline(name, corners, "Polygon" if kind != _IMAGESCOPE_ELLIPSE else "Ellipse")
    return found._replace(is_hole=region.get("NegativeROA") == "1")


def _outline(name: str | None, corners: list[tuple[str | None, str | None]], kind: str) -> _Region:
    if kind in _NO_AREA:
        return _Region(None, None, kind)
    try:
        points = [(float(x or "nan"), float(y or "nan")) for x, y in corners]
    except ValueError:
        points = [(math.nan, math.nan)]
    if not all(math.isfinite(value) for point in points for value in point):
        return _Region(None, None, f"not a valid {kind}")
    if kind == "Ellipse" or (kind == "Rectangle" and len(points) == 2):
        return _Region(name, _in_box(points, kind) if len(points) >= 2 else None, f"not a valid {kind}")
    if len(points) < 3:
        return _Region(None, None, f"not a valid {kind}")
    return _Region(name, shapely.Polygon(points))


def _in_box(points: list[tuple[float, float]], kind: str) -> shapely.Geometry:
    """The rectangle or ellipse whose opposite corners, or all four, are given."""
    left, top, right, bottom = shapely.MultiPoint(points).bounds
    if kind == "Rectangle":
        return shapely.box(left, top, right, bottom)
    turns = [2 * math.pi * i / _ELLIPSE_CORNERS for i in range(_ELLIPSE_CORNERS)]
    middle, radius = ((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2)
    return shapely.Polygon(
        [(middle[0] + radius[0] * math.cos(turn), middle[1] + radius[1] * math.sin(turn)) for turn in turns]
    )
