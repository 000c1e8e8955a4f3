import json

import numpy as np
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
import shapely
from predictions import write_prediction
from typer.testing import CliRunner

from lsr_ext import CountDistribution
from lsr_ext.cli.main import app
from lsr_ext.data.cohort.manifest import make_table, write_table
from lsr_ext.inference.exports import fractions
from lsr_ext.inference.exports.fractions import export_fractions

NAMES = ("glass", "tumour")


@pytest.fixture
def maps():
    rng = np.random.default_rng(7)
    labels = rng.choice([0, 1, 255], (37, 53)).astype(np.uint8)
    probabilities = rng.integers(0, 256, (2, 37, 53), dtype=np.uint8) * (labels != 255)
    return labels, probabilities.astype(np.uint8)


@pytest.fixture
def prediction(maps, tmp_path):
    return write_prediction(tmp_path / "a.zarr", *maps, names=NAMES, bounds=[10, 6, 90, 60])


def check(row, labels, probabilities, inside):
    """Compare a row with what the pixels inside hold."""
    predicted = inside & (labels != 255)
    assert row["pixels"] == inside.sum()
    assert row["predicted"] == pytest.approx(predicted.sum() / inside.sum())
    for index, name in enumerate(NAMES):
        assert row[f"fraction {name}"] == pytest.approx((labels[predicted] == index).mean())
        assert row[f"probability {name}"] == pytest.approx(probabilities[index][predicted].mean() / 255)


def test_regions_are_measured_by_the_centres_of_pixels(maps, prediction, tmp_path, monkeypatch):
    monkeypatch.setattr(fractions, "_STRIP_PIXELS", 100)
    disc = shapely.Point(50, 36).buffer(25) - shapely.Point(52, 38).buffer(7)
    shape = shapely.transform(disc, lambda xy: xy - [10, 6])
    properties = {"classification": {"name": "high"}}
    feature = {"type": "Feature", "geometry": json.loads(shapely.to_geojson(shape)), "properties": properties}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    CountDistribution([[0.9, 0.1], [0.3, 0.7]], [[0.05, 0.05], [0.1, 0.2]], ["low", "high"], NAMES).save(
        tmp_path / "d.json"
    )
    arguments = ["export", "fractions", str(prediction), str(tmp_path / "a.csv")]
    arguments += ["--regions", str(tmp_path / "a.geojson"), "--distribution", str(tmp_path / "d.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    [row] = csv.read_csv(tmp_path / "a.csv").to_pylist()
    y, x = np.mgrid[:37, :53] * 2 + 1
    check(row, *maps, shapely.contains_xy(disc, x, y))
    assert (row["name"], row["label"]) == ("high", "high")
    assert (row["expected tumour"], row["std tumour"]) == (0.7, 0.2)


@pytest.mark.parametrize("grid_um", [4.0, 3.7])
def test_a_grid_covers_every_pixel_once(maps, prediction, tmp_path, monkeypatch, grid_um):
    monkeypatch.setattr(fractions, "_STRIP_PIXELS", 100)
    export_fractions(prediction, tmp_path / "a.parquet", grid_um=grid_um)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert sum(row["pixels"] for row in rows) == maps[0].size
    y, x = (np.mgrid[:37, :53] + 0.5) * 2
    for row in rows:
        down = (y >= row["y"]) & (y < row["y"] + row["height"])
        check(row, *maps, down & (x >= row["x"]) & (x < row["x"] + row["width"]))


def write_manifest(path, labels, classes=()):
    """Write a block of the slide, and one of another."""
    columns = {
        "slide": ["folder/a.tif", "folder/b.tif"],
        "patient": ["p", "p"],
        "x": [8, 0],
        "y": [4, 0],
        "width": [32, 32],
        "height": [32, 32],
        "mpp": [0.5, 0.5],
        "size_px": [16, 16],
        "label_source": ["mask", "mask"],
        "split": ["train", "train"],
        "tissue_fraction": [1.0, 1.0],
    }
    write_table(make_table(columns, np.array(labels)), path, ["low", "high"], list(classes), {})


def test_blocks_bring_their_labels(maps, prediction, tmp_path):
    write_manifest(tmp_path / "m.parquet", [1, 0])
    distribution = CountDistribution([[0.9, 0.1], [0.3, 0.7]], [[0.05, 0.05], [0.1, 0.2]], ["low", "high"], NAMES)
    count = export_fractions(
        prediction, tmp_path / "a.parquet", blocks=tmp_path / "m.parquet", distribution=distribution
    )
    [row] = pq.read_table(tmp_path / "a.parquet").to_pylist()
    inside = np.zeros(maps[0].shape, bool)
    inside[2:18, 4:20] = True
    check(row, *maps, inside)
    assert count == 1 and row["label"] == "high" and row["expected glass"] == 0.3


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (("tumour", "glass"), [[1, 0], [0, 0]], {"glass": 0.9, "tumour": 0.7}),
        (("glass", "tumour"), [[1, 0], [0, 0]], {"glass": 0.3, "tumour": 0.1}),
        (("tumour",), [[1], [0]], {"glass": None, "tumour": 0.7}),
        (("tumour", "glass"), [[-1, 0], [0, 0]], {"glass": 0.9, "tumour": None}),
    ],
)
def test_labels_of_a_class_go_by_its_name(prediction, tmp_path, classes, labels, expected):
    write_manifest(tmp_path / "m.parquet", labels, classes)
    distribution = CountDistribution([[0.9, 0.1], [0.3, 0.7]], [[0.05, 0.05], [0.1, 0.2]], ["low", "high"], NAMES)
    options = {"blocks": tmp_path / "m.parquet", "distribution": distribution}
    export_fractions(prediction, tmp_path / "a.parquet", **options)
    [row] = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert {name: row[f"expected {name}"] for name in NAMES} == expected


def test_labels_of_a_class_that_the_distribution_has_not_are_refused(prediction, tmp_path):
    write_manifest(tmp_path / "m.parquet", [[1, 0], [0, 0]], ("tumour", "fat"))
    distribution = CountDistribution([[0.9, 0.1], [0.3, 0.7]], [[0.05, 0.05], [0.1, 0.2]], ["low", "high"], NAMES)
    options = {"blocks": tmp_path / "m.parquet", "distribution": distribution}
    with pytest.raises(ValueError, match=r"expected labels of .*, got those of \['fat'\]"):
        export_fractions(prediction, tmp_path / "a.parquet", **options)


def test_bad_options_are_named(prediction, tmp_path):
    with pytest.raises(ValueError, match="expected exactly one of regions, blocks and a grid"):
        export_fractions(prediction, tmp_path / "a.csv")
    with pytest.raises(ValueError, match="expected a grid of at least one pixel"):
        export_fractions(prediction, tmp_path / "a.csv", grid_um=0.1)
    other = CountDistribution([[0.9, 0.1]], [[0.05, 0.05]], ["low"], ["fat", "glass"])
    with pytest.raises(ValueError, match="expected a distribution of"):
        export_fractions(prediction, tmp_path / "a.csv", grid_um=4, distribution=other)
    known = CountDistribution([[0.9, 0.1]], [[0.05, 0.05]], ["low"], NAMES)
    with pytest.raises(ValueError, match="the cells of a grid have no labels"):
        export_fractions(prediction, tmp_path / "a.csv", grid_um=4, distribution=known)
