"""Targets that are the blocks' own: against the loss by label, closed forms, and torch's own losses."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import samples

from lsr_ext import CountDistribution, FractionLoss, LabelSuperResolutionLoss
from lsr_ext.distributions import binomial_std
from lsr_ext.functional import block_moments, fraction_loss
from lsr_ext.options import FORMS, MODES

DISTRIBUTION = CountDistribution([[0.1, 0.9], [0.6, 0.4], [0.3, 0.7]], [[0.05, 0.04], [0.1, 0.2], [0.07, 0.1]])


def batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(8, 2, 6, 6, generator=generator, dtype=torch.float64)
    return logits.to(dtype).requires_grad_(), torch.tensor([0, 1, 1, 0, -1, 2, 2, 1])


def value_and_gradient(loss, logits):
    return loss.detach(), torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", MODES)
def test_targets_of_labels_give_the_loss_by_label(mode, form, backend):
    """To the bit by the kernels, where the labels are the groups."""
    logits, labels = batch()
    known = labels.clamp(min=0)
    fractions = torch.where((labels >= 0)[:, None], DISTRIBUTION.mean[known], torch.nan)
    options = {"mode": mode, "form": form, "backend": backend, "sharpness": 0.1}
    expected = value_and_gradient(LabelSuperResolutionLoss(DISTRIBUTION, **options)(logits, labels), logits)
    found = value_and_gradient(
        FractionLoss(**options)(logits, fractions, DISTRIBUTION.std[known], group=labels), logits
    )
    for actual, wanted in zip(found, expected, strict=True):
        if backend == "fused":
            assert torch.equal(actual, wanted)
        torch.testing.assert_close(actual, wanted, rtol=1e-12, atol=1e-14)


def predicted(logits):
    n, S, _ = block_moments(logits)
    return S / n[:, None]


def test_proportion_is_the_cross_entropy_of_fractions():
    logits, _ = batch()
    fractions = torch.rand(8, 1, dtype=torch.float64).expand(8, 2) * torch.tensor([1.0, -1.0]) + torch.tensor(
        [0, 1]
    )
    expected = torch.nn.functional.cross_entropy(torch.log(predicted(logits) + 1e-6), fractions) / 2
    # Cross-entropy normalises its input: the 1e-6 of both classes.
    expected = expected - math.log(1 + 2e-6) / 2
    assert FractionLoss(form="proportion")(logits, fractions).item() == pytest.approx(expected.item(), rel=1e-12)


def test_squared_is_the_mean_squared_error():
    logits, _ = batch()
    fractions = torch.rand(8, 2, dtype=torch.float64)
    expected = torch.nn.functional.mse_loss(predicted(logits), fractions)
    assert FractionLoss(form="squared")(logits, fractions).item() == pytest.approx(expected.item(), rel=1e-12)


def test_size_is_nothing_within_the_interval():
    logits, _ = batch()
    fractions = torch.full((8, 2), 0.5, dtype=torch.float64)
    mu = predicted(logits)
    for std in (0.02, 0.5):
        beyond = torch.maximum(torch.maximum(mu - 0.5 - std, 0.5 - std - mu), torch.zeros(()))
        loss = FractionLoss(form="size", std=std)(logits, fractions)
        assert loss.item() == pytest.approx(beyond.square().mean().item(), rel=1e-12, abs=1e-15)


def test_a_group_compares_residuals():
    """Two blocks whose residuals cancel, whatever their targets: the mean is right, the variance is theirs."""
    p = torch.tensor([0.3, 0.8], dtype=torch.float64)
    logits = torch.log(torch.stack([1 - p, p], 1))[:, :, None, None].expand(-1, -1, 2, 2)
    fractions = torch.stack([1 - p, p], 1) + torch.tensor([[0.05, -0.05], [-0.05, 0.05]], dtype=torch.float64)
    std = torch.tensor([[0.1], [0.3]], dtype=torch.float64).expand(2, 2)
    loss = fraction_loss(logits, fractions, std, mode="inter", floor=0.0)
    variance, r2 = 0.05**2, (0.1**2 + 0.3**2) / 2
    assert loss.item() == pytest.approx(0.5 * math.log(2 * math.pi * (variance + r2)), rel=1e-9)


@given(samples(), st.data())
def test_a_block_of_weight_two_counts_as_two(sample, data):
    if sample.options["block_ids"] is not None or sample.blocks == 0:
        return
    weights = torch.tensor(data.draw(st.lists(st.integers(0, 3), min_size=sample.blocks, max_size=sample.blocks)))

    def repeated(x):
        return None if x is None else x.repeat_interleave(weights, 0)

    by_block = ("group", "mask")
    options = {**sample.options, "block_weights": None}
    copies = {**options, **{name: repeated(options[name]) for name in by_block}}
    labels = repeated(sample.labels)
    targets = (
        (repeated(sample.mean), repeated(sample.std)) if labels is None else (labels, sample.mean, sample.std)
    )
    logits = sample.logits.double()
    expected = sample.loss(repeated(logits), *targets, **copies)
    options["block_weights"] = weights.double()
    torch.testing.assert_close(sample.loss(logits, **options), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("mode", MODES)
def test_no_reduction_gives_each_block_its_own(mode):
    """Each block's (its group's) loss is that of a batch of it (of its group) alone."""
    logits, labels = batch()
    loss_fn = LabelSuperResolutionLoss(DISTRIBUTION, mode=mode, reduction="none")
    whole = LabelSuperResolutionLoss(DISTRIBUTION, mode=mode)
    losses = loss_fn(logits, labels)
    assert losses.shape == (8,) and losses[4] == 0
    for k in (k for k in range(8) if labels[k] >= 0):
        members = labels == labels[k] if mode != "intra" else torch.arange(8) == k
        assert losses[k].item() == pytest.approx(whole(logits[members], labels[members]).item(), rel=1e-12)
    assert torch.autograd.grad(losses.sum(), logits)[0].any()


def test_binomial_std_of_counted_cells():
    fractions = torch.tensor([[0.2, 0.8], [0.0, 1.0]], dtype=torch.float64)
    std = binomial_std(fractions, torch.tensor([100.0, 50.0]))
    expected = torch.distributions.Binomial(100, fractions[0]).stddev / 100
    torch.testing.assert_close(std[0], expected)
    assert std[1, 0].item() == pytest.approx(math.sqrt(0.01 * 0.99 / 50))
    assert std[1, 1].item() == pytest.approx(std[1, 0].item())
    with pytest.raises(ValueError, match="counts must be at least 1, got 0"):
        binomial_std(fractions, torch.tensor([100.0, 0.0]))
    for wrong in (0, -3.0, 0.5, math.nan):
        with pytest.raises(ValueError, match=f"counts must be at least 1, got {wrong:g}"):
            binomial_std(fractions, wrong)
    with pytest.raises(ValueError, match=r"fractions must lie in \[0, 1\] or be NaN, got values from -2 to 37"):
        binomial_std(torch.tensor([[math.nan, 37.0, -2.0]]), 10)


def test_what_checks_numbers_compiles_in_one_graph_and_maps():
    torch._dynamo.reset()
    logits, fractions = batch(torch.float32)[0], torch.rand(8, 2)
    loss_fn = FractionLoss(form="kl")

    def step(logits, fractions, std):
        return loss_fn(logits, fractions, std) + binomial_std(fractions, 100).sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for std in (0.1, 0.2, 0.3):
        torch.testing.assert_close(compiled(logits, fractions, std), step(logits, fractions, std))
    mapped = torch.func.vmap(lambda row: binomial_std(row[None], 100)[0])(fractions)
    torch.testing.assert_close(mapped, binomial_std(fractions, 100))


def test_binomial_std_of_one_number_reads_no_value():
    assert binomial_std(torch.empty(2, 3, device="meta"), 100).shape == (2, 3)  # of tensors without values


def test_std_by_number_class_block_or_fraction():
    logits, _ = batch()
    fractions = torch.rand(8, 2, dtype=torch.float64)
    table = torch.full((8, 2), 0.1, dtype=torch.float64)
    expected = FractionLoss()(logits, fractions, table)
    for std in (0.1, torch.full((8,), 0.1), torch.full((1, 2), 0.1, dtype=torch.float64)):
        torch.testing.assert_close(FractionLoss()(logits, fractions, std), expected, rtol=1e-6, atol=0)
    for std in (0.1, [0.1, 0.1]):
        assert torch.equal(FractionLoss(std=std)(logits, fractions), expected)


REFUSED = [
    ({"fractions": torch.rand(8, 3)}, r"fractions must have shape \(N, L\) with L = 2, got \(8, 3\)"),
    ({"fractions": torch.rand(7, 2)}, "fractions are given for 7 blocks, logits for 8"),
    ({"fractions": torch.full((8, 2), 37.0)}, r"fractions must lie in \[0, 1\] or be NaN, got 37 for block 0"),
    ({"std": torch.rand(3)}, r"one a class as \(1, L\) or one a fraction of \(8, 2\), got \(3, 1\)"),
    ({"std": -0.05}, r"std must be a number in \[0, 1\], got -0.05"),
    ({"std": 5.0}, r"std must be a number in \[0, 1\], got 5"),
    ({"std": math.nan}, r"std must be a number in \[0, 1\], got nan"),
    ({"std": torch.full((8, 2), 5.0)}, r"std must lie in \[0, 1\] or be NaN, got 5 for block 0, class 0"),
    ({"std": None}, "form 'marginal' needs a std of the fractions"),
    ({"block_weights": torch.ones(3)}, r"block_weights must have shape \(8,\), got \(3,\)"),
    ({"block_weights": torch.zeros(8)}, "block_weights must be finite numbers >= 0, one at least above 0"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["proportion", "squared"])
def test_a_form_that_needs_no_std_ignores_it(form):
    logits, _ = batch()
    fractions = torch.rand(8, 2, dtype=torch.float64)
    expected = FractionLoss(form=form)(logits, fractions)
    assert expected > 0
    for std in (0.3, torch.full((8, 2), torch.nan, dtype=torch.float64)):
        assert torch.equal(FractionLoss(form=form)(logits, fractions, std), expected)


@pytest.mark.parametrize("form", ["kl", "reverse_kl"])
def test_a_number_of_zero_is_refused_where_the_form_divides_by_it(form):
    for loss, std in ((lambda: FractionLoss(form=form, std=0.0), None), (lambda: FractionLoss(form=form), 0.0)):
        with pytest.raises(ValueError, match=f"form '{form}' needs std > 0, got 0"):
            loss()(batch()[0], torch.rand(8, 2), std)


@pytest.mark.parametrize("weights", ["class_weights", "block_weights"])
@pytest.mark.parametrize("options", [{}, {"backend": "reference"}, {"reduction": "none"}])
def test_a_negative_weight_is_refused(weights, options):
    given = torch.tensor([1.0, -2.0]) if weights == "class_weights" else torch.tensor([1.0, -2.0, *[1.0] * 6])
    fractions = torch.rand(8, 2)
    with pytest.raises(ValueError, match=f"{weights} must be >= 0, got -2"):
        fraction_loss(batch()[0], fractions, torch.full_like(fractions, 0.1), **{weights: given}, **options)


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_bad_input(change, message):
    logits, _ = batch(torch.float32)
    arguments = {"fractions": torch.rand(8, 2), "std": 0.1, "validate": True, **change}
    with pytest.raises(ValueError, match=message):
        FractionLoss()(logits, **arguments)


def test_lists_arrays_and_integers_are_named():
    with pytest.raises(TypeError, match="fractions must be a tensor, got list"):
        FractionLoss(std=0.1)(batch()[0], [[0.1, 0.9]] * 8)
    logits, labels = batch(torch.float32)
    loss_fn = LabelSuperResolutionLoss(DISTRIBUTION)
    for bad, kind in ((labels.tolist(), "list"), (labels.numpy(), "ndarray")):
        with pytest.raises(TypeError, match=f"labels must be a tensor, got {kind}"):
            loss_fn(logits, bad)
    for dtype in (torch.int8, torch.int16, torch.int32):
        assert torch.equal(loss_fn(logits, labels.to(dtype)), loss_fn(logits, labels))
    for backend in ("fused", "reference"):
        with pytest.raises(ValueError, match=r"labels must lie in \[-1, 2\], got -100 for block 0"):
            LabelSuperResolutionLoss(DISTRIBUTION, backend=backend)(logits, torch.full((8,), -100))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize(
    ("backend", "reduction"), [("auto", "none"), ("reference", "none"), ("reference", "mean")]
)
def test_labels_out_of_range_that_nobody_could_look_at_give_nan(dtype, backend, reduction):
    """As on a GPU: a compiled call does not read values before it runs."""
    logits, _ = batch(torch.float32)
    loss_fn = LabelSuperResolutionLoss(DISTRIBUTION, reduction=reduction, backend=backend)
    torch._dynamo.reset()
    compiled = torch.compile(loss_fn, backend="eager")
    good = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1], dtype=dtype)
    torch.testing.assert_close(compiled(logits, good), loss_fn(logits, good, validate=True))
    assert compiled(logits, good + 2).isnan().all()


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["block_weights", "class_weights"])
def test_a_weight_that_is_no_number_shows(name, mode, backend):
    logits, _ = batch(torch.float32)
    fractions = torch.rand(8, 2)
    weights = torch.ones(8 if name == "block_weights" else 2)
    weights[1] = torch.nan
    std = torch.full_like(fractions, 0.1)
    assert fraction_loss(logits, fractions, std, mode=mode, backend=backend, **{name: weights}).isnan()
