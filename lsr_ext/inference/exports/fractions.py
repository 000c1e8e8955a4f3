"""How much of each class a slide's areas hold: annotated regions, labelled blocks, or the cells of a grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import shapely

from lsr_ext.data.annotation_map import Annotation, AnnotationMap, read_areas
from lsr_ext.data.cohort.manifest import read_manifest
from lsr_ext.distributions import CountDistribution
from lsr_ext.files import written_whole
from lsr_ext.inference.prediction import Prediction, open_prediction
from lsr_ext.progress import track_progress

_STRIP_PIXELS = 2**22
Row = dict[str, Any]


class Area(NamedTuple):
    """A part of a slide, in level-0 pixels, with its name and its low-resolution label, if it has one.

    `labels` is one name for all classes, or a name by class; None: unknown.
    """

    name: str
    labels: str | Mapping[str, str | None] | None
    shape: shapely.Geometry


def export_fractions(
    prediction: str | Path,
    output: str | Path,
    *,
    regions: str | Path | None = None,
    blocks: str | Path | None = None,
    grid_um: float | None = None,
    distribution: CountDistribution | None = None,
    qupath_bounds: str = "auto",
) -> int:
    """Write the class fractions of areas of a slide, a row each.

    A pixel belongs to an area if its centre does. The columns are name, label, x, y, width, height (the area's
    bounds in level-0 pixels), pixels, predicted (the share of them that was predicted) and, for each class, of the
    predicted pixels, `fraction` (the share of the class) and `probability` (the mean probability). With a
    distribution, areas with a label also have `expected` and `std` of each class.

    Args:
        prediction: `NAME.zarr`, as `predict_slide` writes it.
        output: the file, `.csv` or `.parquet`.
        regions: GeoJSON of areas; the label is the class of an area, or its name if it has none.
        blocks: the manifest of a cohort: the blocks of this slide and their labels.
        grid_um: the side of the cells of a grid over the slide; cells without a predicted pixel are left out.
        distribution: of the labels; its classes must be among the prediction's.
        qupath_bounds: whether GeoJSON counts from the corner of the slide's bounds: "auto", "on" or "off".

    Returns:
        The number of rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not exactly one of `regions`, `blocks` and `grid_um`, no area, blocks of several slides of this
            name, a distribution of other classes, without a label or for a grid, or an unknown suffix.
    """
    opened, output = open_prediction(prediction), Path(output)
    if sum(source is not None for source in (regions, blocks, grid_um)) != 1:
        raise ValueError("expected exactly one of regions, blocks and a grid")
    if output.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"{output}: expected a file ending in .csv or .parquet")
    if distribution is not None and not set(distribution.classes) <= set(opened.classes):
        raise ValueError(f"expected a distribution of {opened.classes}, got one of {list(distribution.classes)}")
    if grid_um is not None and distribution is not None:
        raise ValueError("expected no distribution: the cells of a grid have no labels to compare with it")
    if grid_um is not None:
        rows = list(_grid_rows(opened, grid_um))
    else:
        areas = _annotated(opened, regions, qupath_bounds) if regions else _blocks(opened, blocks)
        if not areas:
            raise ValueError(f"{regions}: expected areas, found none")
        rows = [_row(opened, area) for area in track_progress(areas, "measuring areas")]
        if distribution is not None:
            rows = [
                row | _expected(area, distribution, opened.classes) for row, area in zip(rows, areas, strict=True)
            ]
    with written_whole(output) as temporary:
        writer = pa.csv.write_csv if output.suffix.lower() == ".csv" else pa.parquet.write_table
        writer(pa.Table.from_pylist(rows), temporary)
    return len(rows)


def _annotated(prediction: Prediction, path: str | Path, qupath_bounds: str) -> list[Area]:
    areas = []
    for number, area in enumerate(read_areas(path, prediction.qupath_corner(qupath_bounds)), start=1):
        areas.append(Area(area.kind or str(number), area.kind, area.shape))
    return areas


def _blocks(prediction: Prediction, path: str | Path) -> list[Area]:
    """The blocks of the prediction's slide."""
    manifest = read_manifest(path)
    names = np.array([*manifest.label_names, None], object)  # -1, the last one, is unknown
    areas = []
    for index in manifest.rows_of_slide(prediction.about["slide"]):
        x, y, width, height = manifest.rectangles[index].tolist()
        labels = names[manifest.labels[index]]
        areas.append(
            Area(
                f"{x},{y}",
                dict(zip(manifest.classes, labels, strict=True)) if manifest.classes else labels,
                shapely.box(x, y, x + width, y + height),
            )
        )
    return areas


