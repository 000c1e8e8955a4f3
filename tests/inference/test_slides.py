import json

import pytest
import zarr
from cohorts import write_slides
from test_slide import small_model
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.inference.slides import collect_slides


@pytest.fixture
def model(tmp_path):
    small_model().save(tmp_path / "model")
    return tmp_path / "model"


def predict(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_a_folder_of_slides_is_predicted(model, tmp_path):
    write_slides(tmp_path / "slides", 3)
    result = predict(tmp_path / "slides", "--model", model, "--out", tmp_path / "out", "--no-tissue")
    assert result.exit_code == 0 and "3 slides predicted, 0 failed" in result.output
    group = zarr.open_group(tmp_path / "out/slide-001.zarr", mode="r")
    assert group["classes"].shape == (64, 64)  # 128 px at 0.25 microns per pixel, at 0.5
    assert group.attrs["slide"] == "slide-001.tif"


def test_a_slide_that_fails_does_not_stop_the_others(model, tmp_path):
    slides = write_slides(tmp_path / "slides", 3)
    slides[1].write_bytes(b"II*\0no slide")
    result = predict(*slides, "--model", model, "--out", tmp_path / "out", "--no-tissue")
    assert result.exit_code == 1 and "2 slides predicted, 1 failed" in result.output
    [failure] = [json.loads(line) for line in (tmp_path / "out/failed.jsonl").read_text().splitlines()]
    assert failure["slide"] == str(slides[1]) and failure["reason"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.zarr")) == ["slide-000.zarr", "slide-002.zarr"]


def test_options_change_the_prediction(model, tmp_path):
    [slide] = write_slides(tmp_path / "slides", 1)
    options = ["--window-px", "32", "--symmetries", "2", "--mpp", "1.0", "--no-tissue"]
    assert predict(slide, "--model", model, "--out", tmp_path / "out", *options).exit_code == 0
    attributes = zarr.open_group(tmp_path / "out/slide-000.zarr", mode="r").attrs
    assert attributes["prediction"] == {"window_px": 32, "overlap": 0.5, "symmetries": 2}
    assert attributes["mpp"] == 1.0
    wrong = predict(slide, "--model", model, "--out", tmp_path / "out", "--symmetries", "3")
    assert isinstance(wrong.exception, ValueError) and "symmetries must be one of" in str(wrong.exception)


def test_what_is_named_is_found_once(tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    (tmp_path / "slides.csv").write_text("slide,mpp\nslides/slide-001.tif,0.5\n")
    found = collect_slides([slides[0], tmp_path / "slides.csv"])
    assert [(slide.path.name, slide.mpp) for slide in found] == [("slide-000.tif", None), ("slide-001.tif", 0.5)]
    with pytest.raises(ValueError, match="two slides of one name"):
        collect_slides([tmp_path / "slides", slides[0]])
    with pytest.raises(FileNotFoundError, match="expected a slide, a folder of slides or a CSV"):
        collect_slides([tmp_path / "none.svs"])
