"""The fused path against the reference in float64, by value and by gradient; and what is refused."""

import warnings

import pytest
import torch
from hypothesis import given
from samples import lay_out, samples, split_options

import lsr_ext
from lsr_ext import functional, reference

# Relative to the largest gradient; beside it what the type cannot hold, or the reference's p (1 - p) loses.
TOLERANCE = {
    torch.float64: (1e-9, 1e-9),
    torch.float32: (1e-5, 1e-9),
    torch.bfloat16: (2.0**-8, 1e-9),
    torch.float16: (2.0**-10, 2.0**-24),
}


def moment_arguments(sample):
    """What block sums take beside the logits."""
    ids = sample.options["block_ids"]
    return {
        "mask": sample.options["mask"],
        "activation": sample.options["activation"],
        "block_ids": ids,
        "num_blocks": None if ids is None else sample.blocks,
    }


def assert_sums_equal_reference(sample, sums):
    """Counts exactly, sums of p and of p (1 - p) to the digits of the type they are computed in."""
    relative = 1e-12 if sample.logits.dtype == torch.float64 else 1e-6
    expected = reference.block_moments(sample.logits.double(), **moment_arguments(sample))
    for actual, table, tolerance in zip(sums, expected, (0, relative, relative), strict=True):
        assert actual.dtype == torch.float64
        torch.testing.assert_close(actual, table, rtol=tolerance, atol=1e-11 if tolerance else 0)


def assert_loss_equals_reference(sample, value, gradient, sums):
    """Value, gradient (N, L, H, W) and block sums of a fast path against the reference in float64.

    In float64 from end to end. In types of fewer digits the gradient is the reference's at the sums given, which
    are held to its own: a group of nearly equal blocks has next to no variance, and a form that divides by it
    makes much of a last digit of the sums.
    """
    assert_sums_equal_reference(sample, sums)
    dtype = sample.logits.dtype
    logits = sample.logits.double().detach().requires_grad_()
    arguments = (sample.labels, sample.mean, sample.std)
    whole = reference.label_super_resolution_loss(logits, *arguments, **sample.options)
    loss, rounding = whole, 0.0
    if dtype != torch.float64:
        n, *exact = reference.block_moments(logits, **moment_arguments(sample))
        S, Q = (table + (own - table).detach() for table, own in zip(exact, sums[1:], strict=True))
        tensors, options = split_options(sample.options)
        tables = {name: tensors[name] for name in ("group", "class_weights", "block_weights")}
        loss = reference.table_loss(n, S, Q, *arguments, options, **tables)
        # The coefficients of the pixel gradient, too, are rounded to single precision, and may cancel.
        slopes = torch.cat(torch.autograd.grad(loss, (S, Q), retain_graph=True, materialize_grads=True))
        rounding = 2.0**-22 * slopes.abs().max().item() if slopes.numel() else 0.0
    (expected,) = torch.autograd.grad(loss, logits)

    assert value.dtype == torch.promote_types(dtype, torch.float32)
    assert gradient.dtype == dtype and gradient.shape == sample.logits.shape
    value_tolerance = {"rtol": 1e-9, "atol": 1e-9} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(value.double(), whole.detach(), **value_tolerance)
    relative, absolute = TOLERANCE[dtype]
    largest = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(gradient.double(), expected, rtol=0, atol=relative * largest + absolute + rounding)


@given(samples())
def test_fused_equals_reference(sample):
    logits = sample.logits.detach().requires_grad_()
    value = sample.loss(logits, backend="fused")
    (gradient,) = torch.autograd.grad(value, logits)
    sums = functional.block_moments(sample.logits, **moment_arguments(sample), backend="fused")
    assert_loss_equals_reference(sample, value.detach(), gradient, sums)


@given(samples())
def test_block_moments_equal_reference(sample):
    sums = functional.block_moments(sample.logits, **moment_arguments(sample), backend="fused")
    assert_sums_equal_reference(sample, sums)


