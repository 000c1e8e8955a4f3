import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr
from predictions import random_map, write_prediction
from scipy import ndimage
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.inference.exports.cells import export_cells
from lsr_ext.metrics import find_regions, read_dots


def expected_cells(labels, probabilities, ids):
    """(class id, x, y, area, mean) by scipy, sorted."""
    rows = []
    for index in ids:
        regions, count = ndimage.label(labels == index, np.ones((3, 3)))
        for number in range(1, count + 1):
            inside = regions == number
            y, x = ndimage.center_of_mass(inside)
            rows.append((index, x + 0.5, y + 0.5, inside.sum(), probabilities[index][inside].mean()))
    return np.array(sorted(rows)).reshape(-1, 5)


def test_regions_are_those_of_scipy(monkeypatch):
    rng = np.random.default_rng(0)
    monkeypatch.setattr("lsr_ext.metrics.region_table.strip_rows", lambda _: int(rng.integers(1, 9)))
    for _ in range(60):
        labels = random_map(rng)
        probabilities = rng.integers(0, 256, (4, *labels.shape), dtype=np.uint8)
        found = find_regions(
            labels,
            {"tumour": 1, "stroma": 2},
            values=lambda rows, strip, p=probabilities: np.where(strip == 1, p[1][rows], p[2][rows]),
        )
        table = np.column_stack([found.class_index + 1, found.xy, found.area_px, found.mean])
        expected = expected_cells(labels, probabilities, (1, 2))
        np.testing.assert_allclose(table[np.lexsort(table.T[::-1])], expected)


@pytest.fixture
def prediction(tmp_path):
    labels = np.zeros((20, 30), np.uint8)
    labels[2:6, 4:8] = 1
    labels[6, 8] = 1  # touches the corner of the first: one cell
    labels[10:13, 20:22] = 2
    probabilities = np.full((4, 20, 30), 51, np.uint8)
    probabilities[2] = 204
    return write_prediction(tmp_path / "a.zarr", labels, probabilities, bounds=[8, 4, 40, 30])


def test_a_cell_is_a_row(prediction, tmp_path):
    assert export_cells(prediction, tmp_path / "a.parquet", classes=["tumour", "stroma"]) == 2
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert rows[0]["class"] == "tumour" and rows[0]["area_um2"] == 17 * 0.25 and rows[0]["score"] == 0.2
    assert rows[1] == {"x": 42.0, "y": 23.0, "class": "stroma", "score": 0.8, "area_um2": 1.5}


def test_what_is_left_beside_the_classes_is_no_cell(tmp_path):
    labels = np.repeat(np.arange(4, dtype=np.uint8), 8).reshape(4, 8)
    path = write_prediction(tmp_path / "a.zarr", labels, np.full((4, 4, 8), 64, np.uint8))
    group = zarr.open_group(path, mode="r+")
    group.attrs["classes"] = ["other", "tumour", "background", "stroma"]
    assert export_cells(path, tmp_path / "a.parquet") == 2
    assert pq.read_table(tmp_path / "a.parquet")["class"].to_pylist() == ["tumour", "stroma"]


def test_the_table_is_a_set_of_dots(prediction, tmp_path):
    arguments = ["export", "cells", str(prediction), str(tmp_path / "a.csv"), "--class", "stroma"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "1 cells" in result.output
    dots = read_dots(tmp_path / "a.csv")
    assert dots.xy.tolist() == [[42.0, 23.0]] and dots.classes.tolist() == ["stroma"]
    assert dots.scores.tolist() == [0.8]


def test_points_for_qupath_count_from_the_bounds(prediction, tmp_path):
    assert export_cells(prediction, tmp_path / "a.geojson", min_area_um2=2, classes=["tumour", "stroma"]) == 1
    [point] = json.loads((tmp_path / "a.geojson").read_bytes())["features"]
    centre = (16 * np.array([5.5, 3.5]) + [8, 6]) / 17 + 0.5
    assert point["geometry"]["coordinates"] == pytest.approx(2 * centre - [8, 4], abs=1e-3)
    assert point["properties"]["classification"] == {"name": "tumour", "color": [17, 128, 64]}
    assert read_dots(tmp_path / "a.geojson").classes.tolist() == ["tumour"]


def test_bad_options_are_named(prediction, tmp_path):
    with pytest.raises(ValueError, match=r"expected a file ending in \.csv"):
        export_cells(prediction, tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match="got 'fat'"):
        export_cells(prediction, tmp_path / "a.csv", classes=["fat"])
