import copy
import pickle

import pytest
import torch

import lsr_ext
from lsr_ext import CountDistribution, LabelSuperResolutionLoss, functional

TABLE1 = CountDistribution.paper("table1")


def batch():
    torch.manual_seed(0)
    return torch.randn(4, 2, 8, 8), torch.tensor([0, 9, 9, -1])


def test_module_equals_function():
    logits, labels = batch()
    options = {"mode": "inter", "form": "kl", "variance": 3.0, "alpha": 0.8, "floor": 1e-3, "sharpness": 0.2}
    loss_fn = LabelSuperResolutionLoss(TABLE1, **options, class_weights=[1.0, 2.0])
    mask, group = torch.rand(4, 8, 8) > 0.5, torch.tensor([0, 0, 1, 1])
    expected = functional.label_super_resolution_loss(
        logits, labels, TABLE1.mean, TABLE1.std, mask=mask, group=group,
        class_weights=torch.tensor([1.0, 2.0]), **options,
    )  # fmt: skip
    torch.testing.assert_close(loss_fn(logits, labels, group=group, mask=mask), expected)


def test_backends_agree():
    logits, labels = batch()
    fused, reference = (LabelSuperResolutionLoss(TABLE1, backend=name) for name in ("fused", "reference"))
    torch.testing.assert_close(fused(logits, labels), reference(logits, labels))


def test_defaults_train():
    """The bounded form, as its docstring promises: descending on logits reaches the label's fraction."""
    distribution = CountDistribution([[0.8, 0.2]], [[0.05, 0.05]], exclusive=True)
    loss_fn = LabelSuperResolutionLoss(distribution)
    logits = torch.zeros(6, 2, 8, 8, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        loss_fn(logits, torch.zeros(6, dtype=torch.long)).backward()
        optimizer.step()
    assert logits.softmax(1)[:, 1].mean().item() == pytest.approx(0.2, abs=0.02)


def test_copies():
    loss_fn = LabelSuperResolutionLoss(TABLE1, class_weights=[1.0, 3.0])
    logits, labels = batch()
    expected = loss_fn(logits, labels)
    for other in (copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
        assert torch.equal(other(logits, labels), expected)
        other.bfloat16()
        assert torch.equal(other(logits, labels), expected)


CASTS = {
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "float": lambda module: module.float(),
    "to": lambda module: module.to(torch.bfloat16),
    "type": lambda module: module.type(torch.float16),
}


@pytest.mark.parametrize("cast", CASTS)
@pytest.mark.parametrize("backend", ["fused", "reference"])
def test_a_cast_leaves_the_tables_in_float64(cast, backend):
    """As Lightning's precision "bf16-true" casts them; within another module as well."""
    logits, labels = batch()
    network = torch.nn.ModuleDict(
        {"loss": LabelSuperResolutionLoss(TABLE1, class_weights=[1, 3], backend=backend)}
    )
    expected = network["loss"](logits.bfloat16(), labels)
    loss_fn = CASTS[cast](network)["loss"]
    assert {table.dtype for table in loss_fn.buffers()} == {torch.float64}
    assert torch.equal(loss_fn.mean, TABLE1.mean)
    assert torch.equal(loss_fn(logits.bfloat16(), labels), expected)


def test_float64_logits_meet_float64_targets():
    logits, labels = batch()
    distribution = CountDistribution([[1 / 3, 2 / 3]] * 10, [[0.1, 0.1]] * 10)
    value = LabelSuperResolutionLoss(distribution)(logits.double(), labels)
    exact = functional.label_super_resolution_loss(
        logits.double(), labels, distribution.mean.double(), distribution.std.double()
    )
    torch.testing.assert_close(value, exact, rtol=1e-14, atol=0)


def test_the_tables_move_with_the_module():
    moved = LabelSuperResolutionLoss(TABLE1, class_weights=[1.0, 3.0]).to("meta", torch.float16)
    assert {(table.device.type, table.dtype) for table in moved.buffers()} == {("meta", torch.float64)}


def test_the_module_leaves_the_distribution_alone():
    distribution = CountDistribution([[0.8, 0.2]], [[0.05, 0.05]])
    LabelSuperResolutionLoss(distribution).mean.zero_()
    assert distribution.mean.any()


@pytest.mark.parametrize("prefix", ["", "0."])
def test_a_checkpoint_does_not_replace_the_targets(prefix):
    """Neither today's, which holds none, nor one that does."""
    old = LabelSuperResolutionLoss(CountDistribution.paper("table7"), class_weights=[1.0, 1.0])
    holding = {prefix + name: table.float() for name, table in old.named_buffers()}
    for state in (holding, {}):
        loss_fn = LabelSuperResolutionLoss(TABLE1)
        module = torch.nn.Sequential(loss_fn) if prefix else loss_fn
        assert not module.state_dict()
        module.load_state_dict(state, strict=True)
        assert torch.equal(loss_fn.mean, TABLE1.mean)
        assert loss_fn.class_weights is None
    with pytest.raises(RuntimeError, match="Unexpected key.*other"):
        module.load_state_dict({prefix + "other": torch.ones(1)}, strict=True)


def test_functional_call():
    logits, labels = batch()
    loss_fn = LabelSuperResolutionLoss(TABLE1)
    other = CountDistribution(TABLE1.mean.flip(0), TABLE1.std)
    value = torch.func.functional_call(loss_fn, {"mean": other.mean}, (logits, labels))
    assert torch.equal(value, LabelSuperResolutionLoss(other)(logits, labels))


def test_repr_names_the_options():
    text = repr(LabelSuperResolutionLoss(TABLE1, form="paper", floor=0.0))
    assert "form='paper'" in text
    assert "floor=0.0" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "outer"}, "mode must be one of"),
        ({"backend": "numpy"}, "backend must be one of .* got 'numpy'"),
        ({"class_weights": [1.0]}, r"class_weights must be 2 numbers >= 0, got \[1.0\]"),
        ({"class_weights": [1.0, -1.0]}, "class_weights must be finite numbers >= 0, .* got .*-1.0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        LabelSuperResolutionLoss(TABLE1, **options)


def learnable(*shape):
    return torch.full(shape, 0.5, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LabelSuperResolutionLoss(CountDistribution(learnable(2, 2), [[0.1, 0.1]] * 2)),
        lambda: LabelSuperResolutionLoss(TABLE1, class_weights=learnable(2)),
        lambda: lsr_ext.FractionLoss(std=learnable()),
    ],
)
def test_a_module_refuses_to_copy_what_is_learnt(make):
    with pytest.raises(ValueError, match="requires grad, and a loss module keeps a copy"):
        make()


@pytest.mark.parametrize("name", ["variance", "alpha", "floor", "sharpness"])
def test_an_option_is_no_tensor(name):
    with pytest.raises(TypeError, match=f"{name} must be a number, got Tensor"):
        LabelSuperResolutionLoss(TABLE1, **{name: torch.tensor(2.0, requires_grad=True)})


def test_a_std_of_zero_is_refused_where_the_form_divides_by_it():
    certain = CountDistribution([[0.5, 0.5]], [[0.0, 0.0]])
    LabelSuperResolutionLoss(certain)
    with pytest.raises(ValueError, match="form 'reverse_kl' needs std > 0"):
        LabelSuperResolutionLoss(certain, form="reverse_kl")


def test_public_face():
    assert lsr_ext.reference.label_super_resolution_loss is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lsr_ext.nothing  # noqa: B018
