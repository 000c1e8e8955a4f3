"""Logits that are infinite or no number: numbers, and where there are none, are those of the reference.

A network that runs over gives none, which mixed precision waits for; a class that is ruled out by minus infinity
does not.
"""

import itertools

import pytest
import torch
from builds import BUILDS, run_in_build
from samples import lay_out
from test_ops import loss_arguments

from lsr_ext import reference
from lsr_ext.options import FORMS, MODES

VALUES = (torch.inf, -torch.inf, torch.nan)
CLASSES = (1, 2, 3, 6, 9)
ROUNDING = {torch.float32: 0, torch.float64: 0, torch.bfloat16: 2**-8, torch.float16: 2**-11}
DTYPES = tuple(ROUNDING)


def maps():
    """A mask that hides pixels of blocks with such a logit, or none; ids of blocks in three columns, or none."""
    mask = torch.ones(3, 5, 72, dtype=torch.bool)
    mask[0, 2, 7] = mask[1, 3, 60] = False
    ids = (torch.arange(72, dtype=torch.int32) // 24).expand(3, 5, 72).contiguous()
    return itertools.product((None, mask), (None, ids))


def assert_same_numbers(found, expected):
    """No number at the same places; elsewhere to the type's own rounding and five digits of the largest.

    Four where all are tiny: a group's coefficients, of sums in single precision, may cancel.
    """
    assert torch.equal(found.isnan(), expected.isnan())
    assert not expected.isinf().any()
    expected = expected.nan_to_num()
    largest = expected.abs().max().item()
    smallest = 2.0**-24 if found.dtype == torch.float16 else min(2.0**-24, 1e-4 * largest)
    allowed = 1.01 * ROUNDING[found.dtype] * expected.abs() + 1e-5 * largest + smallest
    found = found.double().nan_to_num()
    assert ((found - expected).abs() <= allowed).all()


def check(operators, value, classes, dtype, on_device=False):
    """One library's operators, over layouts, activations, masks, block ids, forms and modes."""
    torch.manual_seed(0)
    labels, (mean, std) = torch.tensor([0, 1, 1]), torch.full((2, 2, classes), 0.3)
    activations = ("softmax", "sigmoid") if classes > 1 else ("sigmoid",)
    cases = itertools.product(("contiguous", "channels_last"), activations, maps())
    choices = itertools.cycle(itertools.product(FORMS, MODES))
    for layout, activation, (mask, ids) in cases:
        if on_device and activation == "sigmoid" and ids is not None:
            continue  # there such a block has sums of all its classes or of none
        logits = torch.randn(3, classes, 5, 72, dtype=torch.float64).to(dtype)
        logits[0, 0, 2, 7] = logits[1, -1, 0, 71] = value
        wide = logits.double().clone().requires_grad_()
        x = lay_out(logits, layout)
        found = operators.block_moments(x, mask, ids, 3, activation)
        sums = reference.block_moments(
            wide, mask, activation, block_ids=ids, num_blocks=None if ids is None else 3
        )
        for one, other in zip(found, sums, strict=True):
            torch.testing.assert_close(one, other.detach(), rtol=1e-5, atol=1e-6, equal_nan=True)

        for form, mode in itertools.islice(choices, 4):
            options = {"activation": activation, "mask": mask, "block_ids": ids, "form": form, "mode": mode}
            loss, a, b = operators.label_super_resolution(*loss_arguments(x, labels, mean, std, options))
            gradient = operators.pixel_gradient(x, mask, ids, a, b, None, activation)
            exact = reference.label_super_resolution_loss(wide, labels, mean, std, **options)
            (expected,) = torch.autograd.grad(exact, wide)
            torch.testing.assert_close(loss.double(), exact.detach(), rtol=1e-5, atol=1e-5, equal_nan=True)
            if mask is not None:  # where the reference's gradient of a pixel of no number is none either
                expected = torch.where(mask[:, None], expected, 0)
            assert_same_numbers(gradient, expected)


def check_all():
    for value, classes, dtype in itertools.product(VALUES, CLASSES, DTYPES):
        check(torch.ops.lsr, value, classes, dtype)


@pytest.mark.parametrize("build", BUILDS)
def test_infinite_logits(build):
    run_in_build(build, "import test_infinite; test_infinite.check_all()")
