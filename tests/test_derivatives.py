"""Derivatives that people try beside the first by the logits: each is right, or an error."""

import pytest
import torch
from torch.autograd import forward_ad

from lsr_ext.functional import block_moments, fraction_loss, label_super_resolution_loss


def batch(size=(6, 3, 4, 5)):
    torch.manual_seed(1)
    mean, std = torch.rand(2, 3).double(), torch.full((2, 3), 0.1).double()
    return 2 * torch.randn(size, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 1, -1]), mean, std


def by_label(backend, **options):
    _, labels, mean, std = batch()
    return lambda x: label_super_resolution_loss(x, labels, mean, std, backend=backend, **options)


def by_fraction(backend, **options):
    known = torch.rand(6, 3, generator=torch.Generator().manual_seed(2)).double()
    std = torch.full((6, 3), 0.1).double()
    return lambda x: fraction_loss(x, known, std, mode="intra+inter", backend=backend, **options)


def squared_sums(backend):
    return lambda x: sum(table.square().sum() for table in block_moments(x, backend=backend)[1:])


LOSSES = [by_label, by_fraction, squared_sums]


def penalty(loss, x):
    """The gradient of the squared gradient: a gradient penalty, or the inner step of MAML."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x), x, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), x)[0]


@pytest.mark.parametrize("make", LOSSES)
def test_second_derivatives(make):
    x = batch()[0]
    fused, reference = make("fused"), make("reference")
    torch.testing.assert_close(penalty(fused, x), penalty(reference, x), rtol=1e-9, atol=1e-12)
    for loss in (fused, reference):
        assert torch.autograd.gradgradcheck(loss, x[:, :, :2, :2].clone().requires_grad_())


@pytest.mark.parametrize("make", LOSSES)
def test_second_derivatives_by_torch_func(make):
    x = batch()[0][:, :, :2, :2].contiguous()
    hessians = [torch.func.jacrev(torch.func.jacrev(make(backend)))(x) for backend in ("fused", "reference")]
    torch.testing.assert_close(*hessians, rtol=1e-9, atol=1e-12)
    directions = [torch.func.jvp(make(backend), (x,), (x.cos(),))[1] for backend in ("fused", "reference")]
    torch.testing.assert_close(*directions)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("make", LOSSES)
def test_forward_over_reverse_and_dual_numbers(make):
    x = batch()[0][:, :, :2, :2].contiguous()
    hessians = [torch.func.hessian(make(backend))(x) for backend in ("fused", "reference")]
    assert hessians[1].any()
    torch.testing.assert_close(*hessians, rtol=1e-9, atol=1e-12)
    tangents = []
    for backend in ("fused", "reference"):
        with forward_ad.dual_level():
            value = make(backend)(forward_ad.make_dual(x, x.cos()))
            tangents.append(forward_ad.unpack_dual(value).tangent)
    assert tangents[1] != 0
    torch.testing.assert_close(*tangents)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_by_sample():
    x, labels, mean, std = batch()

    def loss(scale, x, label):
        return label_super_resolution_loss(scale * x[None], label[None], mean, std, mode="intra")

    by_sample = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))(torch.tensor(1.5).double(), x, labels)
    for k in range(len(x)):
        scale = torch.tensor(1.5).double().requires_grad_()
        (expected,) = torch.autograd.grad(loss(scale, x[k], labels[k]), scale)
        torch.testing.assert_close(by_sample[k], expected)


@pytest.mark.parametrize("labelled", [True, False])
def test_learnable_targets_and_weights(labelled):
    x, labels, mean, std = batch()
    if not labelled:
        mean, std = mean[labels.clamp(min=0)], std[labels.clamp(min=0)]

    def gradients(backend):
        tables = [table.clone().requires_grad_() for table in (x, mean, std, torch.ones(3), torch.ones(6))]
        options = {"class_weights": tables[3], "block_weights": tables[4], "backend": backend}
        if labelled:
            loss = label_super_resolution_loss(tables[0], labels, *tables[1:3], **options)
        else:
            loss = fraction_loss(*tables[:3], **options)
        return torch.autograd.grad(loss, tables)

    for fused, reference in zip(gradients("fused"), gradients("reference"), strict=True):
        assert reference.any()
        torch.testing.assert_close(fused, reference)


def test_block_sums_compile_in_one_graph():
    torch._dynamo.reset()
    x = batch()[0]
    compiled = torch.compile(lambda x: block_moments(x), fullgraph=True, backend="aot_eager")
    for found, expected in zip(compiled(x), block_moments(x), strict=True):
        torch.testing.assert_close(found, expected)


TABLES = ("mean", "std", "class_weights", "block_weights")


def with_tables(backend, labelled, x, tables):
    """The loss as a function of everything it is differentiable by."""
    labels, given = torch.tensor([0, 0, 1, 1, 1, -1]), dict(zip(TABLES, tables, strict=True))
    options = {"class_weights": given["class_weights"], "block_weights": given["block_weights"]}
    if labelled:
        return label_super_resolution_loss(x, labels, given["mean"], given["std"], backend=backend, **options)
    return fraction_loss(x, given["mean"], given["std"], mode="inter", backend=backend, **options)


def tables_of(labelled):
    torch.manual_seed(4)
    rows = 2 if labelled else 6
    return [
        torch.rand(rows, 3).double(),
        0.1 + torch.rand(rows, 3).double(),
        torch.rand(3).double(),
        torch.rand(6).double(),
    ]


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (by_label, {}),
        (by_label, {"mode": "intra", "form": "kl"}),
        (by_label, {"reduction": "none"}),
        (by_fraction, {}),
        (by_fraction, {"reduction": "none"}),
        (squared_sums, {}),
    ],
)
def test_reverse_over_dual_numbers(make, options):
    """The gradient of a directional derivative is the Hessian times the direction."""
    x, direction = batch()[0], batch()[0].cos()
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(make("reference", **options)(leaf).sum(), leaf, create_graph=True)
    (expected,) = torch.autograd.grad((gradient * direction).sum(), leaf)
    with forward_ad.dual_level():
        dual = make("fused", **options)(forward_ad.make_dual(leaf, direction)).sum()
        (found,) = torch.autograd.grad(forward_ad.unpack_dual(dual).tangent, leaf)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_dual_numbers_in_half_precision_are_summed_in_full():
    x = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(3)).half()
    tangents = []
    for logits in (x, x.float()):
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(logits, torch.ones_like(logits) + 0.5 * (logits > 0))
            loss = label_super_resolution_loss(dual, torch.tensor([0, 1]), *batch()[2:])
            tangents.append(forward_ad.unpack_dual(loss).tangent)
    torch.testing.assert_close(*tangents, rtol=1e-5, atol=0)


@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("mode", ["intra", "intra+inter"])
def test_the_gradient_by_a_class_weight_of_zero_is_that_of_its_neighbours(backend, mode):
    x, labels, mean, std = batch()
    gradients = []
    for least in (0.0, 1e-9):
        weights = torch.tensor([1.0, 1.0, least], dtype=torch.float64, requires_grad=True)
        options = {"class_weights": weights, "mode": mode, "backend": backend}
        gradients += torch.autograd.grad(label_super_resolution_loss(x, labels, mean, std, **options), weights)
    assert gradients[0][2] != 0
    torch.testing.assert_close(*gradients)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("labelled", [True, False])
def test_derivatives_by_targets_and_weights_within_torch_func(labelled):
    x, tables = batch()[0], tables_of(labelled)
    tangents = [table.cos() for table in tables]
    found = {}
    for backend in ("fused", "reference"):

        def loss(x, tables, backend=backend):
            return with_tables(backend, labelled, x, tables)

        def batched(several, loss=loss):
            return torch.func.vmap(loss, (None, 0))(x, several).sum()

        many = [torch.stack([table, 0.9 * table]) for table in tables]
        leaves = [table.clone().requires_grad_() for table in many]
        with forward_ad.dual_level():
            duals = [forward_ad.make_dual(table, tangent) for table, tangent in zip(tables, tangents, strict=True)]
            along = [
                forward_ad.unpack_dual(loss(x, [*tables[:k], duals[k], *tables[k + 1 :]])).tangent
                for k in range(4)
            ]
        found[backend] = [
            *torch.func.grad(loss, 1)(x, tables),
            *torch.func.grad(batched)(many),
            *torch.autograd.grad(batched(leaves), leaves),
            torch.func.jvp(loss, (x, tables), (x.cos(), tangents))[1],
            *along,
            *torch.func.jacrev(torch.func.grad(loss), 1)(x[:, :, :2, :2], tables),
        ]
    for fused, reference in zip(*found.values(), strict=True):
        assert reference.any()
        torch.testing.assert_close(fused, reference)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("backend", ["fused", "reference"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_vmap_over_labels(backend, reduction):
    x, labels, mean, std = batch()
    several = torch.stack([labels, labels.flip(0)])

    def loss(labels):
        return label_super_resolution_loss(x, labels, mean, std, backend=backend, reduction=reduction)

    expected = torch.stack([loss(each) for each in several])
    torch.testing.assert_close(torch.func.vmap(loss)(several), expected)


@pytest.mark.parametrize("by", ["logits", "targets"])
def test_a_compiled_forward_derivative(by):
    torch._dynamo.reset()
    x, labels, mean, std = batch()

    def along(backend):
        def loss(x, mean):
            return label_super_resolution_loss(x, labels, mean, std, backend=backend)

        tangents = (x.cos(), torch.zeros_like(mean)) if by == "logits" else (torch.zeros_like(x), mean.cos())
        return lambda: torch.func.jvp(loss, (x, mean), tangents)[1]

    expected = along("reference")()
    assert expected != 0
    torch.testing.assert_close(torch.compile(along("fused"), backend="aot_eager")(), expected)