def test_sums_of_a_large_block_keep_their_digits():
    """4096 x 4096 equal pixels: a running float32 sum would be off by percents."""
    logits = torch.full((1, 1, 1, 1), 0.7).expand(1, 1, 4096, 4096)
    p = torch.sigmoid(torch.tensor(0.7, dtype=torch.float64)).item()
    n, S, Q = functional.block_moments(logits, activation="sigmoid")
    assert n.item() == 4096**2
    assert S.item() == pytest.approx(4096**2 * p, rel=1e-6)
    assert Q.item() == pytest.approx(4096**2 * p * (1 - p), rel=1e-6)


def test_decided_pixels_keep_their_variance():
    """1 - p from p would be 0 in float32 from logits of 17 on."""
    logits = torch.tensor([0.0, 30.0]).reshape(1, 2, 1, 1)
    three = torch.tensor([0.0, 30.0, -5.0]).reshape(1, 3, 1, 1)
    for x, expected in ((logits, 9.357622968839299e-14), (three, 9.357622968839299e-14 * 1.0067379469990854)):
        _, _, Q = functional.block_moments(x)
        assert Q[0, 1].item() == pytest.approx(expected, rel=1e-6)


def test_probabilities_of_single_pixels_keep_their_digits():
    """Blocks of one pixel, whose sums are the probabilities themselves: an exp good to about an ulp."""
    logits = torch.linspace(-85, 20, 5000).reshape(-1, 1, 1, 1)
    expected = torch.sigmoid(logits.double()).flatten()
    _, S, _ = functional.block_moments(logits, activation="sigmoid")
    torch.testing.assert_close(S.flatten(), expected, rtol=3e-7, atol=0)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_gradcheck(layout, activation):
    torch.manual_seed(0)
    logits = lay_out(torch.randn(4, 3, 3, 5, dtype=torch.float64), layout).requires_grad_()
    mean, std = torch.rand(2, 3).double(), torch.rand(2, 3).double() * 0.2 + 0.1
    labels, mask = torch.tensor([0, 0, 1, -1]), torch.rand(4, 3, 5) > 0.3

    def loss(x):
        return functional.label_super_resolution_loss(
            x, labels, mean, std, mask=mask, activation=activation, sharpness=0.2, backend="fused"
        )

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradcheck(lambda x: functional.block_moments(x, mask, activation)[1:], logits)


def call(logits=None, labels=None, mean=None, std=None, **options):
    """A valid call, but for what is given."""
    return functional.label_super_resolution_loss(
        torch.zeros(2, 3, 4, 4) if logits is None else logits,
        torch.tensor([0, 1]) if labels is None else labels,
        torch.full((2, 3), 1 / 3) if mean is None else mean,
        torch.full((2, 3), 0.1) if std is None else std,
        **options,
    )


