"""Networks of other packages: their output, their norms, their weights."""

import logging

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import interpolate, pad

from lsr_ext.networks import Adaptation, AdaptedNetwork
from lsr_ext.networks.adapted import check_output
from lsr_ext.networks.norms import ActNorm, fit_norms
from lsr_ext.networks.weights import freeze, load_weights, parameter_groups


class Strided(nn.Module):
    """A network whose output is a quarter of its input's size."""

    def __init__(self, classes=2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, images):
        return self.head(self.encoder(images))


class Several(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, images):
        logits = images[:, :2]
        return {"list": [logits, logits], "dict": {"out": logits}, "pooled": logits.mean((2, 3))}[self.kind]


def test_an_output_of_another_stride_is_interpolated_to_the_input():
    torch.manual_seed(0)
    inner, images = Strided(), torch.rand(2, 3, 24, 32)
    network = AdaptedNetwork(inner, Adaptation(2, "group"))
    expected = interpolate(inner(images), scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.allclose(network(images), expected)


def test_images_are_padded_to_a_multiple_by_their_edge_and_cut_back():
    network = AdaptedNetwork(nn.Conv2d(3, 2, 1), Adaptation(2, multiple_px=16))
    images, seen = torch.rand(1, 3, 20, 33), []
    network.network.register_forward_pre_hook(lambda inner, given: seen.append(given[0]))
    found = network(images)
    assert torch.equal(seen[0], pad(images, (0, 15, 0, 12), mode="replicate"))
    assert torch.equal(found, network.network(images))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("list", r"got list of 0: \(1, 2, 8, 8\), 1: \(1, 2, 8, 8\); switch off deep supervision"),
        ("dict", r"got dict of out: \(1, 2, 8, 8\)"),
        ("pooled", r"expected logits \(N, 2, H, W\), for 2 classes, got \(1, 2\)"),
    ],
)
def test_an_output_that_is_no_map_is_refused(kind, message):
    with pytest.raises(ValueError, match=message):
        check_output(AdaptedNetwork(Several(kind), Adaptation(2)), 3, 8)


@pytest.mark.parametrize("is_training", [True, False])
def test_a_trial_leaves_the_network_as_it_is(is_training):
    network = AdaptedNetwork(Strided(), Adaptation(2, "group")).train(is_training)
    check_output(network, 3, 8)
    assert all(module.training == is_training for module in network.modules())


def test_another_number_of_classes_and_a_size_that_does_not_fit_are_refused():
    with pytest.raises(ValueError, match="for 3 classes, got .1, 2,"):
        check_output(AdaptedNetwork(Strided(), Adaptation(3, "group")), 3, 8)
    with pytest.raises(ValueError, match="does not take images of 4 channels and 8 x 8 px .*multiple_px"):
        check_output(AdaptedNetwork(Strided(), Adaptation(2, "group")), 4, 8)


def test_batch_norm_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"1 BatchNorm layers, the first at 'encoder\.1'.* give the label away"):
        AdaptedNetwork(Strided(), Adaptation(2))


def test_group_norm_takes_its_place_and_knows_no_batch():
    torch.manual_seed(0)
    network = AdaptedNetwork(Strided(), Adaptation(2, "group")).train()
    images = torch.rand(4, 3, 16, 16)
    assert [module.num_groups for module in network.modules() if isinstance(module, nn.GroupNorm)] == [8]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-6)


def test_the_affine_norm_starts_as_batch_norm_is_in_testing():
    torch.manual_seed(0)
    inner, images = Strided(), torch.rand(4, 3, 16, 16)
    with torch.no_grad():
        inner.encoder[1].weight.uniform_(0.5, 2)
        inner.encoder[1].bias.uniform_(-1, 1)
    inner.train()(images)  # so that it has statistics
    expected = interpolate(inner.eval()(images), scale_factor=4, mode="bilinear", align_corners=False)
    network = AdaptedNetwork(inner, Adaptation(2, "affine")).train()
    assert torch.allclose(network(images), expected, atol=1e-5)
    before = network(images)
    network.fit_norms(images)
    assert torch.equal(network(images), before)


def test_an_affine_norm_without_statistics_is_fitted_to_images():
    torch.manual_seed(0)
    network, images = AdaptedNetwork(Strided(), Adaptation(2, "affine")), torch.rand(4, 3, 16, 16)
    fit_norms(network, images)
    norm = network.network.encoder[1]
    assert isinstance(norm, ActNorm)
    std, mean = torch.std_mean(norm(network.network.encoder[0](images)), (0, 2, 3))
    assert torch.allclose(mean, torch.zeros(8), atol=1e-5) and torch.allclose(std, torch.ones(8), atol=1e-4)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_an_encoder_starts_with_weights_from_a_file(tmp_path, caplog, suffix):
    source, network, path = Strided(), Strided(), tmp_path / f"encoder{suffix}"
    content = source.encoder.state_dict() | {"fc.weight": torch.zeros(3)}
    (save_file if suffix == ".safetensors" else torch.save)(content, path)
    with caplog.at_level(logging.WARNING):
        load_weights(network, path, "encoder")
    assert torch.equal(network.encoder[0].weight, source.encoder[0].weight)
    assert "1 weights are not of the network: fc.weight" in caplog.text


def test_faulty_weights_are_named(tmp_path):
    network = Strided()
    with pytest.raises(FileNotFoundError, match="found none at"):
        load_weights(network, tmp_path / "none.pt")
    torch.save({"0.weight": torch.zeros(1)}, tmp_path / "few.pt")
    with pytest.raises(ValueError, match=r"6 of 7 weights are missing: 0\.bias"):
        load_weights(network, tmp_path / "few.pt", "encoder")
    torch.save(network.encoder.state_dict() | {"0.weight": torch.zeros(1)}, tmp_path / "shape.pt")
    with pytest.raises(ValueError, match=r"expected 0\.weight of \(8, 3, 4, 4\), got \(1,\)"):
        load_weights(network, tmp_path / "shape.pt", "encoder")
    torch.save(network, tmp_path / "pickled.pt")
    with pytest.raises(ValueError, match="not a file of weights that is safe to read"):
        load_weights(network, tmp_path / "pickled.pt")
    with pytest.raises(ValueError, match="no part 'backbone'; it has encoder, head"):
        load_weights(network, tmp_path / "few.pt", "backbone")


def test_parts_are_frozen_or_have_their_own_learning_rate():
    network = AdaptedNetwork(Strided(), Adaptation(2, "group"))
    groups = parameter_groups(network, {"encoder": 1e-5})
    assert [len(group["params"]) for group in groups] == [4, 2]
    assert groups[0]["lr"] == 1e-5 and "lr" not in groups[1]
    nested = parameter_groups(network, {"encoder": 1e-5, "encoder.0": 1e-6})
    assert [(group.get("lr"), len(group["params"])) for group in nested] == [(1e-6, 2), (1e-5, 2), (None, 2)]
    freeze(network, ["encoder"])
    assert [len(group["params"]) for group in parameter_groups(network, {})] == [2]
    with pytest.raises(ValueError, match="'encoder' has a learning rate and nothing to train"):
        parameter_groups(network, {"encoder": 1e-5})
    with pytest.raises(ValueError, match="nothing to train"):
        freeze(network, ["head"])
