import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import write_masks_run

from lsr_ext import CountDistribution
from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.evaluation.evaluate import load_prediction
from lsr_ext.inference import PredictionDescription, load_model
from lsr_ext.sources import prepare_data
from lsr_ext.training import train


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of one method on images of 40 px, each predicted by one window."""
    settings = {"methods": ["intra"], "data": {"mpp": 0.5}, "evaluation": {"decoding": "expected_fraction"}}
    config = load_config(write_masks_run(tmp_path_factory.mktemp("run"), **settings))
    train(config)
    evaluate(config)
    return config


@pytest.fixture
def folder(run, tmp_path):
    return shutil.copytree(run.output / "intra/model", tmp_path / "elsewhere")


def edit(folder, change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


PREDICT = """
import sys
import numpy as np
from lsr_ext.inference import load_model
model = load_model(sys.argv[1])
np.savez(sys.argv[3], *(model.predict(image) for image in np.load(sys.argv[2]).values()))
unwanted = {"lightning", "lsr_ext.training", "lsr_ext.sources", "lsr_ext.config"} & set(sys.modules)
assert not unwanted, unwanted
"""


def test_a_fresh_process_predicts_what_evaluation_did_bit_for_bit(run, folder, tmp_path):
    test = prepare_data(run).test
    images = sorted({block.image for block in test.blocks})
    np.savez(tmp_path / "images.npz", *(test.images[image] for image in images))
    command = [sys.executable, "-c", PREDICT, folder, tmp_path / "images.npz", tmp_path / "found.npz"]
    subprocess.run(list(map(str, command)), check=True, cwd=tmp_path)
    classes, fractions = load_prediction(run.output, "intra")
    found = dict(zip(images, np.load(tmp_path / "found.npz").values(), strict=True))
    model = load_model(folder)
    for index, block in enumerate(test.blocks):
        probabilities = found[block.image]
        expected = block.cut(probabilities.transpose(1, 2, 0)).mean((0, 1))
        np.testing.assert_array_equal(fractions[index], expected)
        np.testing.assert_array_equal(classes[index], block.cut(model.decode(probabilities)))


def test_it_knows_what_it_was_trained_for(run, folder):
    model, data = load_model(folder), prepare_data(run)
    assert model.classes == ["background", "foreground"]
    assert set(model.colours) == set(model.classes)
    assert model.mpp == 0.5
    assert model.distribution == data.distribution
    about = model.description
    assert about.prediction == PredictionDescription(window_px=20, overlap=0.5, symmetries=8)
    assert about.trained_on == f"masks: {len(data.train)} blocks; intra, 4 steps, seed 0"
    assert about.versions["torch"] == torch.__version__


def test_saved_again_it_is_the_same(folder, tmp_path):
    model = load_model(folder)
    model.save(tmp_path / "again")
    again = load_model(tmp_path / "again")
    assert again.description == model.description
    weights = load_file(folder / "weights.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in again.network.state_dict().items())


def test_probabilities_of_numbers_and_of_scaled_numbers_are_the_same(folder):
    model = load_model(folder)
    image = np.random.default_rng(0).integers(0, 256, (30, 26, 3), dtype=np.uint8)
    probabilities = model.predict(image)
    assert probabilities.shape == (2, 30, 26) and probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-6)
    np.testing.assert_array_equal(model.predict(image.astype(np.float32) / 255), probabilities)


def test_decoding_is_the_fitted_one_unless_another_is_asked_for(folder):
    edit(folder, lambda content: content["decoding"].update(shift=[2.0, 0.0]))
    model = load_model(folder)
    probabilities = np.array([0.2, 0.8], np.float32).reshape(2, 1, 1)
    assert model.decode(probabilities).item() == 0
    assert model.decode(probabilities, "likeliest").item() == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"expected an image \(H, W, 3\), got \(8, 8\)"),
        (np.zeros((3, 8, 8), np.uint8), r"expected an image \(H, W, 3\), got \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), "expected an image"),
        (np.full((8, 8, 3), 300, np.uint16), r"expected pixels in \[0, 1\] after scaling, got .* to 1\.17"),
        (np.full((8, 8, 3), np.nan, np.float32), "expected pixels in"),
    ],
)
def test_other_images_are_refused(folder, image, message):
    with pytest.raises(ValueError, match=message):
        load_model(folder).predict(image)


def drop_key(content):
    del content["classes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda content: content.update(version=3),
            "version 3 of the format, this lsr_ext reads up to 2",
        ),
        (lambda content: content.update(format="other"), "expected a model of lsr_ext"),
        (lambda content: content.update(window=3), "window: Extra inputs"),
        (drop_key, "classes: Field required"),
        (lambda content: content["prediction"].update(symmetries=3), "symmetries must be one of"),
        (lambda content: content["classes"].reverse(), "are not those of the distribution"),
        (lambda content: content["decoding"].update(shift=[0.0]), "decoding.shift must hold 2 numbers, got 1"),
        (
            lambda content: content["network"].update(path="os.system"),
            "'os.system' is of none of the trusted packages",
        ),
        (
            lambda content: content["network"].update(path="torch.nn.no.Such"),
            "expected the import path of a class",
        ),
        (
            lambda content: content["network"].update(path="torch.nn.init"),
            "expected a subclass of torch.nn.Module",
        ),
        (lambda content: content["network"]["params"].update(width=3), "does not take"),
        (lambda content: content["network"]["params"].update(num_classes=3), r"expected '.*' as .*\(3,"),
        (
            lambda content: content["network"]["params"].update(features=[2**20] * 6),
            "weights.safetensors: expected",
        ),
    ],
)
def test_tampered_descriptions_are_refused(folder, change, message):
    edit(folder, change)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.popitem(), "has no tensor"),
        (lambda weights: weights.update(other=torch.zeros(1)), "has, beyond the network's, tensor 'other'"),
        (
            lambda weights: weights.update({next(iter(weights)): torch.zeros(3)}),
            r"expected .* got torch.float32 \(3,\)",
        ),
        (lambda weights: weights.update({k: v.half() for k, v in weights.items()}), "got torch.float16"),
    ],
)
def test_tampered_weights_are_refused(folder, change, message):
    path = folder / "weights.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


def test_files_that_are_missing_or_no_such_files_are_refused(folder, tmp_path):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a readable file of weights"):
        load_model(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="expected the weights of a model"):
        load_model(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        load_model(folder)
    with pytest.raises(FileNotFoundError, match="expected a trained model"):
        load_model(tmp_path / "nowhere")


def test_a_finished_training_without_a_model_gets_one(run):
    before = load_file(run.output / "intra/model/weights.safetensors")
    shutil.rmtree(run.output / "intra/model")
    train(run)
    after = load_file(run.output / "intra/model/weights.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_distribution_is_kept_to_the_last_digit(folder):
    found = load_model(folder).distribution
    assert isinstance(found, CountDistribution)
    assert found.mean.dtype == torch.float64


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"symmetries": 3}, r"prediction: symmetries must be one of \(1, 2, 4, 8\), got 3"),
        ({"overlap": 1.0}, "overlap: Input should be less than 1, got 1.0"),
        (
            {"window_px": 0, "overlap": -0.5},
            "window_px: .* greater than or equal to 1, got 0\noverlap: .*, got -0.5",
        ),
    ],
)
def test_other_windows_out_of_range_are_refused_in_a_line_each(given, message):
    how = PredictionDescription(window_px=20, overlap=0.5)
    with pytest.raises(ValueError, match=f"^{message}$"):
        how.changed(given)
