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


def test_state_moves_and_copies():
    loss_fn = LabelSuperResolutionLoss(TABLE1, class_weights=[1.0, 3.0])
    logits, labels = batch()
    expected = loss_fn(logits, labels)
    for other in (copy.deepcopy(loss_fn), pickle.loads(pickle.dumps(loss_fn))):
        assert torch.equal(other(logits, labels), expected)
    fresh = LabelSuperResolutionLoss(CountDistribution.paper("table7"), class_weights=[1.0, 1.0])
    fresh.load_state_dict(loss_fn.state_dict())
    assert torch.equal(fresh(logits, labels), expected)


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
        ({"class_weights": [1.0, -1.0]}, "class_weights must be 2 numbers >= 0"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        LabelSuperResolutionLoss(TABLE1, **options)


def test_a_std_of_zero_is_refused_where_the_form_divides_by_it():
    certain = CountDistribution([[0.5, 0.5]], [[0.0, 0.0]])
    LabelSuperResolutionLoss(certain)
    with pytest.raises(ValueError, match="form 'reverse_kl' needs std > 0"):
        LabelSuperResolutionLoss(certain, form="reverse_kl")


def test_public_face():
    assert lsr_ext.reference.label_super_resolution_loss is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lsr_ext.nothing  # noqa: B018
