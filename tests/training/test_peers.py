import math

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from lsr_ext import CountDistribution
from lsr_ext.training.peers import (
    PEERS,
    ImplicitPosteriorLoss,
    MaximumLoss,
    ReverseImplicitPosteriorLoss,
)

DISTRIBUTION = CountDistribution(
    [[0.98, 0.01, 0.01], [0.5, 0.1, 0.4], [0.6, 0.4, 0.0]], np.full((3, 3), 0.1), ["none", "b", "a"]
)
LABELS = torch.tensor([0, 1, 2, -1, 1])


@pytest.fixture
def logits():
    return torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 2


def priors():
    rows = DISTRIBUTION.mean.float().clamp(min=1e-4)
    return rows / rows.sum(1, keepdim=True)


@pytest.mark.parametrize("loss", PEERS.values(), ids=PEERS)
def test_what_does_not_fit_is_refused(logits, loss):
    for wrong in ((logits, LABELS[:1]), (logits[:, :2], LABELS)):
        with pytest.raises(ValueError, match="expected labels of 5 blocks and logits of 3 classes"):
            loss(DISTRIBUTION)(*wrong)
    assert loss(DISTRIBUTION)(logits, LABELS.to(torch.int8)) == loss(DISTRIBUTION)(logits, LABELS)


def test_qr_is_the_free_energy_pixel_by_pixel(logits):
    known = LABELS >= 0
    q = logits[known].softmax(1).movedim(1, -1).reshape(-1, 3)
    p = priors()[LABELS[known]].repeat_interleave(24, 0)
    # KL(q_i || p_i q_i / sum_j q_j), not normalised, and the logarithm of the number of pixels.
    joint = p * q / q.sum(0)
    expected = (q * (q / joint).log()).sum(1).mean() - math.log(len(q))
    torch.testing.assert_close(ImplicitPosteriorLoss(DISTRIBUTION)(logits, LABELS), expected)


def test_rq_is_the_divergence_of_the_posterior(logits):
    known = LABELS >= 0
    q = logits[known].softmax(1).movedim(1, -1).reshape(-1, 3)
    joint = priors()[LABELS[known]].repeat_interleave(24, 0) * q / q.sum(0)
    r = joint / joint.sum(1, keepdim=True)
    expected = (r * (r / q).log()).sum(1).mean()
    torch.testing.assert_close(ReverseImplicitPosteriorLoss(DISTRIBUTION)(logits, LABELS), expected)


def test_maximum_is_the_cross_entropy_of_the_surest_pixel(logits):
    surest = logits.softmax(1).amax((2, 3))
    there = torch.tensor([[0.0, 0, 0], [0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1]])
    known = [0, 1, 2, 4]
    # Class 0 is there by all labels, so nothing is learned of it.
    expected = binary_cross_entropy(surest[known, 1:], there[known, 1:])
    torch.testing.assert_close(MaximumLoss(DISTRIBUTION)(logits, LABELS), expected)


def test_maximum_needs_a_class_that_is_sometimes_absent():
    always = CountDistribution([[0.9, 0.1], [0.5, 0.5]], [[0.1, 0.1], [0.1, 0.1]])
    with pytest.raises(ValueError, match=r"absent .*got expected fractions from 0.500, 0.100 to 0.900, 0.500"):
        MaximumLoss(always)


def test_labels_per_class_leave_unknown_classes_what_is_left():
    loss = ImplicitPosteriorLoss(DISTRIBUTION)
    labels = torch.tensor([[-1, 1, 2]])
    _, log_prior = loss._logarithms(torch.zeros(1, 3, 2, 2), labels, None)
    expected = torch.tensor([0.9, 0.1, 1e-4])
    torch.testing.assert_close(log_prior.flatten().exp(), expected / expected.sum())


@pytest.mark.parametrize("loss", PEERS.values(), ids=PEERS)
def test_gradients_are_finite_for_sure_and_unsure_pixels_alike(loss, logits):
    images = torch.cat([logits, logits * 100, logits * 0]).requires_grad_()
    loss(DISTRIBUTION)(images, LABELS.repeat(3)).backward()
    assert images.grad.isfinite().all() and images.grad.abs().sum() > 0


@pytest.mark.parametrize("loss", PEERS.values(), ids=PEERS)
def test_nothing_known_costs_nothing(loss, logits):
    images = logits.clone().requires_grad_()
    value = loss(DISTRIBUTION)(images, torch.full((5,), -1))
    value.backward()
    assert value == 0 and (images.grad == 0).all()


@pytest.mark.parametrize("loss", PEERS.values(), ids=PEERS)
def test_several_blocks_in_an_image_are_refused(loss, logits):
    with pytest.raises(ValueError, match="one block per image, got block_ids"):
        loss(DISTRIBUTION)(logits, LABELS, block_ids=torch.zeros(5, 4, 6, dtype=torch.int32))
