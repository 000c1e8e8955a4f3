import pytest
import torch

from lsr_ext.networks import SegmentationUNet
from lsr_ext.networks.norms import ActNorm


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (37, 51), (64, 33)])
def test_logits_have_the_size_of_the_image(size):
    network = SegmentationUNet(3, features=[8] * 6, norm_groups=4)
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_blocks_of_a_batch_do_not_see_each_other():
    network = SegmentationUNet(2, features=[8] * 6, norm_groups=4).train()
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


def test_even_and_odd_pixels_are_treated_alike():
    torch.manual_seed(0)
    network = SegmentationUNet(2, [8] * 6, norm_groups=4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        logits = network(torch.full((1, 3, 512, 512), 0.3))
    inner = logits[..., 224:288, 224:288]  # too far from the border to feel it, and the image is the same all over
    torch.testing.assert_close(inner, inner[..., :1, :1].expand_as(inner), atol=1e-4, rtol=1e-4)


def test_features_are_enlarged_alike_wherever_they_are():
    network = SegmentationUNet(2, [8] * 6, norm_groups=4)
    enlarging = [module for module in network.modules() if isinstance(module, torch.nn.Upsample)]
    assert len(enlarging) == 4
    spot = torch.zeros(1, 1, 20, 20)
    spot[..., 9, 9] = 1
    for module in enlarging:
        moved = module(spot.roll((1, 1), (2, 3)))
        torch.testing.assert_close(moved, module(spot).roll((2, 2), (2, 3)))


def test_an_untrained_network_starts_at_the_prior():
    torch.manual_seed(0)
    network = SegmentationUNet(3, [8] * 6, norm_groups=4)
    expected = torch.tensor([0.9, 0.07, 0.03])
    network.start_at(expected)
    with torch.no_grad():
        found = network(torch.rand(2, 3, 32, 32)).softmax(1).mean((0, 2, 3))
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.5)


def test_images_may_have_more_channels():
    assert SegmentationUNet(2, [8] * 6, norm_groups=4, in_channels=4)(torch.rand(1, 4, 20, 20)).shape == (
        1,
        2,
        20,
        20,
    )


def test_fitted_norms_give_mean_0_and_std_1_layer_after_layer():
    torch.manual_seed(0)
    network = SegmentationUNet(2, [8] * 6, norm_groups=4)
    images = 100 + 30 * torch.rand(8, 3, 32, 32)
    network.fit_norms(images)
    seen = []
    norms = [module for module in network.modules() if isinstance(module, ActNorm)]
    for norm in norms:
        # Cloned, for LeakyReLU writes in place.
        norm.register_forward_hook(lambda norm, features, found: seen.append(found.clone()))
    with torch.no_grad():
        network(images)
    assert len(seen) == 4
    for features in seen:
        channels = features.transpose(0, 1).flatten(1).double()
        torch.testing.assert_close(channels.mean(1), torch.zeros(8).double(), atol=1e-4, rtol=0)
        torch.testing.assert_close(channels.std(1), torch.ones(8).double(), atol=1e-4, rtol=0)


def test_a_constant_channel_is_fitted_without_dividing_by_zero():
    norm = ActNorm(1)
    features = torch.full((2, 1, 4, 4), 3.0)
    norm.fit(features)
    assert torch.equal(norm(features), torch.zeros_like(features))


def test_a_block_that_is_brighter_all_over_looks_otherwise_to_the_network():
    torch.manual_seed(0)
    network = SegmentationUNet(2, [8] * 6, norm_groups=4)
    image = torch.rand(1, 3, 32, 32)
    network.fit_norms(torch.cat([image, image + 1]))
    with torch.no_grad():
        means = network(torch.cat([image, image + 1])).mean((2, 3))
    assert (means[1] - means[0]).abs().max() > 0.05
