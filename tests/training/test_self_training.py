import numpy as np
import pytest
import torch
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext.config import METHODS, load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.inference import load_model
from lsr_ext.sources import prepare_data
from lsr_ext.training import train
from lsr_ext.training.build import build_batches
from lsr_ext.training.folders import method_folder, model_folder
from lsr_ext.training.pixel_labels import blocks_for

SELF = "intra+inter+self"


@pytest.fixture
def config(tmp_path):
    """Discs in images of 45 px, of which blocks of 20 px fill 40; windows of the whole rectangle."""
    settings = {"methods": [SELF], "evaluation": {"window_px": 40}}
    config = load_config(write_masks_run(tmp_path, size_px=45, **settings))
    train(config)
    return config


def shown_blocks(config, data):
    teacher = model_folder(config.output, "intra+inter")
    return blocks_for(METHODS[SELF], data, method_folder(config.output, SELF), teacher, torch.device("cpu"))


def test_the_first_network_is_trained_before_and_not_scored_unasked(config):
    assert {path.parent.name for path in config.output.glob("*/model")} == {"intra+inter", SELF}
    assert set(evaluate(config)) == {"low_resolution", SELF}


def test_pixel_labels_are_the_classes_that_the_first_network_predicts(config):
    data = prepare_data(config)
    network = load_model(config.output / "intra+inter/model").network
    image = data.train.blocks[0].image
    pixels = torch.from_numpy(data.train.images[image][:40, :40]).permute(2, 0, 1)[None].float() / 255
    turns = [(quarters, axes) for quarters in range(4) for axes in ([], [3])]
    with torch.no_grad():
        found = [
            torch.rot90(network(torch.rot90(pixels, k, (2, 3)).flip(axes)).softmax(1).flip(axes), -k, (2, 3))
            for k, axes in turns
        ]
    expected = torch.stack(found).mean(0).argmax(1)[0].numpy()
    maps = shown_blocks(config, data).masks
    # Probabilities as good as equal may fall to either side.
    assert (maps[image][:40, :40] == expected).mean() > 0.99
    assert (maps[image][40:] == -1).all()
    assert (maps[image][:, 40:] == -1).all()


def test_a_batch_holds_these_labels_in_place_of_the_truth(config):
    data = prepare_data(config)
    blocks = shown_blocks(config, data)
    shown = build_batches(METHODS[SELF], blocks, config.training, config.seed, config.output).train_set.collection
    for mask, predicted in zip(shown.masks, blocks.masks, strict=True):
        np.testing.assert_array_equal(mask, predicted)
    assert any((mask != truth).any() for mask, truth in zip(shown.masks, data.train.masks, strict=True))


def test_kept_labels_serve_a_run_that_goes_on(config):
    data = prepare_data(config)
    before = shown_blocks(config, data).masks
    (model_folder(config.output, "intra+inter") / "model.json").unlink()
    for kept, predicted in zip(shown_blocks(config, data).masks, before, strict=True):
        np.testing.assert_array_equal(kept, predicted)


def test_without_the_first_network_there_are_none(tmp_path):
    config = load_config(write_masks_run(tmp_path, methods=[SELF]))
    with pytest.raises(FileNotFoundError, match=r"intra\+inter/model/model\.json: train first"):
        shown_blocks(config, prepare_data(config))


def test_labels_and_no_mask_at_all_are_enough(tmp_path):
    config = load_config(write_labels_run(tmp_path, methods=["intra+self"]))
    train(config)
    assert "intra+self" in evaluate(config)