REFUSED = [
    ({"logits": torch.zeros(2, 3, 4)}, ValueError, r"logits must have shape \(N, L, H, W\), got \(2, 3, 4\)"),
    ({"logits": torch.zeros(2, 3, 4, 4).int()}, TypeError, "float16, got torch.int32"),
    ({"logits": torch.zeros(2, 1, 4, 4)}, ValueError, "softmax needs at least 2 classes, got 1"),
    ({"logits": torch.zeros(2, 0, 4, 4), "activation": "sigmoid"}, ValueError, "logits need at least one class"),
    ({"mean": torch.full((2, 3), 37.0)}, ValueError, r"mean must lie in \[0, 1\], got 37"),
    ({"std": torch.full((2, 3), -0.1)}, ValueError, r"std must lie in \[0, inf\], got -0.1"),
    ({"labels": torch.tensor([0.0, 1.0])}, TypeError, "labels must be integers, got torch.float32"),
    ({"labels": torch.tensor([0, 1, 1])}, ValueError, "labels are given for 3 blocks, logits for 2"),
    ({"labels": torch.zeros(2, 4).long()}, ValueError, "labels are given for 4 classes, logits for 3"),
    ({"labels": torch.zeros(2, 3, 1).long()}, ValueError, r"labels must have shape .* got \(2, 3, 1\)"),
    ({"labels": torch.tensor([0, 2])}, ValueError, r"labels must lie in \[-1, 1\], got 2 for block 1"),
    ({"labels": torch.tensor([-2, 0])}, ValueError, r"labels must lie in \[-1, 1\], got -2 for block 0"),
    ({"mean": torch.zeros(2, 2)}, ValueError, r"mean must have shape \(Z, L\) with L = 3, got \(2, 2\)"),
    ({"mean": torch.zeros(3, 3)}, ValueError, "mean and std must have one shape"),
    ({"mean": torch.zeros(2, 3).int()}, TypeError, "mean must be a float tensor"),
    ({"std": torch.zeros(2, 3).int()}, TypeError, "std must be a float tensor"),
    ({"std": torch.zeros(2, 2)}, ValueError, r"std must have shape \(Z, L\) with L = 3, got \(2, 2\)"),
    ({"logits": [0.0]}, TypeError, "logits must be a tensor, got list"),
    ({"mean": [0.0]}, TypeError, "mean must be a tensor, got list"),
    ({"labels": [0, 1]}, TypeError, "labels must be a tensor, got list"),
    ({"mask": [True]}, TypeError, "mask must be a tensor, got list"),
    ({"std": torch.zeros(2, 3, device="meta")}, ValueError, "std must be on the logits' device, cpu, got meta"),
    ({"group": torch.zeros(2, device="meta")}, ValueError, "group must be on the logits' device, cpu, got meta"),
    ({"mask": torch.ones(2, 4, 4)}, TypeError, "mask must be torch.bool, got torch.float32"),
    ({"mask": torch.ones(2, 4, 5).bool()}, ValueError, r"mask must have the .*\(2, 4, 4\), got \(2, 4, 5\)"),
    ({"block_ids": torch.zeros(2, 4, 4).long()}, TypeError, "block_ids must be torch.int32, got torch.int64"),
    ({"block_ids": torch.full((2, 4, 4), 2).int()}, ValueError, "block_ids must be below the 2 blocks, got 2"),
    ({"group": torch.zeros(3).long()}, ValueError, r"group must have shape \(2,\) or \(2, 3\), got \(3,\)"),
    ({"group": torch.zeros(2)}, TypeError, "group must be integers"),
    ({"class_weights": torch.ones(2)}, ValueError, r"class_weights must have shape \(3,\), got \(2,\)"),
    ({"mode": "both"}, ValueError, "mode must be one of .* got 'both'"),
    ({"form": "l2"}, ValueError, "form must be one of .* got 'l2'"),
    ({"variance": "dependent"}, ValueError, "variance must be 'independent', 'printed' or a number"),
    ({"variance": [16]}, TypeError, "variance must be a number, got list"),
    ({"mode": ["intra"]}, ValueError, r"mode must be one of .* got \['intra'\]"),
    ({"variance": 0.5}, ValueError, "variance as a number of pixels must be >= 1, got 0.5"),
    ({"alpha": 0.0}, ValueError, "alpha must be positive and finite, got 0.0"),
    ({"floor": -1.0}, ValueError, "floor must be None or a finite number >= 0, got -1.0"),
    ({"sharpness": float("nan")}, ValueError, "sharpness must be finite, got nan"),
    ({"activation": "relu"}, ValueError, "activation must be one of .* got 'relu'"),
    ({"backend": "cuda"}, ValueError, "backend must be one of .* got 'cuda'"),
]  # fmt: skip


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize(("change", "error", "message"), REFUSED)
def test_bad_input(change, error, message, backend):
    with pytest.raises(error, match=message):
        call(**{"backend": backend, **change})


