"""lsr baseline: from images, slides and tables of labels to maps of class ids."""

import sys

import ki67
import numpy as np
import pytest
import slides
import zarr
from PIL import Image

from lsr_ext.baselines import StainSet, l2_map
from lsr_ext.cli import main as cli
from lsr_ext.data import read_mask

MULTIPLEX = StainSet.preset("multiplex")


@pytest.fixture
def baseline(monkeypatch, tmp_path):
    """Run a command in this process, its output in tmp_path / "out"; its exit code or message."""

    def run(*arguments):
        arguments = [*map(str, arguments), "--output", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", ["lsr", "baseline", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code

    return run


@pytest.fixture
def images(tmp_path):
    """Two images of a square of each stain of the paper, 20 px wide, on white; and the true map."""
    (tmp_path / "images").mkdir()
    truth = np.zeros((60, 200), np.uint8)
    for stain in range(5):
        truth[20:40, 40 * stain + 5 : 40 * stain + 25] = stain + 1
    colours = np.vstack([MULTIPLEX.background_rgb, MULTIPLEX.rgb]).astype(np.uint8)
    for name in ("one", "two"):
        Image.fromarray(colours[truth]).save(tmp_path / "images" / f"{name}.png")
    return tmp_path / "images", truth


@pytest.mark.parametrize("command", ["deconvolve", "separate"])
def test_maps_of_a_folder(baseline, images, tmp_path, capsys, command):
    folder, truth = images
    assert baseline(command, folder, "--overlay") == 0
    for name in ("one", "two"):
        assert np.array_equal(read_mask(tmp_path / "out" / f"{name}.png"), truth)
        with Image.open(tmp_path / "out" / "overlays" / f"{name}.png") as overlay:
            assert overlay.width > 1000
    printed = capsys.readouterr().out
    assert "CD16" in printed and "83.33" in printed and printed.count("3.33") >= 12


def test_options_reach_the_methods(baseline, images, tmp_path):
    folder, _ = images
    assert baseline("deconvolve", folder / "one.png", "--threshold", 10) == 0
    assert not read_mask(tmp_path / "out" / "one.png").any()
    stains = tmp_path / "stains.yaml"
    stains.write_text("red: [190, 50, 60]\n")
    assert baseline("separate", folder / "one.png", "--stains", stains, "--max-distance", 20) == 0
    found = read_mask(tmp_path / "out" / "one.png")
    assert (found == 1).sum() == 400 and (found[20:40, 45:65] == 1).all()


def test_pseudo_labels_of_blocks(baseline, images, tmp_path):
    folder, truth = images
    labels = tmp_path / "labels.csv"
    labels.write_text("image,CD20,CD16,CD3,CD4,CD8\none.png,1,0,0,0,-1\ntwo.png,0,1,0,0,1\n")
    assert baseline("pseudo-labels", folder, labels, "--background", 0.01) == 0
    for name, high in (("one", {2}), ("two", {1, 5})):
        marked = read_mask(tmp_path / "out" / f"{name}.png")
        ids, counts = np.unique(marked, return_counts=True)
        # Half a percent of 12,000 pixels for each class, one percent of background.
        expected = {0: 120, 255: 12_000 - 120 - 60 * len(high)} | dict.fromkeys(high, 60)
        assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == expected
        assert np.array_equal(marked[marked < 255], truth[marked < 255])


def test_slides_become_zarr(baseline, tmp_path):
    pixels = slides.tissue_like(300, 1200)
    slides.write_pyramid(tmp_path / "slide.tif", pixels, compression=None, mpp=0.5)
    (tmp_path / "stains.yaml").write_text("pink: [220, 120, 190]\npurple: [120, 60, 150]\n")
    arguments = ("separate", tmp_path / "slide.tif", "--stains", tmp_path / "stains.yaml", "--mpp", 0.5)
    for _ in range(2):  # the second takes the first one's place
        assert baseline(*arguments) == 0
    found = zarr.open(str(tmp_path / "out" / "slide.zarr"), mode="r")
    expected = l2_map(pixels, StainSet.load(tmp_path / "stains.yaml"))
    assert np.array_equal(found[:], expected) and 0 < (expected == 1).mean() < 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["slide.zarr"]


@pytest.mark.skipif(not slides.REAL.is_dir(), reason="needs ../shared/data")
def test_a_real_slide(baseline, tmp_path, capsys):
    path = slides.REAL / "CMU-1-Small-Region.svs"
    assert baseline("separate", path, "--stains", "h-dab", "--mpp", 2) == 0
    found = zarr.open(str(tmp_path / "out" / "CMU-1-Small-Region.zarr"), mode="r")
    # 2,220 x 2,967 px of 0.499 um.
    assert found.shape == (740, 553) and "CMU-1-Small-Region" in capsys.readouterr().out


@pytest.mark.skipif(not ki67.REAL.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize(("command", "least"), [("deconvolve", 0.72), ("separate", 0.87)])
def test_maps_of_real_tiles(baseline, tmp_path, command, least):
    assert baseline(command, ki67.REAL / "images", "--stains", "h-dab") == 0
    image, truth = ki67.read_tiles()[0]
    found = read_mask(tmp_path / "out" / "22_2.png")
    assert found.shape == image.shape[:2] and ki67.f1(found == 1, truth) > least


@pytest.mark.skipif(not ki67.REAL.is_dir(), reason="needs ../shared/data")
def test_pseudo_labels_of_real_tiles(baseline, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("image,DAB\n22_2.png,1\n799_2.png,0\n")
    assert baseline("pseudo-labels", ki67.REAL / "images", labels, "--stains", "h-dab") == 0
    _, truth = ki67.read_tiles()[0]
    marked = read_mask(tmp_path / "out" / "22_2.png")
    assert (marked == 1).sum() == 1311 and truth[marked == 1].mean() > 0.95
    assert not (read_mask(tmp_path / "out" / "799_2.png") == 1).any()


def test_what_is_refused(baseline, images, tmp_path):
    folder, _ = images
    assert "expected stains: multiplex, multiplex-haematoxylin, h-dab or a file" in baseline(
        "separate", folder, "--stains", "he"
    )
    assert "--overlay goes with images" in baseline("separate", folder, "--mpp", 1, "--overlay")
    assert "found none at" in baseline("deconvolve", tmp_path / "none")
    labels = tmp_path / "labels.csv"
    labels.write_text("image,CD20\none.png,1\n")
    assert "expected the columns image,CD16,CD20,CD3,CD4,CD8, got image,CD20" in baseline(
        "pseudo-labels", folder, labels
    )
    labels.write_text("image,label\none.png,1\n")
    assert "got image,label" in baseline("pseudo-labels", folder, labels)
    labels.write_text("image,label\none.png,3\n")
    stains = ("--stains", "h-dab")
    assert "one.png: expected labels 1 (high)" in baseline("pseudo-labels", folder, labels, *stains)
    labels.write_text("image,label\nfour.png,1\n")
    assert "four.png" in baseline("pseudo-labels", folder, labels, *stains)
