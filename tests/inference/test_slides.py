import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from cohorts import write_slides
from PIL import Image
from slides import write_ome_planes, write_pyramid
from test_slide import small_model
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.inference import load_model
from lsr_ext.inference.device_queue import _Worker, predict_on_devices
from lsr_ext.inference.slides import collect_slides


@pytest.fixture
def model(tmp_path):
    small_model().save(tmp_path / "model")
    return tmp_path / "model"


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_a_folder_of_slides_is_predicted(model, tmp_path):
    write_slides(tmp_path / "slides", 3)
    result = predict(tmp_path / "slides", "--model", model, "--out", tmp_path / "out", "--tissue", "none")
    assert result.exit_code == 0 and "3 slides predicted, 0 failed" in result.output
    group = zarr.open_group(tmp_path / "out/slide-001.zarr", mode="r")
    assert group["classes"].shape == (64, 64)  # 128 px at 0.25 microns per pixel, at 0.5
    assert group.attrs["slide"] == "slide-001.tif"


def test_a_slide_that_fails_does_not_stop_the_others(model, tmp_path):
    slides = write_slides(tmp_path / "slides", 3)
    slides[1].write_bytes(b"II*\0no slide")
    result = predict(*slides, "--model", model, "--out", tmp_path / "out", "--tissue", "none")
    assert result.exit_code == 1 and "2 slides predicted, 1 failed" in result.output
    [failure] = [json.loads(line) for line in (tmp_path / "out/failed.jsonl").read_text().splitlines()]
    assert failure["slide"] == str(slides[1]) and failure["reason"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.zarr")) == ["slide-000.zarr", "slide-002.zarr"]


def test_a_run_that_is_killed_early_does_not_tell_of_an_earlier_one(model, tmp_path, monkeypatch):
    [slide] = write_slides(tmp_path / "slides", 1)
    content = slide.read_bytes()
    slide.write_bytes(b"II*\0no slide")
    arguments = slide, "--model", model, "--out", tmp_path / "out", "--tissue", "none"
    assert predict(*arguments).exit_code == 1 and (tmp_path / "out/failed.jsonl").read_text()
    slide.write_bytes(content)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lsr_ext.inference.slides.predict_slide", interrupt)
    predict(*arguments)
    assert not (tmp_path / "out/failed.jsonl").read_text()


def test_too_little_memory_is_reported_with_the_remedy(model, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr("lsr_ext.inference.slides.predict_slide", fail)
    slides = write_slides(tmp_path / "slides", 2)
    result = predict(*slides, "--model", model, "--out", tmp_path / "out", "--tissue", "none")
    assert result.exit_code == 1 and "0 slides predicted, 2 failed" in result.output
    failures = [json.loads(line) for line in (tmp_path / "out/failed.jsonl").read_text().splitlines()]
    assert all("smaller batch_size: tried to allocate 20 GiB" in failure["reason"] for failure in failures)


def test_options_change_the_prediction(model, tmp_path):
    [slide] = write_slides(tmp_path / "slides", 1)
    options = ["--window-px", "32", "--symmetries", "2", "--mpp", "1.0", "--tissue", "none"]
    assert predict(slide, "--model", model, "--out", tmp_path / "out", *options).exit_code == 0
    attributes = zarr.open_group(tmp_path / "out/slide-000.zarr", mode="r").attrs
    assert attributes["prediction"] == {"window_px": 32, "overlap": 0.5, "symmetries": 2}
    assert attributes["mpp"] == 1.0
    wrong = predict(slide, "--model", model, "--out", tmp_path / "out", "--symmetries", "3")
    assert isinstance(wrong.exception, ValueError) and "symmetries must be one of" in str(wrong.exception)


def test_slides_that_need_a_choice_are_predicted_as_the_csv_says(model, tmp_path):
    planes = np.random.default_rng(0).integers(0, 4096, (2, 128, 128)).astype(np.uint16)
    slide = write_ome_planes(tmp_path / "s.ome.tif", planes, {"Name": ["DAPI", "CD8+"]}, levels=1)
    grey = np.floor(np.clip((planes[1] - 100.0) * 255 / 2900, 0, 255) + 0.5).astype(np.uint8)
    write_pyramid(tmp_path / "grey.tif", np.stack([grey] * 3, axis=-1), compression=None)
    (tmp_path / "s.csv").write_text("slide,channels,display_range\ns.ome.tif,CD8+,100;3000\n")
    options = ["--model", model, "--out", tmp_path / "out", "--tissue", "none"]
    assert predict(tmp_path / "s.csv", tmp_path / "grey.tif", *options).exit_code == 0
    found, expected = (zarr.open_group(tmp_path / f"out/{name}.zarr", mode="r") for name in ("s.ome", "grey"))
    np.testing.assert_array_equal(found["probabilities"][:], expected["probabilities"][:])
    assert found.attrs["slide_view"] == {"channels": ["CD8+"], "display_range": [100.0, 3000.0]}
    assert "slide_view" not in expected.attrs
    (tmp_path / "s.csv").write_text("slide,channels,display_range\ns.ome.tif,CD8+,100;2000\n")
    assert predict(tmp_path / "s.csv", *options).exit_code == 1
    assert "is a prediction of another slide_view" in (tmp_path / "out/failed.jsonl").read_text()
    assert predict(slide, *options).exit_code == 1
    assert "the column channels in a CSV of slides" in (tmp_path / "out/failed.jsonl").read_text()


def test_what_is_named_is_found_once(tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    (tmp_path / "slides.csv").write_text("slide,mpp\nslides/slide-001.tif,0.5\n")
    found = collect_slides([slides[0], tmp_path / "slides.csv"])
    assert [(slide.path.name, slide.mpp) for slide in found] == [("slide-000.tif", None), ("slide-001.tif", 0.5)]
    with pytest.raises(ValueError, match="two slides of one name"):
        collect_slides([tmp_path / "slides", slides[0]])
    with pytest.raises(FileNotFoundError, match="expected a slide, a folder of slides or a CSV"):
        collect_slides([tmp_path / "none.svs"])


def test_tissue_is_where_a_file_says(model, tmp_path):
    [slide] = write_slides(tmp_path / "slides", 1)
    square = {"type": "Polygon", "coordinates": [[[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]]}
    (tmp_path / "tissue").mkdir()
    (tmp_path / "tissue/slide-000.geojson").write_text(json.dumps([{"type": "Feature", "geometry": square}]))
    mask = np.zeros((32, 32), np.uint8)
    mask[:5, :5] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = ["--model", model, "--window-px", "16", "--symmetries", "1"]
    for number, tissue in enumerate([tmp_path / "tissue", tmp_path / "mask.png"]):
        result = predict(slide, *options, "--out", tmp_path / str(number), "--tissue", tissue)
        assert result.exit_code == 0, result.output
        classes = zarr.open_group(tmp_path / f"{number}/slide-000.zarr", mode="r")["classes"][:]
        assert (classes[:10, :10] != 255).all() and (classes[26:] == 255).all()
    Image.fromarray(mask[:, :20]).save(tmp_path / "narrow.png")
    assert predict(slide, *options, "--out", tmp_path / "2", "--tissue", tmp_path / "narrow.png").exit_code == 1
    assert "128 x 128 px, got 20 x 32 px" in (tmp_path / "2/failed.jsonl").read_text()
    missing = predict(slide, *options, "--out", tmp_path / "3", "--tissue", tmp_path / "nothing.png")
    assert isinstance(missing.exception, FileNotFoundError)


def test_a_file_of_tissue_is_of_one_slide(model, tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    Image.fromarray(np.ones((32, 32), np.uint8)).save(tmp_path / "mask.png")
    result = predict(*slides, "--model", model, "--out", tmp_path / "out", "--tissue", tmp_path / "mask.png")
    assert "expected a folder with the tissue of each of 2 slides" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_autocast_is_close_and_known(model, tmp_path):
    [slide] = write_slides(tmp_path / "slides", 1)
    found = {}
    for name, options in (("full", []), ("half", ["--autocast"])):
        assert (
            predict(slide, "--model", model, "--out", tmp_path / name, "--tissue", "none", *options).exit_code == 0
        )
        group = zarr.open_group(tmp_path / name / "slide-000.zarr", mode="r")
        assert group.attrs["autocast"] == (name == "half")
        found[name] = group["probabilities"][:].astype(int)
    difference = np.abs(found["full"] - found["half"])
    assert 0 < difference.max() <= 4


def test_exports_are_written_beside_the_prediction(model, tmp_path):
    [slide] = write_slides(tmp_path / "slides", 1)
    options = ["--tissue", "none", "--export", "geojson", "--export", "ome-tiff", "--export", "cells"]
    assert predict(slide, "--model", model, "--out", tmp_path / "out", *options).exit_code == 0
    names = {path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".")}
    assert {"slide-000.zarr", "slide-000.geojson.gz", "slide-000.ome.tif", "slide-000.cells.csv"} <= names
    wrong = predict(slide, "--model", model, "--out", tmp_path / "out", "--export", "pdf")
    assert "expected an export of ome-tiff, geojson, cells" in str(wrong.exception)


def test_exports_of_a_prediction_that_was_there_before_are_replaced(model, tmp_path):
    # Also where the run is killed between the prediction and its exports.
    [slide] = write_slides(tmp_path / "slides", 1)
    command = [slide, "--model", model, "--out", tmp_path / "out", "--tissue", "none"]
    (tmp_path / "out").mkdir()
    export = tmp_path / "out/slide-000.cells.csv"
    export.write_text("of another model")
    assert predict(*command).exit_code == 0
    assert predict(*command, "--export", "cells").exit_code == 0
    written = export.read_text()
    assert written.startswith('"x","y","class"')
    export.write_text("of this prediction")
    assert predict(*command, "--export", "cells").exit_code == 0
    assert export.read_text() == "of this prediction"
    shutil.rmtree(tmp_path / "out/slide-000.zarr")
    assert predict(*command, "--export", "cells").exit_code == 0
    assert export.read_text() == written


def test_a_process_that_dies_while_it_is_idle_is_reported():
    worker = _Worker(die_at_the_second, None, torch.device("cpu"), 1, {})
    worker._process.kill()
    worker._process.join()
    worker.begin(SLIDES[0])
    assert worker.end() == (SLIDES[0], "its process ended with code -9", False)
    worker.stop()


@pytest.mark.long
def test_devices_share_the_queue_and_a_dead_process_loses_its_slide_alone(model, tmp_path):
    slides = write_slides(tmp_path / "slides", 4)
    slides[1].write_bytes(b"II*\0no slide")
    one = predict(*slides, "--model", model, "--out", tmp_path / "one", "--tissue", "none", "--device", "cpu")
    two = predict(*slides, "--model", model, "--out", tmp_path / "two", "--tissue", "none", "--device", "cpu,cpu")
    assert (one.exit_code, two.exit_code) == (1, 1)
    assert (tmp_path / "one/failed.jsonl").read_bytes() == (tmp_path / "two/failed.jsonl").read_bytes()
    for name in ("slide-000", "slide-002", "slide-003"):
        groups = [zarr.open_group(tmp_path / folder / f"{name}.zarr", mode="r") for folder in ("one", "two")]
        np.testing.assert_array_equal(groups[0]["probabilities"][:], groups[1]["probabilities"][:])
    done = predict_on_devices(die_at_the_second, load_model(model), [torch.device("cpu")] * 2, SLIDES, {})
    reasons = {slide.path.name: reason for slide, reason in done}
    assert reasons == {"a": None, "b": "its process ended with code 7", "c": None, "d": None}


SLIDES = [CohortSlide(Path(name)) for name in "abcd"]


def die_at_the_second(model, slide):
    """Stand in for `predict_one`."""
    if slide.path.name == "b":
        os._exit(7)
