"""Read the features of GeoJSON in every form that QuPath and others write."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

QUPATH_BOUNDS = ("auto", "on", "off")
MAX_TEXT_BYTES = 2**30
GEOJSON_SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz")
_GZIP = b"\x1f\x8b"
_GEOMETRIES = (
    "Point",
    "MultiPoint",
    "LineString",
    "MultiLineString",
    "Polygon",
    "MultiPolygon",
    "GeometryCollection",
)


class Feature(NamedTuple):
    """A feature of GeoJSON.

    Attributes:
        number: its place in the file, from 1.
        name: its class; a derived class of QuPath is "Tumor: Invasive"; None: it has no class.
        title: its own name, as somebody typed it; None: it has none.
        kind: what QuPath calls it, such as "annotation", "detection" or "cell"; "" if it does not say.
        geometry: GeoJSON's geometry; empty if the feature has none.
        colour: of its class, red, green and blue; None: it has none.
    """

    number: int
    name: str | None
    title: str | None
    kind: str
    geometry: dict
    colour: tuple[int, int, int] | None = None


def read_features(path: str | Path) -> list[Feature]:
    """Read a FeatureCollection, a list of features, a single feature or a geometry; also gzipped, or with a BOM.

    The class is `properties.classification`: its `name`, its `names` joined by ": ", or a text.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not GeoJSON, or more than 1 GiB of text.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "a.geojson"
        >>> _ = path.write_text('{"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}')
        >>> [feature.geometry["coordinates"] for feature in read_features(path)]
        [[1, 2]]
    """
    path = Path(path)
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(f"{path}: not readable GeoJSON ({error})") from error
    items = list(_items(content))
    if not items and not _is_collection(content):
        raise ValueError(f"{path}: expected a GeoJSON FeatureCollection, feature or list of features")
    return [_feature(number, item) for number, item in enumerate(items, start=1)]


def qupath_corner(slide: str, bounds: Sequence[int] | None, use: str = "auto") -> tuple[int, int]:
    """The level-0 pixel that QuPath calls (0, 0).

    QuPath shows only the bounds of a slide that has some (MIRAX, Leica), and counts pixels from their corner.

    Args:
        slide: its name, for errors.
        bounds: x, y, width and height in level-0 pixels, as of `Slide.bounds`; None: it has none.
        use: "auto": the corner of the bounds if the slide has some; "on": it must have some; "off": (0, 0).

    Raises:
        ValueError: "on", but the slide has no bounds; or another `use`.

    Example:
        >>> qupath_corner("a.scn", (1500, 1000, 1024, 1024)), qupath_corner("a.svs", None)
        ((1500, 1000), (0, 0))
    """
    if use not in QUPATH_BOUNDS:
        raise ValueError(f"expected QuPath's bounds as one of {', '.join(QUPATH_BOUNDS)}, got {use!r}")
    if use == "on" and bounds is None:
        raise ValueError(f"the slide {slide} is not known to have bounds")
    return (0, 0) if use == "off" or bounds is None else (bounds[0], bounds[1])


def read_text(path: Path) -> str:
    """Read a text in UTF-8 or, with a byte-order mark, UTF-16; also gzipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another encoding, or more than 1 GiB.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of labels, found none at {path}")
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        try:
            content = stream.read(MAX_TEXT_BYTES + 1)
        except (OSError, EOFError) as error:
            raise ValueError(f"{path}: not readable ({error})") from error
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"{path}: expected at most {MAX_TEXT_BYTES} bytes of text, got more")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got other bytes ({error}); save it as UTF-8") from None


def _is_collection(content: object) -> bool:
    return isinstance(content, list) or (isinstance(content, dict) and isinstance(content.get("features"), list))


def _items(content: object) -> Iterator[object]:
    if isinstance(content, dict) and not _is_collection(content):
        if content.get("type") == "Feature" or content.get("type") in _GEOMETRIES:
            yield content
        return
    if not _is_collection(content):
        return
    for item in content if isinstance(content, list) else content["features"]:
        if isinstance(item, dict) and item.get("type") == "FeatureCollection":
            yield from _items(item)
        else:
            yield item


def _feature(number: int, item: object) -> Feature:
    if not isinstance(item, dict):
        return Feature(number, None, None, "", {})
    if item.get("type") in _GEOMETRIES:
        return Feature(number, None, None, "", item)
    properties = item.get("properties") if isinstance(item.get("properties"), dict) else {}
    geometry = item.get("geometry")
    return Feature(
        number,
        _class_name(properties.get("classification")),
        _text(properties.get("name")),
        _text(properties.get("objectType")) or "",
        geometry if isinstance(geometry, dict) and isinstance(geometry.get("type"), str) else {},
        _colour(properties.get("classification")),
    )


def _class_name(found: object) -> str | None:
    if isinstance(found, dict):
        names = found.get("names")
        found = ": ".join(map(str, names)) if isinstance(names, list) and names else found.get("name")
    return _text(found)


def _colour(found: object) -> tuple[int, int, int] | None:
    colour = found.get("color") if isinstance(found, dict) else None
    is_colour = isinstance(colour, list) and len(colour) == 3
    if not is_colour or not all(isinstance(part, int) and 0 <= part < 256 for part in colour):
        return None
    return tuple(colour)


def _text(found: object) -> str | None:
    return found.strip() or None if isinstance(found, str) else None