IDS = torch.zeros(2, 4, 4).int()
REFUSED_MOMENTS = [
    ({"logits": [0.0]}, TypeError, "logits must be a tensor, got list"),
    ({"logits": torch.zeros(2, 0, 4, 4), "activation": "sigmoid"}, ValueError, "logits need at least one class"),
    ({"activation": "Softmax"}, ValueError, "activation must be one of .* got 'Softmax'"),
    ({"mask": [True]}, TypeError, "mask must be a tensor, got list"),
    ({"mask": torch.ones(2, 4, 4, device="meta").bool()}, ValueError, "mask must be on the logits' device"),
    ({"block_ids": IDS}, ValueError, "block_ids and num_blocks go together"),
    ({"block_ids": IDS, "num_blocks": 2.0}, ValueError, "num_blocks must be an integer >= 0, got 2.0"),
    ({"block_ids": IDS + 2, "num_blocks": 2}, ValueError, "block_ids must be below the 2 blocks, got 2"),
]


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize(("change", "error", "message"), REFUSED_MOMENTS)
def test_bad_input_of_block_moments(change, error, message, backend):
    with pytest.raises(error, match=message):
        functional.block_moments(**{"logits": torch.zeros(2, 3, 4, 4), "backend": backend, **change})


def test_percents_are_no_fractions():
    logits, std = torch.zeros(1, 2, 4, 4), torch.full((1, 2), 0.05)
    for backend in ("fused", "reference"):
        with pytest.raises(ValueError, match=r"fractions must lie in \[0, 1\], got 37"):
            functional.fraction_loss(logits, torch.tensor([[37.0, 63.0]]), std, backend=backend)


def test_targets_of_labels_are_not_taken_for_the_blocks_own():
    """Two labels and two blocks: the shapes would fit."""
    logits, tables = torch.zeros(2, 3, 4, 4), torch.full((2, 2, 3), 0.3)
    with pytest.raises(TypeError, match="labels must be a tensor, got NoneType"):
        functional.label_super_resolution_loss(logits, None, *tables)
    with pytest.raises(TypeError, match="labels must be a tensor, got NoneType"):
        lsr_ext.LabelSuperResolutionLoss(lsr_ext.CountDistribution(*tables))(logits, None)
    with pytest.raises(TypeError, match="fractions must be a tensor, got NoneType"):
        functional.fraction_loss(logits, None, tables[1])


NAN_BLOCK = torch.zeros(2, 3, 4, 4).index_put((torch.tensor(1), torch.tensor(0)), torch.tensor(float("nan")))
EMPTY_BLOCK = torch.ones(2, 4, 4, dtype=torch.bool).index_put((torch.tensor(1),), torch.tensor(False))
VALIDATED = [
    ({"logits": NAN_BLOCK}, r"logits must be finite, got NaN or infinity in image\(s\) \[1\]"),
    ({"mask": EMPTY_BLOCK}, r"every block needs at least one valid pixel, block\(s\) \[1\] have none"),
    ({"block_ids": torch.zeros(2, 4, 4).int()}, r"at least one valid pixel, block\(s\) \[1\] have none"),
    (
        {"block_ids": torch.full((2, 4, 4), 5).int()},
        "block_ids must be below the 2 blocks, got 5",
    ),
    ({"labels": torch.tensor([0, 7])}, r"labels must lie in \[-1, 1\], got 7 for block 1"),
    ({"mean": torch.full((2, 3), 1.5)}, r"mean must lie in \[0, 1\], got values from 1.5 to 1.5"),
    ({"std": torch.full((2, 3), -0.1)}, "std must be >= 0, got -0.1"),
    ({"std": torch.zeros(2, 3), "form": "kl"}, "form 'kl' needs std > 0"),
]


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize(("change", "message"), VALIDATED)
def test_validate(change, message, backend):
    with pytest.raises(ValueError, match=message):
        call(**change, validate=True, backend=backend)


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_validate_accepts_what_is_valid(backend):
    assert torch.isfinite(call(validate=True, backend=backend))
    masked_nan = NAN_BLOCK.clone()
    mask = ~masked_nan[:, 0].isnan()
    mask[1, 0, 0] = True
    masked_nan[1, :, 0, 0] = 0
    assert torch.isfinite(call(masked_nan, mask=mask, validate=True, backend=backend))
    ids = torch.where(mask, torch.arange(2)[:, None, None], -1).int()
    assert torch.isfinite(call(masked_nan, block_ids=ids, validate=True, backend=backend))


