import json

import numpy as np
import pytest
import shapely
from predictions import random_map, write_prediction
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.inference.exports.geojson import export_geojson
from lsr_ext.metrics import boundary_iou, overlap_scores, score_cells
from lsr_ext.metrics.dot_set import DotSet
from lsr_ext.report.score_slides import score_slide_cells, score_slide_regions

NAMES = ("glass", "tumour", "stroma")


def value(sheet, name, label):
    [row] = [row for row in sheet.rows if row["image"] == "all images" and row["class"] == label]
    return row[name]


def write_truth(path, areas):
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(shape)),
            "properties": {"classification": kind and {"name": kind}},
        }
        for kind, shape in areas
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture
def maps():
    rng = np.random.default_rng(5)
    pair = np.kron(rng.integers(0, 3, (2, 7, 9)), np.ones((1, 8, 8))).astype(np.uint8)
    return pair[0], pair[1]


def test_scores_are_those_of_the_maps(maps, tmp_path):
    # The truth makes the way through polygons in level-0 pixels, counted from the corner of bounds.
    labels, truth = maps
    path = write_prediction(tmp_path / "a.zarr", labels, names=NAMES, bounds=[6, 2, 100, 90])
    true = write_prediction(tmp_path / "true.zarr", truth, names=NAMES, bounds=[6, 2, 100, 90])
    export_geojson(true, tmp_path / "a.geojson", tolerance_px=0)
    sheet = score_slide_regions(path, tmp_path / "a.geojson", tmp_path / "out", outside="glass", distance_px=3)
    expected, near = overlap_scores(labels, truth, 3), boundary_iou(labels, truth, 3, 3)
    for index, name in enumerate(NAMES):
        assert value(sheet, "iou", name) == pytest.approx(expected.iou[index])
        assert value(sheet, "dice", name) == pytest.approx(expected.dice[index])
        assert value(sheet, "boundary_iou", name) == pytest.approx(near.iou[index])
    assert (tmp_path / "out/scores.csv").is_file()


def test_pixels_without_truth_are_not_counted_and_those_not_predicted_are_missed(tmp_path):
    labels = np.array([[1, 1, 2, 255]], np.uint8)
    path = write_prediction(tmp_path / "a.zarr", labels, names=NAMES)
    # The first pixel has no truth; the others are tumour.
    truth = write_truth(tmp_path / "a.geojson", [("tumour", shapely.box(2, 0, 8, 2))])
    sheet = score_slide_regions(path, truth, tmp_path / "out")
    assert value(sheet, "iou", "tumour") == pytest.approx(1 / 3)
    assert value(sheet, "iou", "stroma") == 0
    assert np.isnan(value(sheet, "iou", "glass"))
    assert "boundary_iou" not in sheet.rows[0]


def test_truth_of_an_unknown_class_is_refused(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", np.zeros((4, 4), np.uint8), names=NAMES)
    for kind, found in (("fat", "'fat'"), (None, "no class")):
        truth = write_truth(
            tmp_path / "a.geojson", [("glass", shapely.box(0, 0, 1, 1)), (kind, shapely.box(0, 0, 2, 2))]
        )
        with pytest.raises(
            ValueError, match=f"area 2: expected one of the classes glass, tumour, stroma, got {found}"
        ):
            score_slide_regions(path, truth, tmp_path / "out")


def test_cells_are_scored_as_in_a_map(tmp_path):
    rng = np.random.default_rng(6)
    labels = random_map(rng, 60) % 3
    height, width = labels.shape
    path = write_prediction(tmp_path / "a.zarr", labels, names=NAMES, bounds=[4, 2, 90, 90])
    xy = rng.random((30, 2)) * [width, height]
    names = rng.choice(NAMES[1:], 30)
    points = [(name, shapely.Point(2 * x - 4, 2 * y - 2)) for name, (x, y) in zip(names, xy, strict=True)]
    dots = write_truth(tmp_path / "a.geojson", points)
    sheet = score_slide_cells(path, dots, tmp_path / "out")
    expected = score_cells(labels, DotSet(xy, names), {"tumour": 1, "stroma": 2})
    assert [value(sheet, "dots_hit", name) for name in NAMES[1:]] == expected.dots_hit.tolist()
    assert [value(sheet, "regions", name) for name in NAMES[1:]] == expected.regions.tolist()


@pytest.mark.parametrize(("suffix", "corner"), [(".csv", (0, 0)), (".txt", (4, 2)), (".tsv", (4, 2))])
def test_points_of_qupath_count_from_the_bounds_those_of_a_csv_from_the_slide(tmp_path, suffix, corner):
    labels = np.zeros((10, 10), np.uint8)
    labels[6, 7] = 1
    path = write_prediction(tmp_path / "a.zarr", labels, names=NAMES, bounds=[4, 2, 90, 90])
    separator = "," if suffix == ".csv" else "\t"
    rows = [("x", "y", "class"), (15 - corner[0], 13 - corner[1], "tumour")]
    dots = tmp_path / f"a{suffix}"
    dots.write_text("".join(separator.join(map(str, row)) + "\n" for row in rows))
    assert value(score_slide_cells(path, dots, tmp_path / "out"), "dots_hit", "tumour") == 1


def test_areas_outside_the_slide_are_refused(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", np.zeros((4, 4), np.uint8), names=NAMES, bounds=[6, 2, 2, 6])
    areas = [("glass", shapely.box(0, 0, 2, 2)), ("tumour", shapely.box(3, 0, 5, 2))]
    truth = write_truth(tmp_path / "a.geojson", areas)
    with pytest.raises(ValueError, match="area 2: expected areas on the slide, it lies outside"):
        score_slide_regions(path, truth, tmp_path / "out", outside="glass")
    score_slide_regions(path, truth, tmp_path / "out", outside="glass", qupath_bounds="off")


def test_options_that_would_change_nothing_are_refused(tmp_path):
    path = write_prediction(tmp_path / "a.zarr", np.zeros((4, 4), np.uint8), names=NAMES)
    truth = write_truth(tmp_path / "a.geojson", [("glass", shapely.box(0, 0, 2, 2))])
    np.save(tmp_path / "map.npy", np.zeros((4, 4), np.uint8))
    label_map = [tmp_path / "map.npy", tmp_path / "map.npy"]
    given = [
        ("cells", path, truth, "--class", "tumour=1"),
        ("cells", path, truth, "--pixel-size", "0.5"),
        ("cells", path, truth, "--images", truth),
        ("regions", path, truth, "--classes", "glass,tumour"),
        ("regions", path, truth, "--images", truth),
        ("regions", *label_map, "--outside", "foreground"),
        ("regions", *label_map, "--qupath-bounds", "off"),
        ("cells", *label_map, "--qupath-bounds", "off"),
    ]
    for arguments in given:
        result = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--output", str(tmp_path / "out")])
        assert result.exit_code == 2, arguments
        assert f"{arguments[3]} is an option of" in " ".join(result.output.split()), arguments


def test_the_commands_take_folders_of_predictions(maps, tmp_path):
    for name, labels in zip("ab", maps, strict=True):
        path = write_prediction(tmp_path / f"pred/{name}.zarr", labels, names=NAMES)
        (tmp_path / "truth").mkdir(exist_ok=True)
        export_geojson(path, tmp_path / f"truth/{name}.geojson", tolerance_px=0)
    arguments = [str(tmp_path / "pred"), str(tmp_path / "truth"), "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["evaluate", "regions", *arguments, "--outside", "glass"])
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "out/scores.json").read_bytes())["scores"]
    assert all(row["iou"] == 1 for row in scores)
