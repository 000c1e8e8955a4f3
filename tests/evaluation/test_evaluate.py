from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from PIL import Image
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext import CountDistribution
from lsr_ext.config import EvaluationConfig, load_config
from lsr_ext.data import Block
from lsr_ext.evaluation import evaluate
from lsr_ext.evaluation.evaluate import load_prediction
from lsr_ext.evaluation.low_resolution import low_resolution_maps
from lsr_ext.evaluation.scoring import score_maps
from lsr_ext.inference import load_model
from lsr_ext.inference.stitching import cut_rectangles, stitch
from lsr_ext.sources import prepare_data
from lsr_ext.training import train

EVALUATION = EvaluationConfig(boundary_distance_px=3)
SCORES = {"iou", "dice", "masked_iou", "masked_dice"}


@pytest.fixture
def data(tmp_path):
    return prepare_data(load_config(write_masks_run(tmp_path)))


def test_metrics_are_written_for_every_method_and_the_yardstick(tmp_path):
    config = load_config(write_masks_run(tmp_path, methods=["intra", "supervised"]))
    train(config)
    metrics = evaluate(config)
    assert orjson.loads((config.output / "metrics.json").read_bytes()) == metrics
    assert set(metrics) == {"low_resolution", "intra", "supervised"}
    assert all(set(scores) == SCORES | {"fraction_error", "fraction_errors"} for scores in metrics.values())
    assert all(0 <= scores[name] <= 1 for scores in metrics.values() for name in SCORES)


def test_predictions_are_the_mean_over_turned_and_flipped_images(tmp_path):
    path = write_masks_run(tmp_path, methods=["supervised"])
    config = load_config(path, {"evaluation.overlap": 0.0})
    train(config)
    evaluate(config)
    upright = load_prediction(config.output, "supervised")[1]
    # A disc turned about its block is another image to the network, and the same to the mean.
    held_out = prepare_data(config).test
    for name in {held_out.names[block.image] for block in held_out.blocks}:
        for file in tmp_path.glob(f"{Path(name).stem}*.png"):
            Image.open(file).rotate(180).save(file)
    evaluate(config)
    turned = load_prediction(config.output, "supervised")[1]
    # Blocks of an image come in rows, so turned by 180 degrees they come the other way round.
    np.testing.assert_allclose(turned.reshape(2, 4, 2)[:, ::-1], upright.reshape(2, 4, 2), atol=1e-5)


def test_windows_are_of_a_blocks_size_unless_told_otherwise(tmp_path):
    path = write_masks_run(tmp_path, methods=["supervised"])
    train(load_config(path))
    fractions = {}
    for window_px in (None, load_config(path).data.block_size_px, 1000):
        config = load_config(path, {"evaluation.window_px": window_px})
        evaluate(config)
        fractions[window_px] = load_prediction(config.output, "supervised")[1]
    by_default, by_block, by_image = fractions.values()
    np.testing.assert_array_equal(by_default, by_block)
    assert np.abs(by_default - by_image).max() > 1e-4


def test_without_pixel_truth_there_are_no_scores(tmp_path):
    config = load_config(write_labels_run(tmp_path))
    train(config)
    scores = evaluate(config)["intra"]
    assert {name: scores[name] for name in SCORES} == dict.fromkeys(SCORES)


def test_evaluation_before_training_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"intra\+inter/model/model\.json: train first"):
        evaluate(load_config(write_masks_run(tmp_path)))


def test_a_training_that_goes_on_has_no_scores_until_it_ends(tmp_path, monkeypatch):
    path = write_masks_run(tmp_path)
    train(load_config(path))
    (tmp_path / "run/config.yaml").unlink()
    longer = load_config(path, {"training.steps": 5})
    with monkeypatch.context() as patch:
        patch.setattr("lsr_ext.training.run._fit", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(longer)
    with pytest.raises(FileNotFoundError, match="train first"):
        evaluate(longer)
    train(longer)
    assert "5 steps" in load_model(tmp_path / "run/intra+inter/model").description.trained_on


def test_the_truth_scores_one(data):
    truth = np.stack([block.cut(data.test.masks[block.image]) for block in data.test.blocks])
    assert set(score_maps(truth, data, EVALUATION).values()) == {1.0}
    assert score_maps(1 - truth, data, EVALUATION)["iou"] == 0.0


def test_more_classes_have_scores_each(data):
    masks = [mask * 2 for mask in data.test.masks]
    test = replace(data.test, masks=masks, classes=["a", "b", "c"], targets=None)
    truth = np.stack([block.cut(masks[block.image]) for block in test.blocks])
    scores = score_maps(truth, replace(data, test=test), EVALUATION)
    assert scores["iou"] == 1.0
    assert scores["per_class"]["a"]["iou"] == 1.0
    assert scores["per_class"]["b"]["iou"] is None  # occurs nowhere


def test_low_resolution_foreground_has_the_expected_area(data):
    # Six blocks of each label; expected area 12 * (0.1 + 0.4) / 2 = 3 blocks: none at all, or the label of 0.4.
    for means, foreground in (([0.2, 0.4], [1]), ([0.05, 0.3], []), ([0.6, 0.9], [0, 1]), ([0.9, 0.3], [0])):
        mean = torch.tensor(means)
        distribution = CountDistribution(torch.stack([1 - mean, mean], 1), torch.zeros(2, 2))
        maps = low_resolution_maps(replace(data, distribution=distribution))
        assert maps.shape == (8, 20, 20)
        assert np.array_equal(maps[:, 0, 0], np.isin(data.test.labels, foreground))


def test_stitch_puts_blocks_in_place():
    blocks = [Block(2, 4, 6, 2, 2), Block(2, 6, 6, 2, 2), Block(0, 0, 0, 2, 2)]
    maps = np.arange(12).reshape(3, 2, 2)
    stitched = stitch(blocks, maps)
    assert stitched[2].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert stitched[0].tolist() == [[8, 9], [10, 11]]
    assert np.array_equal(cut_rectangles(blocks, stitched), maps)
