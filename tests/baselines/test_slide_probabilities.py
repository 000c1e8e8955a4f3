"""Probabilities of the patches of slides and images, and the CSV of them."""

import csv

import numpy as np
import pytest
import torch
from cohorts import corrupt_tiles
from slides import area_average, tissue_like, write_pyramid

from lsr_ext.baselines.patch_classifier import ClassifierSettings, PatchClassifier, classify_patches
from lsr_ext.baselines.slide_probabilities import predict_slide, predict_slides, write_probabilities
from lsr_ext.data.cohort import PatchProbabilities, QuarantineLimitError, list_slides
from lsr_ext.data.cohort.grid import Grid
from lsr_ext.wsi import open_slide


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PatchClassifier(ClassifierSettings(patch_px=32, input_px=16, depth=10)).eval()


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("mpp", "side"), [(0.25, 32), (0.5, 16)])
def test_patches_are_counted_at_40x(tmp_path, model, mpp, side):
    pixels = tissue_like(70, 100)
    write_pyramid(tmp_path / "a.tif", pixels, compression="deflate", mpp=mpp)
    rectangles, probabilities = predict_slide(model, open_slide(tmp_path / "a.tif"), 32)
    corners = [(x, y) for y in range(0, 70 - side + 1, side) for x in range(0, 100 - side + 1, side)]
    assert rectangles.tolist() == [[x, y, side, side] for x, y in corners]
    assert probabilities.dtype == np.float32
    read = [np.rint(area_average(pixels, x, y, side / 16, 16, 16)).astype(np.uint8) for x, y in corners]
    assert probabilities == pytest.approx(classify_patches(model, read), abs=0.02)
    assert np.corrcoef(probabilities, classify_patches(model, read))[0, 1] > 0.99


def test_the_csv_says_what_was_predicted_and_parts_are_used_again(tmp_path, model):
    for name in ("a", "b"):
        write_pyramid(tmp_path / f"{name}.tif", tissue_like(64, 96, seed=ord(name)))
    output = tmp_path / "p.csv"
    assert predict_slides(model, list_slides(tmp_path), output) == {}
    rows, source = read_rows(output), PatchProbabilities(output)
    assert len(rows) == 2 * 6
    for name in ("a", "b"):
        path = tmp_path / f"{name}.tif"
        _, probabilities = predict_slide(model, open_slide(path), 32)
        of_slide = [float(row["probability"]) for row in rows if row["slide"] == path.name]
        assert np.array_equal(np.float32(of_slide), probabilities)
        np.testing.assert_allclose(source.values(path, (96, 64), Grid(32, 2, 3), None)[:, 0], of_slide)
    parts = {part: part.stat().st_mtime_ns for part in (tmp_path / "p.csv.parts").iterdir()}
    content = output.read_bytes()
    output.unlink()
    predict_slides(model, list_slides(tmp_path), output)
    assert output.read_bytes() == content
    assert {part: part.stat().st_mtime_ns for part in (tmp_path / "p.csv.parts").iterdir()} == parts
    predict_slides(model, list_slides(tmp_path), output, patch_px=16)
    assert len(read_rows(output)) == 2 * 24


def test_a_slide_that_cannot_be_read_is_left_out(tmp_path, model):
    for i in range(3):
        write_pyramid(tmp_path / f"{i}.tif", tissue_like(64, 64, seed=i))
    corrupt_tiles(tmp_path / "1.tif")
    (tmp_path / "2.tif").write_bytes(b"II*\0no slide")
    left_out = predict_slides(model, list_slides(tmp_path), tmp_path / "p.csv", limit=0.7)
    assert {path.rsplit("/", 1)[1] for path in left_out} == {"1.tif", "2.tif"}
    assert all("CorruptSlideError" in reason for reason in left_out.values())
    assert {row["slide"] for row in read_rows(tmp_path / "p.csv")} == {"0.tif"}
    with pytest.raises(QuarantineLimitError, match=r"1 of 3 slides left out, more than the limit of 30\.00%"):
        predict_slides(model, list_slides(tmp_path), tmp_path / "p.csv", limit=0.3)


def test_images_have_rows_of_the_same_form(tmp_path):
    first, second = np.float32([[0.1, 0.25, np.nan]]), np.float32([[1 / 3], [1]])
    write_probabilities(tmp_path / "p.csv", ["a, b.png", "c.png"], [first, second], 20)
    rows = [
        (r["slide"], int(r["x"]), int(r["y"]), np.float32(r["probability"])) for r in read_rows(tmp_path / "p.csv")
    ]
    assert rows == [
        ("a, b.png", 0, 0, np.float32(0.1)),
        ("a, b.png", 20, 0, np.float32(0.25)),
        ("c.png", 0, 0, np.float32(1 / 3)),
        ("c.png", 0, 20, np.float32(1)),
    ]
    with pytest.raises(ValueError, match="expected 2 distinct names"):
        write_probabilities(tmp_path / "p.csv", ["a", "a"], [first, second], 20)
