"""A slide's regions as polygons that QuPath opens."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
from PIL import ImageColor

from lsr_ext.files import remove_unfinished, written_whole
from lsr_ext.inference.exports.outlines import outline_regions
from lsr_ext.inference.prediction import Prediction, open_prediction

OBJECT_TYPES = ("annotation", "detection", "tile", "cell")
_DECIMALS = 6


def export_geojson(
    prediction: str | Path,
    output: str | Path,
    *,
    tolerance_px: float = 1.0,
    min_area_um2: float = 0.0,
    classes: Sequence[str] | None = None,
    qupath_bounds: str = "auto",
    object_type: str = "annotation",
) -> int:
    """Write the regions of a prediction as GeoJSON, in level-0 pixels.

    A region is a set of 4-connected pixels of one class. Its polygon is valid, with holes; neighbours share their
    edges exactly, simplified or not. The area is that of the pixels, whatever the tolerance.

    Args:
        prediction: `NAME.zarr`, as `predict_slide` writes it.
        output: the file, `.geojson` or, compressed, `.geojson.gz`.
        tolerance_px: how far outlines may move from the pixels' edges, in pixels of the prediction; 0: not at all.
        min_area_um2: leave out smaller regions; their neighbours keep a hole there.
        classes: the names of the classes to write; None: all.
        qupath_bounds: subtract the corner of the slide's bounds: "auto": where QuPath crops to them; "on", "off".
        object_type: what QuPath makes of a polygon: "annotation", "detection", "tile" or "cell".

    Returns:
        The number of polygons.

    Raises:
        FileNotFoundError: there is no such prediction.
        ValueError: an unknown class or option, or a number below 0.
    """
    opened, output = open_prediction(prediction), Path(output)
    if object_type not in OBJECT_TYPES:
        raise ValueError(f"expected an object type of {', '.join(OBJECT_TYPES)}, got {object_type!r}")
    corner, pixel_um2 = np.array(opened.qupath_corner(qupath_bounds)), opened.mpp**2
    kinds = class_kinds(opened)
    regions = outline_regions(
        opened.labels,
        tolerance_px=tolerance_px,
        min_area_px=min_area_um2 / pixel_um2,
        wanted=set(opened.class_ids(classes)),
        values=opened.likelihood,
    )
    features = (
        polygon(
            [_to_level_0(ring, opened.step, corner) for ring in region.rings],
            kinds[region.class_id],
            object_type,
            {
                "area um2": round(region.area_px * pixel_um2, _DECIMALS),
                "mean probability": round(region.total / region.area_px / 255, _DECIMALS),
            },
        )
        for region in regions
    )
    return write_features(output, features)


def class_kinds(prediction: Prediction) -> list[dict[str, Any]]:
    """The classes of a prediction as QuPath reads them."""
    return [
        {"name": name, "color": ImageColor.getrgb(colour)}
        for name, colour in zip(prediction.classes, prediction.colours, strict=True)
    ]


def polygon(
    rings: list[np.ndarray], kind: dict[str, Any], object_type: str, measurements: dict[str, float]
) -> dict[str, Any]:
    """A polygon as QuPath reads it."""
    return feature({"type": "Polygon", "coordinates": rings}, kind, object_type, measurements)


def feature(
    geometry: dict[str, Any], kind: dict[str, Any], object_type: str, measurements: dict[str, float]
) -> dict[str, Any]:
    """A feature as QuPath reads it, of a class {name, color}."""
    properties = {"objectType": object_type, "classification": kind, "measurements": measurements}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write_features(output: Path, features: Iterator[dict[str, Any]]) -> int:
    """Write a collection, a feature a line, as they come; the same features give the same bytes.

    Returns:
        Their number.
    """
    count = 0
    remove_unfinished(output.parent, f"{output.name}.")
    with written_whole(output) as temporary, _opened(temporary) as file:
        file.write(b'{"type": "FeatureCollection", "features": [')
        for one in features:
            file.write(b",\n" if count else b"\n")
            file.write(orjson.dumps(one, option=orjson.OPT_SERIALIZE_NUMPY))
            count += 1
        file.write(b"\n]}\n")
    return count


def _to_level_0(ring: np.ndarray, step: tuple[float, float], corner: np.ndarray) -> np.ndarray:
    """Corners of pixels of the prediction, in pixels of level 0; whole numbers stay whole."""
    if all(float(one).is_integer() for one in step):
        return ring * np.array(step, np.int64) - corner
    return np.round(ring * np.array(step) - corner, _DECIMALS)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("wb") as file:
        if path.suffix != ".gz":
            yield file
            return
        # Neither name nor time, so that the same content is the same file.
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as compressed:
            yield compressed
