"""The classifier's command line: from images or slides with masks to a cohort's labels."""

import csv
import json
import sys

import numpy as np
import pytest
from PIL import Image
from slides import write_pyramid

from lsr_ext.baselines.patch_classifier import load_patch_classifier
from lsr_ext.cli import main as cli
from lsr_ext.data.cohort import read_manifest

SMALL = ["--depth", 10, "--epochs", 3, "--batch-size", 8, "--colour-jitter", 0.05, "--accelerator", "cpu"]


def lsr(monkeypatch, *arguments):
    """Run the command line in this process; its exit code, or its message to standard error."""
    monkeypatch.setattr(sys, "argv", ["lsr", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def half_dark(rows, columns, patch_px, seed):
    """Noisy patches, dark or light at random, and the mask of the dark ones."""
    rng = np.random.default_rng(seed)
    dark = rng.permutation(np.arange(rows * columns) % 2).reshape(rows, columns)
    mask = np.kron(dark, np.ones((patch_px, patch_px), np.uint8))
    pixels = np.where(mask[..., None], [110, 60, 130], [210, 130, 190]) + rng.normal(0, 8, (*mask.shape, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8), mask.astype(np.uint8)


def read_rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_from_slides_with_masks_to_the_labels_of_a_cohort(tmp_path, monkeypatch):
    slides, masks = tmp_path / "slides", tmp_path / "masks"
    slides.mkdir(), masks.mkdir()
    truth = {}
    for name, seed in (("a", 1), ("b", 2)):
        pixels, mask = half_dark(4, 6, 32, seed)
        write_pyramid(slides / f"{name}.tif", pixels)
        Image.fromarray(mask).save(masks / f"{name}.png")
        truth[f"{name}.tif"] = mask[::32, ::32]
    cut = ["--patch-px", 32, "--size-px", 16]
    recipe = ["--masks", masks, "--class", "tumour", *cut, "--merge", 1, "--edge", 0.5]
    shares = ["--share", "train=1", "--share", "validation=1"]
    patches, trained = tmp_path / "patches.parquet", tmp_path / "trained"
    assert lsr(monkeypatch, "cohort", "build", slides, patches, *recipe, *shares) == 0
    assert lsr(monkeypatch, "classifier", "train", patches, trained, *SMALL) == 0
    scores = json.loads((trained / "scores.json").read_text())
    assert scores == {"patches": 24, "positive": 12, "auc": 1.0, "accuracy": 1.0}
    settings = load_patch_classifier(trained / "classifier.ckpt").settings
    assert (settings.patch_px, settings.input_px, settings.colour_jitter) == (32, 16, 0.05)

    store = tmp_path / "store"
    assert lsr(monkeypatch, "cohort", "cut", patches, store) == 0
    assert lsr(monkeypatch, "classifier", "train", store, tmp_path / "again", *SMALL) == 0
    models = [load_patch_classifier(folder / "classifier.ckpt") for folder in (trained, tmp_path / "again")]
    assert models[0].digest() == models[1].digest()

    probabilities, merged = tmp_path / "probabilities.csv", tmp_path / "blocks.parquet"
    predict = ["classifier", "predict", trained / "classifier.ckpt", slides, probabilities]
    assert lsr(monkeypatch, *predict) == 0
    grids = {name: np.full((4, 6), np.nan) for name in truth}
    for row in read_rows(probabilities):
        grids[row["slide"]][int(row["y"]) // 32, int(row["x"]) // 32] = float(row["probability"])
    found, dark = (np.concatenate([table[name].ravel() for name in truth]) for table in (grids, truth))
    np.testing.assert_array_equal(found >= 0.5, dark == 1)

    bins = ["--merge", 2, "--edge", 0.3, "--edge", 0.5, "--edge", 0.7, "--share", "train=1"]
    assert lsr(monkeypatch, "cohort", "build", slides, merged, "--probabilities", probabilities, *cut, *bins) == 0
    for row in read_manifest(merged).table.to_pylist():
        x, y = row["x"] // 32, row["y"] // 32
        highest = grids[row["slide"].rsplit("/", 1)[1]][y : y + 2, x : x + 2].max()
        assert row["label"] == sum(highest >= edge for edge in (0.3, 0.5, 0.7))
    assert len(read_manifest(merged)) == 2 * 6

    assert "expected patches with the labels 0 and 1" in lsr(
        monkeypatch, "classifier", "train", merged, tmp_path / "other", *SMALL
    )


def test_from_a_folder_of_images_with_masks(tmp_path, monkeypatch, capsys):
    for seed in range(3):
        pixels, mask = half_dark(3, 4, 20, seed)
        Image.fromarray(pixels).save(tmp_path / f"{seed}.png")
        Image.fromarray(2 * mask).save(tmp_path / f"{seed}_mask.png")
    train = ["classifier", "train", tmp_path, tmp_path / "out", "--patch-px", 20, "--input-px", 16, *SMALL]
    assert "images need --masks and --patch-px" in lsr(monkeypatch, *train)
    train += ["--masks", tmp_path, "--positive", 2, "--validation", 0.34]
    assert lsr(monkeypatch, *train) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["patches"] == 12 and scores["positive"] == 6
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "1.png").rename(images / "1.png")
    output = tmp_path / "p.csv"
    predict = ["classifier", "predict", tmp_path / "out" / "classifier.ckpt", images, output, "--images"]
    assert lsr(monkeypatch, *predict) == 0
    rows = read_rows(output)
    assert [(row["slide"], int(row["x"]), int(row["y"])) for row in rows] == [
        ("1.png", x, y) for y in (0, 20, 40) for x in (0, 20, 40, 60)
    ]
    assert "12 patches of 1 images" in capsys.readouterr().out
    assert "expected a checkpoint" in lsr(monkeypatch, "classifier", "predict", tmp_path / "none", images, output)