def _expected(area: Area, distribution: CountDistribution, classes: Sequence[str]) -> Row:
    """The label's mean and standard deviation of each class; None where the label is unknown."""
    row: Row = {}
    by_class = (
        area.labels if isinstance(area.labels, Mapping) else dict.fromkeys(distribution.classes, area.labels)
    )
    if unknown := sorted(set(by_class) - set(distribution.classes)):
        raise ValueError(f"{area.name}: expected labels of {distribution.classes}, got those of {unknown}")
    for index, name in enumerate(distribution.classes):
        label = by_class.get(name)
        if label is not None and label not in distribution.labels:
            raise ValueError(f"{area.name}: expected one of the labels {distribution.labels}, got {label!r}")
        for column, table in (("expected", distribution.mean), ("std", distribution.std)):
            row[f"{column} {name}"] = (
                None if label is None else float(table[distribution.labels.index(label), index])
            )
    return row


def _row(prediction: Prediction, area: Area) -> Row:
    """Measure an area, strip by strip."""
    step, (height, width) = prediction.step, prediction.labels.shape
    left, top, right, bottom = area.shape.bounds / np.array([*step, *step])
    left, right = max(int(left), 0), min(int(right) + 1, width)
    drawn = AnnotationMap([Annotation("area", area.shape)], {"area": 1}, (height, width), step, outside=0)
    counts = np.zeros(256, np.int64)
    totals = np.zeros(len(prediction.classes))
    rows = max(_STRIP_PIXELS // max(right - left, 1), 1)
    for first in range(max(int(top), 0), min(int(bottom) + 1, height), rows):
        place = slice(first, min(first + rows, int(bottom) + 1, height)), slice(left, right)
        inside = drawn[place] == 1
        labels = np.asarray(prediction.labels[place])[inside]
        counts += np.bincount(labels, minlength=256)
        totals += np.asarray(prediction.probabilities[(slice(None), *place)])[:, inside].sum(1, dtype=np.float64)
    x, y, x_end, y_end = area.shape.bounds
    label = (
        "|".join(one or "" for one in area.labels.values()) if isinstance(area.labels, Mapping) else area.labels
    )
    about = {"name": area.name, "label": label, "x": x, "y": y, "width": x_end - x, "height": y_end - y}
    return about | _shares(prediction.classes, int(counts.sum()), counts[: len(totals)], totals)


def _shares(classes: Sequence[str], pixels: int, counts: np.ndarray, totals: np.ndarray) -> Row:
    """The columns of fractions; None if nothing was predicted."""
    predicted = int(counts.sum())
    row: Row = {"pixels": pixels, "predicted": predicted / pixels if pixels else None}
    for column, values in (("fraction", counts), ("probability", totals / 255)):
        for name, value in zip(classes, values.tolist(), strict=True):
            row[f"{column} {name}"] = value / predicted if predicted else None
    return row


def _grid_rows(prediction: Prediction, grid_um: float) -> Iterator[Row]:
    """The cells of a grid with any predicted pixel, row by row."""
    if not prediction.mpp <= grid_um < float("inf"):
        raise ValueError(f"expected a grid of at least one pixel of {prediction.mpp:g} um, got {grid_um:g} um")
    side_px = grid_um / prediction.mpp
    height, width = prediction.labels.shape
    # A pixel is in the cell that holds its centre.
    down, across = (np.ceil(np.arange(0, size, side_px) - 0.5).astype(int) for size in (height, width))
    down, across = down[down < height], across[across < width]
    for row, top in track_progress(list(enumerate(down.tolist())), "measuring the grid"):
        bottom = down[row + 1] if row + 1 < len(down) else height
        counts, totals = _sums(prediction, top, int(bottom), across)
        pixels = (bottom - top) * np.diff([*across, width])
        for column in np.flatnonzero(counts.sum(0)).tolist():
            corner = np.array([column, row]) * side_px * prediction.step
            size = side_px * np.array(prediction.step)
            about = {"name": f"{row},{column}", "label": None, "x": corner[0], "y": corner[1]}
            about |= {"width": size[0], "height": size[1]}
            yield about | _shares(
                prediction.classes, int(pixels[column]), counts[:, column], totals[:, column].astype(float)
            )


def _sums(prediction: Prediction, top: int, bottom: int, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of each class and sums of its probabilities, by column of the grid: (L, cells)."""
    width, count = prediction.labels.shape[1], len(prediction.classes)
    counts, totals = np.zeros((count, width), np.int64), np.zeros((count, width), np.int64)
    rows = max(_STRIP_PIXELS // width, 1)
    for first in range(top, bottom, rows):
        place = slice(first, min(first + rows, bottom))
        labels = np.asarray(prediction.labels[place])
        for index in range(count):
            counts[index] += (labels == index).sum(0)
            totals[index] += np.asarray(prediction.probabilities[index, place]).sum(0, dtype=np.int64)
    return np.add.reduceat(counts, across, 1), np.add.reduceat(totals, across, 1)
