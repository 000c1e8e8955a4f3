"""The patch classifier: patches in, probabilities out, and what is made of them."""

import numpy as np
import pytest
import torch

from lsr_ext.baselines.patch_classifier import (
    ClassifierSettings,
    PatchClassifier,
    bin_probabilities,
    classify_patches,
    load_patch_classifier,
    low_resolution_model_map,
    merge_patches,
    predict_probabilities,
)
from lsr_ext.data.cohort import PRESETS

SMALL = ClassifierSettings(patch_px=8, input_px=16, depth=10)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return PatchClassifier(SMALL).eval()


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("depth", "parameters"), [(10, 4.9e6), (18, 11.2e6), (34, 21.3e6)])
def test_depth_chooses_the_resnet(depth, parameters):
    """He et al. have 11.7 and 21.8 million in ResNet-18 and -34, of which 1000 classes take 0.5."""
    model = PatchClassifier(ClassifierSettings(patch_px=8, depth=depth))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(parameters, rel=0.01)


def test_probabilities_lie_where_their_patches_do(model):
    images = [random_image(19, 33, 1), random_image(8, 16, 2)]
    found = predict_probabilities(model, images, 8)
    assert [grid.shape for grid in found] == [(2, 4), (1, 2)]
    assert all(grid.dtype == np.float32 for grid in found)
    assert len(np.unique(found[0])) == 8
    for row, column in np.ndindex(2, 4):
        patch = images[0][8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        pixels = torch.from_numpy(patch.copy()).permute(2, 0, 1)[None] / 255
        larger = torch.nn.functional.interpolate(pixels, (16, 16), mode="bilinear", antialias=True)
        with torch.no_grad():
            alone = model.network(larger).sigmoid().item()
        assert found[0][row, column] == pytest.approx(alone, abs=1e-5)


def test_patches_of_any_size_and_none(model):
    patches = [random_image(8, 8), random_image(40, 40), random_image(16, 24)]
    together = classify_patches(model, patches)
    assert together == pytest.approx([classify_patches(model, [patch])[0] for patch in patches], abs=1e-5)
    assert classify_patches(model, []).shape == (0,)


def test_an_image_smaller_than_a_patch_is_named(model):
    with pytest.raises(ValueError, match=r"image 1 is \(7, 20\) px, smaller than a patch of 8 px"):
        predict_probabilities(model, [random_image(8, 8), random_image(7, 20)], 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"patch_px": 0}, "patch_px of at least 1, got 0"),
        ({"depth": 50}, "depth among 10, 18, 34, got 50"),
        ({"batch_size": 5}, "even batch_size, .*, got 5"),
        ({"learning_rate": 0.0}, "learning_rate above 0"),
        ({"colour_jitter": -0.1}, "finite colour_jitter of at least 0, got -0.1"),
        ({"colour_jitter": float("inf")}, "finite colour_jitter of at least 0, got inf"),
    ],
)
def test_impossible_settings(given, message):
    with pytest.raises(ValueError, match=message):
        ClassifierSettings(**{"patch_px": 8} | given)


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (1, 3)])
def test_merge_is_the_maximum_of_each_two_by_two(shape):
    probabilities = np.random.default_rng(0).random(shape).astype(np.float32)
    merged = merge_patches(probabilities, 2)
    assert merged.shape == (shape[0] // 2, shape[1] // 2)
    for row, column in np.ndindex(merged.shape):
        four = [probabilities[2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
        assert merged[row, column] == max(four)


def test_a_block_with_an_unknown_patch_is_unknown():
    probabilities = np.array([[0.1, np.nan, 0.3, 0.2], [0.9, 0.2, 0.4, 0.1]])
    np.testing.assert_array_equal(merge_patches(probabilities), [[np.nan, 0.4]])


def test_bins_of_the_paper():
    probabilities = np.array([[0.0, 0.19, 0.2, 0.55], [0.899, 0.9, 0.95, 1.0]])
    labels = bin_probabilities(probabilities, PRESETS["breast-cancer"].edges)
    assert labels.tolist() == [[0, 0, 1, 4], [7, 8, 9, 9]]
    with pytest.raises(ValueError, match="fractions in"):
        bin_probabilities(np.array([np.nan]), [0.5])


def test_low_resolution_model_is_its_patches_thresholded():
    probabilities = np.array([[0.5, 0.49, 0.1], [np.nan, 0.2, 0.9]])
    found = low_resolution_model_map(probabilities, 3, (7, 11))
    expected = np.array([[1, 1, 1] + [0] * 8] * 3 + [[0] * 6 + [1] * 5] * 4)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert low_resolution_model_map(probabilities, 3, (7, 11), threshold=0.45)[0].tolist() == [1] * 6 + [0] * 5
    with pytest.raises(ValueError, match=r"up to 2 x 2 patches of 3 px for an image of 7 x 8 px, got 2 x 3"):
        low_resolution_model_map(probabilities, 3, (7, 8))
    with pytest.raises(ValueError, match="got 0 x 3"):
        low_resolution_model_map(np.empty((0, 3)), 3, (7, 11))


def test_foreign_checkpoints_are_refused(tmp_path, model):
    with pytest.raises(FileNotFoundError, match=r"none at .*absent\.ckpt"):
        load_patch_classifier(tmp_path / "absent.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save(
        {"hyper_parameters": {"settings": {"patch_px": 8}}, "object": np.random.default_rng},
        tmp_path / "code.ckpt",
    )
    torch.save({"state_dict": {}, "global_step": 3}, tmp_path / "other.ckpt")
    for name in ("text", "code", "other"):
        with pytest.raises(ValueError, match=rf"{name}\.ckpt: expected a checkpoint of a patch classifier"):
            load_patch_classifier(tmp_path / f"{name}.ckpt")
    content = {"hyper_parameters": {"settings": {"patch_px": 8, "depth": 18}}, "global_step": 1}
    torch.save(content | {"state_dict": model.state_dict()}, tmp_path / "deeper.ckpt")
    with pytest.raises(ValueError, match=r"deeper\.ckpt: weights of another network"):
        load_patch_classifier(tmp_path / "deeper.ckpt")


def test_the_digest_goes_with_the_weights(model):
    same = PatchClassifier(SMALL)
    assert same.digest() != model.digest()
    same.load_state_dict(model.state_dict())
    assert same.digest() == model.digest()
