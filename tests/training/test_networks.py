"""Training of networks that the configuration names by their import path."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import write_masks_run

from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.inference import load_model
from lsr_ext.networks import build_network
from lsr_ext.networks.build import check_trusted
from lsr_ext.sources import prepare_data
from lsr_ext.training import train

UNET = {
    "class": "monai.networks.nets.UNet",
    "params": {
        "spatial_dims": 2,
        "in_channels": 3,
        "out_channels": 2,
        "channels": [4, 8],
        "strides": [2],
        "norm": "batch",
    },
    "multiple_px": 4,
}
OWN = """
from torch import nn

class Net(nn.Conv2d):
    def __init__(self, classes):
        super().__init__(3, classes, 1)
"""


def configure(folder, network, **training):
    network = {"features": None, "norm_groups": None} | network
    network = {key: value for key, value in network.items() if value is not None}
    path = write_masks_run(folder, methods=["intra"], training=training | {"network": network})
    return load_config(path)


def test_a_network_of_monai_is_trained_scored_and_loaded_alone(tmp_path):
    config = configure(tmp_path, UNET | {"norm": "group", "learning_rates": {"model.0": 1e-4}})
    train(config)
    assert 0 <= evaluate(config)["intra"]["iou"] <= 1
    folder = config.output / "intra/model"
    content = json.loads((folder / "model.json").read_text())
    assert content["version"] == 2
    assert content["network"]["path"] == UNET["class"]
    assert content["network"]["adapter"] == {"norm": "group", "multiple_px": 4}
    model = load_model(folder)
    test = prepare_data(config).test
    assert model.predict(test.images[0]).shape == (2, *test.images[0].shape[:2])


def test_batch_norm_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="BatchNorm layers, the first at"):
        train(configure(tmp_path, UNET))
    assert not (tmp_path / "run/intra/last.ckpt").exists()


def test_another_number_of_classes_is_refused_before_training(tmp_path):
    params = UNET["params"] | {"out_channels": 5, "norm": "instance"}
    with pytest.raises(ValueError, match="for 2 classes, got .1, 5,"):
        train(configure(tmp_path, UNET | {"params": params}))


def test_a_frozen_part_stays_as_the_file_has_it(tmp_path):
    params = UNET["params"] | {"norm": "instance"}
    torch.manual_seed(5)
    source = build_network(UNET["class"], params)
    torch.save(source.model[0].state_dict(), tmp_path / "down.pt")
    weights = {"file": str(tmp_path / "down.pt"), "part": "model.0"}
    config = configure(tmp_path, UNET | {"params": params, "weights": weights, "frozen": ["model.0"]})
    train(config)
    trained = load_file(config.output / "intra/model/weights.safetensors")
    kept = {n for n, tensor in source.state_dict().items() if torch.equal(trained[f"network.{n}"], tensor)}
    assert kept == {name for name in source.state_dict() if name.startswith("model.0.")}


def test_a_network_of_ones_own_is_loaded_only_if_its_package_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "own_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    config = configure(tmp_path, {"class": "own_networks.Net", "params": {"classes": 2}})
    train(config)
    assert 0 <= evaluate(config)["intra"]["iou"] <= 1
    folder = config.output / "intra/model"
    monkeypatch.delitem(sys.modules, "own_networks")
    with pytest.raises(ValueError, match=r"json: the network 'own_networks\.Net' is of none of the trusted"):
        load_model(folder)
    assert "own_networks" not in sys.modules  # no line of it ran
    assert load_model(folder, packages=["own_networks"]).classes == ["background", "foreground"]


@pytest.mark.parametrize("path", ["os.system", "monai.bundle.ConfigParser", "torch.nnx.Net", "lsr_ext.cli.main"])
def test_paths_outside_the_trusted_packages_are_refused(path):
    with pytest.raises(ValueError, match="is of none of the trusted packages"):
        check_trusted(path)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"class": "monai.networks.nets.UNet", "features": [8] * 6}, "features is of the default network"),
        ({"norm": "group"}, "norm is for a network with class"),
        ({"class": "a.B", "learning_rates": {"encoder": 0}}, "greater than 0"),
    ],
)
def test_keys_that_do_not_fit_are_refused(tmp_path, network, message):
    with pytest.raises(ValueError, match=message):
        configure(tmp_path, network)


def test_a_download_of_weights_is_refused():
    with pytest.raises(ValueError, match="would download encoder_weights 'imagenet'"):
        build_network("torch.nn.Identity", {"encoder_weights": "imagenet"})
