"""Each table's command on real data, for a few steps: numbers that other code computes from the files."""

import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from scipy import ndimage
from skimage.io import imread

from lsr_ext.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"
DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [pytest.mark.long, pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")]


def fill(table, example, output, monkeypatch, *rows, seeds=1, steps=2):
    """Run the command with these rows; what its JSON holds of each run."""
    named = [part for row in rows for part in ("--row", row)]
    given = ["experiment", table, str(EXAMPLES / example), "--output", str(output), "--steps", str(steps)]
    monkeypatch.setattr(sys, "argv", ["lsr", *given, "--seeds", str(seeds), "--workers", "2", *named])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return [orjson.loads(path.read_bytes()) for path in sorted(output.rglob("run.json"))]


def test_table4_land_cover(tmp_path, monkeypatch):
    rows = ("Low resolution model", "Intra+inter-instance")
    (run,) = fill("table4", "land_cover.yaml", tmp_path, monkeypatch, *rows)
    mean = np.loadtxt(DATA / "landcover_chesapeake/tables/nlcd_mu.txt")
    row_of = dict(np.loadtxt(DATA / "landcover_chesapeake/tables/nlcd_to_lr_labels.txt", dtype=int).tolist())
    hits = union = 0
    for path in sorted((DATA / "landcover_chesapeake/val_patches").glob("*.npz")):
        channels = np.load(path)["arr_0"][0].astype(int)
        likeliest = np.vectorize(lambda code: mean[row_of[code]].argmax())(channels[9])
        forest, truth = likeliest == 1, channels[8] == 2
        hits += (forest & truth).sum()
        union += (forest | truth).sum()
    assert run["scores"]["low_resolution"]["per_class"]["forest"]["iou"] == pytest.approx(hits / union)


def cells_by_hand(found, truth, classes, min_area_px):
    """Mean over classes of F1 by Eq. 12 and 13, with scipy's regions; dots are the centres of true regions."""
    scores = []
    for c in classes:
        dots = regions = dots_hit = regions_hit = 0
        for label_map, mask in zip(found, truth, strict=True):
            detected, _ = ndimage.label(label_map == c, np.ones((3, 3)))
            large = np.bincount(detected.ravel()) >= min_area_px
            detected[~large[detected]] = 0
            count = len(np.unique(detected)) - 1
            cells, number = ndimage.label(mask == c)
            centres = np.floor(np.array(ndimage.center_of_mass(mask == c, cells, range(1, number + 1))) + 0.5)
            at = detected[tuple(centres.astype(int).T)] if number else np.zeros(0, int)
            dots, regions = dots + number, regions + count
            dots_hit += (at > 0).sum()
            regions_hit += len(np.unique(at[at > 0]))
        precision, recall = regions_hit / max(regions, 1), dots_hit / max(dots, 1)
        scores.append(2 * precision * recall / max(precision + recall, 1e-12))
    return np.mean(scores)


def test_table3_ki67(tmp_path, monkeypatch):
    folder = DATA / "ihc_ki67_deepliif"
    rows = ("Color separation via L2", "high res")
    (run,) = fill("table3", "ki67.yaml", tmp_path, monkeypatch, *rows)
    config = run["config"]
    stains, min_area = config["data"]["stains"], config["evaluation"]["min_area_px"]
    colours = np.array([stains[name] for name in ("background", "positive", "negative")], float)
    found, truth = [], []
    for name in ("22_2", "6_2"):
        image = imread(folder / f"images/{name}.png")[..., :3].astype(float)
        image = np.rint(image.reshape(256, 2, 256, 2, 3).mean((1, 3)))
        found.append(np.linalg.norm(image[..., None, :] - colours, axis=-1).argmin(-1))
        painted = imread(folder / f"masks/{name}.png")[..., :3].astype(int)[1::2, 1::2]
        nearest = np.array([[0, 0, 0], [0, 255, 0], [255, 0, 0], [0, 0, 255]])
        kind = np.linalg.norm(painted[..., None, :] - nearest, axis=-1).argmin(-1)
        truth.append(np.array([0, 0, 1, 2])[kind])
    assert run["scores"]["l2"]["f1"] == pytest.approx(cells_by_hand(found, truth, (1, 2), min_area), abs=0.02)


def test_table4_ki67_nuclei(tmp_path, monkeypatch):
    (run,) = fill("table4", "ki67_nuclei.yaml", tmp_path, monkeypatch, "Full pixel supervision", steps=30)
    with np.load(next(tmp_path.rglob("prediction.npz"))) as prediction:
        found = prediction["classes"].reshape(2, 4, 4, 64, 64).swapaxes(2, 3).reshape(2, 256, 256) == 1
    masks = [imread(DATA / f"ihc_ki67_deepliif/masks/{name}.png")[..., :3] for name in ("22_2", "6_2")]
    nuclei = np.stack([mask[1::2, 1::2].max(-1) > 127 for mask in masks])
    expected = (found & nuclei).sum() / (found | nuclei).sum()
    assert expected > 0.2
    assert run["scores"]["supervised"]["iou"] == pytest.approx(expected, abs=0.005)


def test_table5_and_9_ki67(tmp_path, monkeypatch):
    runs = fill("table5", "ki67.yaml", tmp_path, monkeypatch, "Intra+inter-instance, alpha = 0.4")
    assert [run["config"]["loss"]["alpha"] for run in runs] == [0.4]
    runs += fill("table9", "ki67.yaml", tmp_path, monkeypatch, "Model trained with limited high-res supervision")
    assert {tuple(run["config"]["methods"]) for run in runs} == {("intra+inter",), ("limited",)}
    # By the likeliest class of their labels all blocks are background, of which the IoU is its share.
    masks = [imread(DATA / f"ihc_ki67_deepliif/masks/{name}.png")[..., :3].astype(int) for name in ("22_2", "6_2")]
    cells = [np.maximum(mask[..., 0], mask[..., 2])[1::2, 1::2] > 127 for mask in masks]
    expected = 1 - np.mean(cells)
    for run in runs:
        low = run["scores"]["low_resolution"]["per_class"]
        assert low["background"]["iou"] == pytest.approx(expected, abs=0.005)
        assert low["positive"]["iou"] == low["negative"]["iou"] == 0
