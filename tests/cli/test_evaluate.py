"""lsr evaluate cells, dots and regions: from files to tables, JSON, CSV and overlays."""

import sys

import numpy as np
import orjson
import pytest
from PIL import Image

from lsr_ext.cli import main as cli


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """Run a command in this process: its scores by image and class; where it fails, its exit code or message."""

    def run(*arguments, fails=False):
        monkeypatch.setattr(
            sys, "argv", ["lsr", "evaluate", *map(str, arguments), "--output", str(tmp_path / "out")]
        )
        with pytest.raises(SystemExit) as stop:
            cli.main()
        if fails:
            return stop.value.code
        assert stop.value.code == 0
        content = orjson.loads((tmp_path / "out" / "scores.json").read_bytes())
        return {(row.get("image", row.get("raters")), row["class"]): row for row in content["scores"]}

    return run


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    np.save(path, array) if path.suffix == ".npy" else Image.fromarray(array).save(path)
    return path


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def cells(tmp_path):
    """Two images with one region of each class: all dots hit in the first, none in the second."""
    label_map = np.zeros((20, 30), np.uint8)
    label_map[2:8, 2:8], label_map[10:15, 20:25] = 1, 2
    for name in ("one", "two"):
        save(tmp_path / "maps" / f"{name}.png", label_map)
        save(tmp_path / "images" / f"{name}.png", np.full((20, 30, 3), 200, np.uint8))
    write(tmp_path / "dots" / "one.csv", "x,y,class\n3.5,3.5,t\n4,6,t\n22,12,b\n")
    write(tmp_path / "dots" / "two.csv", "x,y,class\n15,3,t\n")
    return tmp_path


def test_cells(evaluate, cells, capsys):
    scores = evaluate(
        *("cells", cells / "maps", cells / "dots", "--class", "t=1", "--class", "b=2"),
        *("--images", cells / "images", "--resamples", 50),
    )
    assert scores["one", "t"]["recall"] == scores["one", "t"]["precision_region"] == 1
    assert scores["two", "t"]["recall"] == scores["two", "b"]["f1_region"] == 0
    assert scores["two", "b"]["recall"] is None
    whole = scores["all images", "t"]
    assert (whole["dots"], whole["dots_hit"], whole["regions"], whole["regions_hit"]) == (3, 2, 2, 1)
    assert whole["recall"] == whole["precision_dot_weighted"] == 2 / 3
    assert whole["precision_region"] == 1 / 2
    assert whole["recall_low"] == 0 and whole["recall_high"] == 1
    printed = capsys.readouterr().out
    assert "pooled" in printed and "scores.csv" in printed
    for name in ("one", "two"):
        with Image.open(cells / "out" / f"{name}.png") as overlay:
            assert overlay.width > 1000


def test_cells_of_one_image_and_one_class(evaluate, cells):
    dots = write(cells / "um.csv", "x_um,y_um\n1.6,1.6\n0.8,2\n")
    options = ("--pixel-size", 0.5, "--columns", "x_um,y_um,class,score", "--dilation-px", 1)
    scores = evaluate("cells", cells / "maps" / "one.png", dots, *options)
    assert scores["all images", "cell"]["dots_hit"] == 2
    assert "recall_low" in scores["all images", "cell"]
    assert scores["all images", "cell"]["recall_low"] is None


def test_detections_against_truth(evaluate, tmp_path):
    image = save(tmp_path / "image.png", np.full((40, 40, 3), 200, np.uint8))
    found = write(tmp_path / "found.csv", "x,y,class,score\n0,0,t,0.1\n4,0,t,0.9\n30,30,b,0.5\n")
    truth = write(tmp_path / "truth.txt", "x\ty\tclass\t\n3\t0\tt\t\n8\t0\tt\t\n")
    scores = evaluate("dots", found, truth, "--radius", 5, "--images", image)
    t = scores["all images", "t"]
    assert (t["tp"], t["fp"], t["fn"], t["f1"]) == (1, 1, 1, 0.5)
    assert scores["all images", "b"]["f1"] == 0
    assert (tmp_path / "out" / "found.png").is_file()
    assert evaluate("dots", found, truth, "--radius", 5, "--method", "optimal")["all images", "t"]["tp"] == 2