FORMS = ["paper", "marginal", "kl", "reverse_kl", "wasserstein", "legacy", "proportion", "squared", "size"]


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["intra", "inter", "intra+inter"])
def test_finite_for_every_input(form, mode, backend):
    """Groups of one, equal blocks, decided and undecided pixels, and a block without a valid pixel."""
    cases = [torch.zeros(3, 2, 4, 4), 1e4 * torch.randn(3, 2, 4, 4), torch.full((3, 2, 4, 4), -50.0)]
    mask = torch.ones(3, 4, 4, dtype=torch.bool)
    mask[2] = False
    for logits, labels in [(x, y) for x in cases for y in (torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0]))]:
        logits = logits.clone().requires_grad_()
        loss = functional.label_super_resolution_loss(
            logits, labels, torch.full((2, 2), 0.5), torch.full((2, 2), 0.01),
            mask=mask, form=form, mode=mode, backend=backend,
        )  # fmt: skip
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()
        assert not logits.grad[2].any()


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_zero_std_is_legal_where_the_form_allows_it(backend):
    for form in ("paper", "marginal", "wasserstein", "legacy"):
        logits = torch.randn(2, 3, 4, 4, requires_grad=True)
        loss = call(logits, std=torch.zeros(2, 3), form=form, backend=backend)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("sharpness", [0.0, 0.5])
def test_nothing_known_gives_zero(backend, sharpness):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = call(logits, torch.tensor([-1, -1]), sharpness=sharpness, backend=backend)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_masked_pixels_leave_no_trace(backend):
    logits = torch.randn(2, 3, 4, 4)
    mask = torch.rand(2, 4, 4) > 0.5
    spoilt = torch.where(mask[:, None], logits, float("nan")).requires_grad_()
    loss = call(spoilt, mask=mask, backend=backend)
    assert loss.item() == pytest.approx(call(logits, mask=mask, backend=backend).item())
    if backend == "fused":  # the reference's softmax passes NaN back, as any eager softmax would
        loss.backward()
        assert not spoilt.grad[~mask[:, None].expand_as(spoilt)].any()


def test_exact_paper_form_is_unbounded_and_selectable():
    """The collapse that design and documentation tell of: floor=0 rewards decided wrong predictions."""
    diffuse, decided = torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8)
    decided[:, 0] = 30.0
    mean, std = torch.full((1, 2), 0.5), torch.full((1, 2), 0.1)
    options = {"mode": "intra", "form": "paper", "floor": 0.0}
    exact = [
        functional.label_super_resolution_loss(x, torch.tensor([0]), mean, std, **options).item()
        for x in (diffuse, decided)
    ]
    assert exact[1] < exact[0]  # although the decided prediction has a mean of 1 where 0.5 is wanted
    bounded = [
        functional.label_super_resolution_loss(x, torch.tensor([0]), mean, std, mode="intra").item()
        for x in (diffuse, decided)
    ]
    assert bounded[1] > bounded[0]


def test_auto_falls_back_to_the_reference_and_says_so_once(monkeypatch):
    monkeypatch.setattr(lsr_ext.ops, "has_kernel", lambda device_type: False)
    functional._say_fallback.cache_clear()
    with pytest.warns(UserWarning, match="no fused kernel for device type 'cpu'"):
        call()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call()
    with pytest.raises(RuntimeError, match="backend 'fused': there is no kernel for device type 'cpu'"):
        call(backend="fused")
