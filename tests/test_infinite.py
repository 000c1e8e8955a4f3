"""Logits that are infinite or no number: numbers, and where there are none, are those of the reference.

A network that runs over gives none, which mixed precision waits for; a class that is ruled out by minus infinity
does not.
"""

import itertools
import os
import subprocess
import sys

import pytest
import torch
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


def assert_same_numbers(found, expected, rounding):
    """No number at the same places; elsewhere to five digits of the largest, and to the type's own rounding."""
    assert torch.equal(found.isnan(), expected.isnan())
    found, expected = found.double().nan_to_num(), expected.nan_to_num()
    allowed = 1.01 * rounding * expected.abs() + 1e-5 * expected.abs().max() + 2.0**-24
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
            assert_same_numbers(gradient, expected, ROUNDING[dtype])


def check_all():
    for value, classes, dtype in itertools.product(VALUES, CLASSES, DTYPES):
        check(torch.ops.lsr, value, classes, dtype)


@pytest.mark.parametrize("build", ["portable", "avx2", "avx512"])
def test_infinite_logits(build):
    script = "import test_infinite; test_infinite.check_all()"
    environment = os.environ | {"LSR_CPU": build}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd="tests", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
