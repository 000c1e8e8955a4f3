"""A slide's cells as a table: every connected region of a class is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from lsr_ext.files import remove_unfinished, written_whole
from lsr_ext.inference.exports.geojson import class_kinds, feature, write_features
from lsr_ext.inference.prediction import Prediction, open_prediction
from lsr_ext.metrics.region_table import find_regions

_NO_CELLS = ("background", "other")  # the names of what is left beside the classes of a cohort
SUFFIXES = (".csv", ".parquet", ".geojson", ".geojson.gz")


def export_cells(
    prediction: str | Path,
    output: str | Path,
    *,
    classes: Sequence[str] | None = None,
    min_area_um2: float = 0.0,
    qupath_bounds: str = "auto",
) -> int:
    """Write a row for each cell: class, centre, area and mean probability.

    A cell is what `lsr_ext.metrics.score_cells` counts as a detection: 8-connected pixels of one class.

    - `.csv` and `.parquet`: x, y (level-0 pixels), class, score (the mean probability of its class), area_um2.
      `lsr evaluate dots` reads the CSV.
    - `.geojson` and `.geojson.gz`: points for QuPath.

    Args:
        prediction: `NAME.zarr`, as `predict_slide` writes it.
        output: the file; its suffix chooses the format.
        classes: the names of the classes that are cells; None: all but those called background and other.
        min_area_um2: leave out smaller cells.
        qupath_bounds: of GeoJSON, as for `export_geojson`; tables count from the corner of level 0.

    Returns:
        The number of cells.

    Raises:
        FileNotFoundError: there is no such prediction.
        ValueError: another suffix, an unknown class, or an area below 0.
    """
    opened, output = open_prediction(prediction), Path(output)
    if not output.name.lower().endswith(SUFFIXES):
        raise ValueError(f"{output}: expected a file ending in {', '.join(SUFFIXES)}")
    cells = cell_table(opened, classes, min_area_um2)
    if ".geojson" in output.name.lower():
        return write_features(output, _points(cells, opened, np.array(opened.qupath_corner(qupath_bounds))))
    remove_unfinished(output.parent, f"{output.name}.")
    with written_whole(output) as temporary:
        writer = pa.csv.write_csv if output.suffix.lower() == ".csv" else pa.parquet.write_table
        writer(cells, temporary)
    return len(cells)


def cell_table(prediction: Prediction, classes: Sequence[str] | None, min_area_um2: float) -> pa.Table:
    """The cells as a table of x, y, class, score and area_um2; see `export_cells`.

    Raises:
        ValueError: as `export_cells` does.
    """
    if classes is None:
        classes = [name for name in prediction.classes if name not in _NO_CELLS]
    ids = prediction.class_ids(classes)
    pixel_um2 = prediction.mpp**2
    width = prediction.labels.shape[1]
    found = find_regions(
        prediction.labels,
        {prediction.classes[index]: index for index in ids},
        min_area_px=min_area_um2 / pixel_um2,
        values=lambda rows, labels: prediction.likelihood((rows, slice(0, width)), labels),
    )
    xy = found.xy * np.array(prediction.step)
    names = pa.DictionaryArray.from_arrays(pa.array(found.class_index, pa.int32()), list(found.classes))
    return pa.table(
        {
            "x": xy[:, 0].round(3),
            "y": xy[:, 1].round(3),
            "class": names.cast(pa.string()),
            "score": (found.mean / 255).round(6),
            "area_um2": (found.area_px * pixel_um2).round(6),
        }
    )


def _points(cells: pa.Table, prediction: Prediction, corner: np.ndarray) -> Iterator[dict[str, Any]]:
    kinds = {kind["name"]: kind for kind in class_kinds(prediction)}
    for x, y, name, score, area_um2 in zip(*(column.to_pylist() for column in cells.columns), strict=True):
        yield feature(
            {"type": "Point", "coordinates": [x - int(corner[0]), y - int(corner[1])]},
            kinds[name],
            "detection",
            {"area um2": area_um2, "mean probability": score},
        )
