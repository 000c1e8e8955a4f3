import gzip
import json

import numpy as np
import pytest
import shapely
from predictions import write_prediction
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.inference.exports.geojson import export_geojson


@pytest.fixture
def labels():
    """A tumour of 4 x 3 pixels with a hole of one, a pixel of stroma, all else not predicted."""
    found = np.full((9, 12), 255, np.uint8)
    found[2:5, 3:7] = 1
    found[3, 4] = 255
    found[7, 10] = 2
    return found


def read(path):
    return json.loads(path.read_bytes())["features"]


def test_features_are_as_qupath_reads_them(labels, tmp_path):
    probabilities = np.zeros((4, 9, 12), np.uint8)
    probabilities[1], probabilities[2] = 204, 102
    path = write_prediction(tmp_path / "a.zarr", labels, probabilities)
    assert export_geojson(path, tmp_path / "a.geojson", tolerance_px=0) == 2
    tumour, stroma = read(tmp_path / "a.geojson")
    assert tumour["type"] == "Feature"
    assert tumour["properties"] == {
        "objectType": "annotation",
        "classification": {"name": "tumour", "color": [17, 128, 64]},
        "measurements": {"area um2": 11 * 0.25, "mean probability": 0.8},
    }
    shape = shapely.from_geojson(json.dumps(tumour["geometry"]))
    # Half a micron per pixel is two pixels of level 0.
    assert shape.equals(shapely.box(6, 4, 14, 10) - shapely.box(8, 6, 10, 8))
    assert shapely.from_geojson(json.dumps(stroma["geometry"])).bounds == (20, 14, 22, 16)
    assert stroma["properties"]["measurements"]["mean probability"] == 0.4


def test_qupath_counts_from_the_corner_of_the_bounds(labels, tmp_path):
    path = write_prediction(tmp_path / "a.zarr", labels, bounds=[5, 3, 10, 10])
    tops = {}
    for use in ("auto", "on", "off"):
        export_geojson(path, tmp_path / "a.geojson", qupath_bounds=use, classes=["stroma"], tolerance_px=0)
        [stroma] = read(tmp_path / "a.geojson")
        tops[use] = shapely.from_geojson(json.dumps(stroma["geometry"])).bounds[:2]
    assert tops == {"auto": (15, 11), "on": (15, 11), "off": (20, 14)}
    plain = write_prediction(tmp_path / "b.zarr", labels)
    with pytest.raises(ValueError, match=r"the slide b\.tif is not known to have bounds"):
        export_geojson(plain, tmp_path / "b.geojson", qupath_bounds="on")


def test_an_uneven_resolution_keeps_places(labels, tmp_path):
    path = write_prediction(tmp_path / "a.zarr", labels, mpp=0.5, slide_mpp=0.2523)
    export_geojson(path, tmp_path / "a.geojson", classes=["stroma"], tolerance_px=0)
    [stroma] = read(tmp_path / "a.geojson")
    expected = np.array([10, 7, 11, 8]) * 0.5 / 0.2523
    assert shapely.from_geojson(json.dumps(stroma["geometry"])).bounds == pytest.approx(expected, abs=1e-6)


def test_the_command_writes_compressed_files_that_are_the_same_twice(labels, tmp_path):
    path = write_prediction(tmp_path / "a.zarr", labels)
    for name in ("one.geojson.gz", "two.geojson.gz"):
        arguments = [
            "export",
            "geojson",
            str(path),
            str(tmp_path / name),
            "--min-area-um2",
            "1",
            "--tolerance-px",
            "0",
        ]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0 and "1 polygon" in result.output
    one, two = (tmp_path / name for name in ("one.geojson.gz", "two.geojson.gz"))
    assert one.read_bytes() == two.read_bytes()
    assert len(json.loads(gzip.decompress(one.read_bytes()))["features"]) == 1


def test_bad_options_are_named(labels, tmp_path):
    path = write_prediction(tmp_path / "a.zarr", labels)
    with pytest.raises(ValueError, match="expected one of the classes glass, tumour, stroma, necrosis, got 'fat'"):
        export_geojson(path, tmp_path / "a.geojson", classes=["fat"])
    with pytest.raises(ValueError, match="expected an object type of annotation"):
        export_geojson(path, tmp_path / "a.geojson", object_type="polygon")
    with pytest.raises(FileNotFoundError, match="expected a prediction"):
        export_geojson(tmp_path / "none.zarr", tmp_path / "a.geojson")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected a prediction of a slide"):
        export_geojson(tmp_path / "empty", tmp_path / "a.geojson")
    assert not (tmp_path / "a.geojson").exists()