def test_three_raters(evaluate, tmp_path, capsys):
    for rater, x in (("ann", 0), ("bob", 3), ("cid", 50)):
        write(tmp_path / rater / "one.csv", f"x,y\n{x},0\n")
    scores = evaluate("dots", tmp_path / "ann", tmp_path / "bob", tmp_path / "cid", "--radius", 5)
    assert scores["mean of pairs", "cell"]["f1"] == pytest.approx(1 / 3)
    assert scores["mean of pairs", "average"]["f1"] == pytest.approx(1 / 3)
    assert scores[f"{tmp_path / 'ann'} / {tmp_path / 'bob'}", "cell"]["f1"] == 1
    assert "0.333" in capsys.readouterr().out


def test_regions(evaluate, tmp_path):
    truth = np.zeros((30, 40), np.uint8)
    truth[:, 20:] = 1
    pred = np.zeros((30, 40), np.uint8)
    pred[:, 22:] = 1
    paths = save(tmp_path / "pred.npy", pred), save(tmp_path / "truth.png", truth)
    image = save(tmp_path / "image.png", np.full((30, 40, 3), 200, np.uint8))
    options = ("--classes", "stroma,tumour", "--distance-px", 4, "--images", image)
    scores = evaluate("regions", *paths, *options)["all images", "tumour"]
    assert scores["iou"] == 18 / 20
    assert scores["masked_iou"] == scores["trimap_iou"] == 3 / 5  # columns 20 to 24 of the truth, 22 to 24 of both
    assert scores["boundary_iou"] == 3 / 7  # columns 20 to 24 against 22 to 26
    assert (tmp_path / "out" / "pred.png").is_file()


def test_sizes_that_differ_name_the_files(evaluate, tmp_path):
    paths = (
        save(tmp_path / "a.png", np.zeros((4, 5), np.uint8)),
        save(tmp_path / "b.png", np.zeros((4, 6), np.uint8)),
    )
    message = evaluate("regions", *paths, fails=True)
    assert message == f"lsr: {paths[0]} is 4 x 5 px, {paths[1]} 4 x 6 px"
    image = save(tmp_path / "c.png", np.zeros((4, 6, 3), np.uint8))
    dots = write(tmp_path / "d.csv", "x,y\n")
    message = evaluate("cells", paths[0], dots, "--images", image, fails=True)
    assert message == f"lsr: {image} is 4 x 6 px, {paths[0]} 4 x 5 px"


def test_bad_input_is_one_line_with_file_and_row(evaluate, tmp_path):
    label_map = save(tmp_path / "map.png", np.ones((4, 5), np.uint8))
    floats = save(tmp_path / "map.npy", np.zeros((4, 5)))
    dots = write(tmp_path / "dots.csv", "x,y\n1,1\n7,1\n")
    nan = write(tmp_path / "nan.csv", "x,y\n1,1\n1,nan\n")
    for arguments, message in (
        (("cells", label_map, dots), "dots.csv, row 3"),
        (("cells", label_map, nan), "nan.csv, row 3: expected a finite number as y, got 'nan'"),
        (("cells", floats, dots), "map.npy: expected integer class ids in a map, got float64"),
        (("cells", label_map, dots, "--class", "t=1"), "expected dots of the classes ('t',), got 'cell' in "),
        (("cells", label_map, dots, "--class", "t"), "--class: expected NAME=ID, got 't'"),
        (("cells", label_map, tmp_path / "none.csv"), "none.csv"),
        (("dots", dots), "expected two or more sets of dots, got one"),
        (("dots", dots, dots, dots, "--images", label_map), "images go with two sets of dots"),
        (("cells", label_map, dots, "--columns", "a,b"), "expected names of the columns x, y, class, score"),
        (("dots", dots, dots, "--radius", 0), "expected a radius above 0"),
        (("dots", dots, dots, "--radius", "nan"), "expected a radius above 0"),
        (("dots", dots, dots, "--method", "best"), "method must be one of"),
        (("regions", label_map, label_map, "--classes", "a"), "map.png: expected ids in [0, 1) in pred"),
        (("regions", label_map, label_map, "--distance-px", -1), "expected a distance_px of at least 0, got -1.0"),
    ):
        found = evaluate(*arguments, fails=True)
        assert message in found and found.startswith("lsr: ") and "\n" not in found
