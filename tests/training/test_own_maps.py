import numpy as np
import pytest
import torch
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.sources import prepare_data
from lsr_ext.training import train
from lsr_ext.training.building import build_module
from lsr_ext.training.own_maps import own_maps
from lsr_ext.training.run import build_datamodule

SELF = "intra+inter+self"


@pytest.fixture
def config(tmp_path):
    """Discs in images of 45 px, of which blocks of 20 px fill 40; windows of the whole rectangle."""
    settings = {"methods": [SELF], "evaluation": {"window_px": 40}}
    config = load_config(write_masks_run(tmp_path, size_px=45, **settings))
    train(config)
    return config


def test_the_network_that_paints_is_trained_first_and_not_scored_unasked(config):
    assert {path.parent.name for path in config.output.glob("*/last.ckpt")} == {"intra+inter", SELF}
    assert set(evaluate(config)) == {"low_resolution", SELF}


def test_pixel_labels_are_the_classes_that_the_first_network_paints(config):
    data = prepare_data(config)
    first = build_module(config, "intra+inter", data)
    checkpoint = torch.load(config.output / "intra+inter/last.ckpt", weights_only=True)
    first.load_state_dict(checkpoint["state_dict"])
    image = data.train.blocks[0].image
    pixels = torch.from_numpy(data.train.images[image][:40, :40]).permute(2, 0, 1)[None].float() / 255
    turns = [(quarters, axes) for quarters in range(4) for axes in ([], [3])]
    with torch.no_grad():
        found = [
            torch.rot90(first(torch.rot90(pixels, k, (2, 3)).flip(axes)).softmax(1).flip(axes), -k, (2, 3))
            for k, axes in turns
        ]
    expected = torch.stack(found).mean(0).argmax(1)[0].numpy()
    maps = own_maps(config, SELF, data)
    # Probabilities as good as equal may fall to either side.
    assert (maps[image][:40, :40] == expected).mean() > 0.99
    assert (maps[image][40:] == -1).all()
    assert (maps[image][:, 40:] == -1).all()


def test_a_batch_holds_these_labels_in_place_of_the_truth(config):
    data = prepare_data(config)
    maps = own_maps(config, SELF, data)
    blocks = build_datamodule(config, SELF, data).train_set.collection
    for shown, painted in zip(blocks.masks, maps, strict=True):
        np.testing.assert_array_equal(shown, painted)
    assert any((shown != truth).any() for shown, truth in zip(blocks.masks, data.train.masks, strict=True))


def test_kept_maps_serve_a_run_that_goes_on(config):
    data = prepare_data(config)
    before = own_maps(config, SELF, data)
    (config.output / "intra+inter/last.ckpt").unlink()
    for kept, painted in zip(own_maps(config, SELF, data), before, strict=True):
        np.testing.assert_array_equal(kept, painted)


def test_without_the_first_network_there_are_none(tmp_path):
    config = load_config(write_masks_run(tmp_path, methods=[SELF]))
    with pytest.raises(FileNotFoundError, match="checkpoint of method 'intra\\+inter'.*train first"):
        own_maps(config, SELF, prepare_data(config))


def test_labels_and_no_mask_at_all_are_enough(tmp_path):
    config = load_config(write_labels_run(tmp_path, methods=["intra+self"]))
    train(config)
    assert "intra+self" in evaluate(config)
