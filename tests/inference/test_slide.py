import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import zarr
from slides import tissue_like, write_pyramid

from lsr_ext import CountDistribution
from lsr_ext.inference import PredictionDescription, TrainedModel, load_model
from lsr_ext.inference import slide as prediction_of_slides
from lsr_ext.inference.model_file import (
    ClassDescription,
    DecodingDescription,
    DistributionDescription,
    InputDescription,
    ModelDescription,
    NetworkDescription,
)
from lsr_ext.inference.slide import predict_slide
from lsr_ext.wsi import open_slide
from lsr_ext.wsi.tissue import TissueMask

MPP = 0.5
HOW = PredictionDescription(window_px=48, overlap=0.5, symmetries=1)


def small_model(mpp=MPP):
    """A network that sees 9 pixels around each, of random weights, for two classes."""
    params = {"in_channels": 3, "out_channels": 2, "kernel_size": 9, "padding": 4}
    torch.manual_seed(0)
    network = torch.nn.Conv2d(**params)
    distribution = CountDistribution([[0.5, 0.5]], [[0.1, 0.1]], ["any"], ["glass", "tissue"])
    about = ModelDescription(
        network=NetworkDescription(path="torch.nn.Conv2d", params=params),
        classes=[ClassDescription(name=name, colour="#112233") for name in distribution.classes],
        input=InputDescription(channels=3),
        mpp=mpp,
        prediction=HOW,
        decoding=DecodingDescription(kind="likeliest", shift=[0.0, 0.0]),
        distribution=DistributionDescription(
            labels=["any"], classes=["glass", "tissue"], exclusive=False, mean=[[0.5, 0.5]], std=[[0.1, 0.1]]
        ),
        trained_on="nothing",
        versions={},
    )
    return TrainedModel(network, about)


@pytest.fixture
def slide(tmp_path):
    """300 x 420 px at 0.25 microns per pixel: 150 x 210 px at the model's resolution."""
    path = tmp_path / "slide.tif"
    write_pyramid(path, tissue_like(300, 420, seed=3), compression=None, tile_px=64)
    return open_slide(path)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 64 px, so that a small slide has many."""
    monkeypatch.setattr(prediction_of_slides, "BLOCK_PX", 64)
    monkeypatch.setattr("lsr_ext.inference.slide_store.CHUNK_PX", 32)


def read(path):
    group = zarr.open_group(path, mode="r")
    return group["classes"][:], group["probabilities"][:], dict(group.attrs)


def test_a_slide_is_predicted_as_the_image_that_it_shows(slide, tmp_path):
    model = small_model()
    classes, probabilities, about = read(predict_slide(model, slide, tmp_path / "out", everywhere=True))
    image = slide.read(0, 0, 210, 150, mpp=MPP)
    expected = model.predict(image)
    assert classes.shape == (150, 210) and probabilities.shape == (2, 150, 210)
    assert np.abs(probabilities / 255 - expected).max() <= 0.5 / 255 + 1e-5
    assert (classes == model.decode(expected)).mean() > 0.999
    assert about["mpp"] == MPP and about["slide_mpp"] == [0.25, 0.25]


def test_blocks_and_batches_leave_no_trace(slide, tmp_path, monkeypatch):
    model = small_model()
    pieces = read(predict_slide(model, slide, tmp_path / "pieces", everywhere=True, batch_size=3))
    monkeypatch.setattr(prediction_of_slides, "BLOCK_PX", 1024)
    whole = read(predict_slide(model, slide, tmp_path / "whole", everywhere=True, batch_size=16))
    assert np.abs(pieces[1].astype(int) - whole[1]).max() <= 1
    assert (pieces[0] == whole[0]).mean() > 0.999


def test_a_network_of_small_reach_predicts_windows_as_the_whole(slide, tmp_path):
    # Where every window sees all that the network looks at, the blend is exact; at borders windows see zeros.
    model = small_model()
    _, probabilities, _ = read(predict_slide(model, slide, tmp_path / "out", everywhere=True))
    image = torch.from_numpy(slide.read(0, 0, 210, 150, mpp=MPP).copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        at_once = model.network(image).softmax(1)[0].numpy()
    difference = np.abs(probabilities / 255 - at_once)
    assert np.median(difference) < 0.5 / 255 + 1e-6
    assert difference[:, 12:36, 12:36].max() < 0.02  # the middle of windows outweighs their borders


def test_glass_is_not_predicted(slide, tmp_path):
    mask = np.zeros((30, 42), bool)
    mask[10:14, 30:34] = True  # level-0 pixels 300 to 340 across, 100 to 140 down
    path = predict_slide(small_model(), slide, tmp_path / "out", tissue=TissueMask(mask, slide.size))
    classes, probabilities, _ = read(path)
    predicted = classes != 255
    assert predicted[50:70, 150:170].all()
    # A window reaches at most its own side away from tissue.
    assert not predicted[:, :100].any() and not predicted[118:].any()
    assert (probabilities[:, ~predicted] == 0).all()


RUN = """
import sys
import lsr_ext.inference.slide as slides
from lsr_ext.inference import load_model
from lsr_ext.wsi import open_slide
slides.BLOCK_PX = 64
import lsr_ext.inference.slide_store as stores
stores.CHUNK_PX = 32
left = int(sys.argv[4])
write = stores.PredictionStore.write
def cut(self, *arguments):
    global left
    if left == 0:
        import os
        os._exit(9)
    left -= 1
    write(self, *arguments)
