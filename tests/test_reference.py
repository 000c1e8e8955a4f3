"""The specification against closed forms, numerical integrals and loops that know nothing of it."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Normal, kl_divergence

from lsr_ext import reference
from lsr_ext.options import FORMS, MODES

PIXELS = (3, 5)
N = PIXELS[0] * PIXELS[1]


def one_cell(p, eta, rho, **options):
    """The loss of one block of one class whose every pixel has probability p: mu = p, s = p (1 - p) / N."""
    logits = torch.full((1, 1, *PIXELS), math.log(p / (1 - p)), dtype=torch.float64)
    mean, std = (torch.tensor([[value]], dtype=torch.float64) for value in (eta, rho))
    options = {"floor": 0.0, "activation": "sigmoid", "mode": "intra"} | options
    return reference.label_super_resolution_loss(logits, torch.tensor([0]), mean, std, **options).item()


CELLS = [(0.3, 0.25, 0.1), (0.9, 0.1, 0.02), (0.05, 0.6, 0.3), (0.5, 0.5, 0.13)]


@pytest.mark.parametrize(("p", "eta", "rho"), CELLS)
def test_kl_forms_equal_torch_distributions(p, eta, rho):
    p, eta, rho = torch.tensor([p, eta, rho], dtype=torch.float64)
    predicted, target = Normal(p, torch.sqrt(p * (1 - p) / N)), Normal(eta, rho)
    assert one_cell(p, eta, rho, form="kl") == pytest.approx(kl_divergence(predicted, target).item(), rel=1e-6)
    assert one_cell(p, eta, rho, form="reverse_kl") == pytest.approx(
        kl_divergence(target, predicted).item(), rel=1e-6
    )


@pytest.mark.parametrize(("p", "eta", "rho"), CELLS)
def test_marginal_is_the_integral_of_the_product_of_the_densities(p, eta, rho):
    predicted, target = stats.norm(p, math.sqrt(p * (1 - p) / N)), stats.norm(eta, rho)
    overlap, _ = integrate.quad(
        lambda c: predicted.pdf(c) * target.pdf(c), -3, 4, points=[p, eta], limit=500, epsabs=0, epsrel=1e-10
    )
    assert one_cell(p, eta, rho, form="marginal") == pytest.approx(-math.log(overlap), rel=1e-6)


@pytest.mark.parametrize(("p", "eta", "rho"), CELLS)
def test_paper_is_the_predicted_density_at_the_likeliest_count(p, eta, rho):
    """Eq. 5: C is the likeliest count under both Gaussians; the loss is -log p_net(C)."""
    predicted, target = stats.norm(p, math.sqrt(p * (1 - p) / N)), stats.norm(eta, rho)
    counts = np.linspace(-0.5, 1.5, 2_000_001)
    likeliest = counts[np.argmax(predicted.logpdf(counts) + target.logpdf(counts))]
    assert one_cell(p, eta, rho, form="paper") == pytest.approx(-predicted.logpdf(likeliest), abs=1e-4)


@pytest.mark.parametrize(("p", "eta", "rho"), CELLS)
def test_wasserstein_is_the_distance_between_quantiles(p, eta, rho):
    predicted, target = stats.norm(p, math.sqrt(p * (1 - p) / N)), stats.norm(eta, rho)
    squared, _ = integrate.quad(lambda u: (predicted.ppf(u) - target.ppf(u)) ** 2, 0, 1, limit=500)
    assert one_cell(p, eta, rho, form="wasserstein") == pytest.approx(squared, rel=1e-6)


def test_legacy_by_hand():
    """p = 0.2, 15 pixels: Q/n = 0.16, s = 0.16 / 15; d = 0.3, r2 = 0.01."""
    s = 0.16 / 15
    expected = 0.09 / (s + 0.01 + 1e-6) + math.log(0.16 + 0.03)
    assert one_cell(0.2, 0.5, 0.1, form="legacy", floor=None) == pytest.approx(expected, rel=1e-6)
    # A group of one has V = 0; within "intra+inter" its variance is the block's own.
    group = s * 0.09 / (s + 0.01 + 1e-6) ** 2 + math.log(s + 0.03)
    assert one_cell(0.2, 0.5, 0.1, form="legacy", mode="intra+inter", floor=None) == pytest.approx(group, rel=1e-6)


def marginal(d, s, r2):
    return 0.5 * d**2 / (r2 + s) + 0.5 * math.log(2 * math.pi * (r2 + s))


def test_variance_conventions_by_hand():
    """p = 0.5, 15 pixels: p (1 - p) = 1/4, whose mean is 1/4 and whose variance of the mean is 1/60."""
    for variance, s in [("independent", 1 / 60), ("printed", 1 / 4), (5.0, 1 / 20), (100.0, 1 / 60)]:
        assert one_cell(0.5, 0.2, 0.3, form="marginal", variance=variance) == pytest.approx(
            marginal(-0.3, s, 0.09), rel=1e-6
        )


def test_alpha_scales_the_standard_deviation():
    expected = one_cell(0.5, 0.2, 0.5 * 0.3)
    assert one_cell(0.5, 0.2, 0.3, alpha=0.5) == pytest.approx(expected, rel=1e-12)


def test_default_floor_is_the_targets_own_variance_for_paper():
    """s + r2 + 1e-8 in place of s."""
    s = 0.25 / 15 + 0.09 + 1e-8
    expected = 0.5 * s * 0.09 / (0.09 + s) ** 2 + 0.5 * math.log(2 * math.pi * s)
    assert one_cell(0.5, 0.2, 0.3, form="paper", floor=None) == pytest.approx(expected, rel=1e-6)


def test_sharpness_by_hand():
    plain = one_cell(0.2, 0.5, 0.1)
    assert one_cell(0.2, 0.5, 0.1, sharpness=0.5) == pytest.approx(plain + 0.5 * math.log(0.16 + 0.03))


def test_block_moments_by_loops():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    mask = torch.rand(2, 4, 5) > 0.4
    for activation in ("softmax", "sigmoid"):
        n, S, Q = reference.block_moments(logits, mask, activation)
        for k in range(2):
            pixels = [(i, j) for i, j in itertools.product(range(4), range(5)) if mask[k, i, j]]
            assert n[k] == len(pixels)
            for c in range(3):
                ps = []
                for i, j in pixels:
                    x = [math.exp(v) for v in logits[k, :, i, j].tolist()]
                    ps.append(x[c] / sum(x) if activation == "softmax" else x[c] / (1 + x[c]))
                assert S[k, c].item() == pytest.approx(sum(ps), rel=1e-12)
                assert Q[k, c].item() == pytest.approx(sum(p * (1 - p) for p in ps), rel=1e-12)


def test_block_ids_equal_one_image_per_block():
    """A grid of cells as block ids gives the moments of the cells cut out."""
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, 6, dtype=torch.float64)
    ids = torch.arange(4).reshape(2, 2).repeat_interleave(2, 0).repeat_interleave(3, 1)[None].int()
    ids[0, 0, 0] = -1
    cells = torch.stack([logits[0, :, i : i + 2, j : j + 3] for i in (0, 2) for j in (0, 3)])
    mask = torch.ones(4, 2, 3, dtype=torch.bool)
    mask[0, 0, 0] = False
    whole = reference.block_moments(logits, block_ids=ids, num_blocks=5)
    parts = reference.block_moments(cells, mask)
    for table, expected in zip(whole, parts, strict=True):
        torch.testing.assert_close(table[:4], expected)
        assert not table[4].any()


def brute_force(logits, labels, mean, std, mode, group, weights):
    """The marginal loss by dictionaries and loops over groups (Eq. 8, 11), class by class."""
    p = logits.softmax(1).flatten(2).numpy()
    total = weight = 0.0
    for c in range(p.shape[1]):
        groups = {}
        for k in range(p.shape[0]):
            z = labels[k] if labels.ndim == 1 else labels[k, c]
            if z >= 0:
                key = (k,) if mode == "intra" else (z, 0 if group is None else group[k])
                groups.setdefault((z, key), []).append(k)
        for (z, _), members in groups.items():
            mu = np.array([p[k, c].mean() for k in members])
            s = np.array([(p[k, c] * (1 - p[k, c])).sum() / p.shape[2] ** 2 for k in members])
            variance = {"intra": s.mean(), "inter": mu.var(), "intra+inter": mu.var() + s.mean()}[mode]
            total += weights[c] * marginal(mean[z, c] - mu.mean(), variance + 1e-8, std[z, c] ** 2)
            weight += weights[c]
    return total / weight


@pytest.mark.parametrize("mode", ["intra", "inter", "intra+inter"])
@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_groups_by_brute_force(mode, per_class, grouped):
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(9, 3, 4, 4)))
    labels = rng.integers(-1, 3, (9, 3) if per_class else 9)
    group = rng.integers(0, 2, 9) if grouped else None
    mean, std, weights = rng.uniform(size=(3, 3)), rng.uniform(0.05, 0.3, (3, 3)), np.array([1.0, 0.5, 2.0])
    loss = reference.label_super_resolution_loss(
        logits,
        torch.from_numpy(labels),
        torch.from_numpy(mean),
        torch.from_numpy(std),
        mode=mode,
        group=None if group is None else torch.from_numpy(group),
        class_weights=torch.from_numpy(weights),
    )
    assert loss.item() == pytest.approx(brute_force(logits, labels, mean, std, mode, group, weights), rel=1e-10)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_gradcheck(form, mode, labelled):
    torch.manual_seed(1)
    logits = torch.randn(4, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    mean, std = torch.rand(2, 3).double(), (torch.rand(2, 3) * 0.2 + 0.1).double()
    labels = torch.tensor([0, 0, 1, -1])
    if not labelled:  # groups compare residuals
        mean, std, labels = torch.rand(4, 3).double(), std[[0, 1, 1, 0]], None

    def loss(x):
        return reference.label_super_resolution_loss(x, labels, mean, std, form=form, mode=mode, sharpness=0.3)

    assert torch.autograd.gradcheck(loss, logits)