stores.PredictionStore.write = cut
slides.predict_slide(load_model(sys.argv[1]), open_slide(sys.argv[2]), sys.argv[3], everywhere=True)
"""


def test_an_interrupted_prediction_ends_with_the_same_bytes(slide, tmp_path):
    small_model().save(tmp_path / "model")
    command = [sys.executable, "-c", RUN, tmp_path / "model", slide.path, tmp_path / "cut"]
    for blocks in (2, 5):
        killed = subprocess.run([*map(str, command), str(blocks)])
        assert killed.returncode == 9
        assert not (tmp_path / "cut/slide.zarr").exists()
    model = load_model(tmp_path / "model")
    cut = predict_slide(model, slide, tmp_path / "cut", everywhere=True)
    uncut = predict_slide(model, slide, tmp_path / "uncut", everywhere=True)
    found, expected = ({p.relative_to(q): p for p in q.rglob("*") if p.is_file()} for q in (cut, uncut))
    assert found.keys() == expected.keys()
    for name, path in found.items():
        if name.suffix != ".json":
            assert path.read_bytes() == expected[name].read_bytes(), name
        else:
            assert json.loads(path.read_text()) == json.loads(expected[name].read_text())


def test_a_finished_prediction_is_left_as_it_is(slide, tmp_path):
    path = predict_slide(small_model(), slide, tmp_path / "out", everywhere=True)
    written = (path / "zarr.json").stat().st_mtime_ns
    assert predict_slide(small_model(), slide, tmp_path / "out", everywhere=True) == path
    assert (path / "zarr.json").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="is a prediction of another mpp: choose another output folder"):
        predict_slide(small_model(), slide, tmp_path / "out", mpp=1.0, everywhere=True)
    zarr.open_group(path, mode="r+").attrs["scanner"] = "another"
    with pytest.raises(ValueError, match="is a prediction of another scanner"):
        predict_slide(small_model(), slide, tmp_path / "out", everywhere=True)


def test_another_slide_of_the_same_name_and_size_is_not_taken_for_it(slide, tmp_path):
    predict_slide(small_model(), slide, tmp_path / "out", everywhere=True)
    content = bytearray(slide.path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2**16] = bytes(2**16)
    slide.path.write_bytes(content)
    with pytest.raises(ValueError, match="is a prediction of another slide_digest"):
        predict_slide(small_model(), slide, tmp_path / "out", everywhere=True)


def test_another_models_unfinished_prediction_is_not_continued(slide, tmp_path, monkeypatch):
    monkeypatch.setattr("lsr_ext.inference.slide_store.PredictionStore.write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict_slide(small_model(), slide, tmp_path / "out", everywhere=True)
    with pytest.raises(ValueError, match="is an unfinished prediction by another model, slide or setting"):
        predict_slide(small_model(), slide, tmp_path / "out", mpp=1.0, everywhere=True)


def test_a_resolution_is_needed(slide, tmp_path):
    with pytest.raises(ValueError, match="does not know its resolution: give mpp"):
        predict_slide(small_model(mpp=None), slide, tmp_path / "out")
