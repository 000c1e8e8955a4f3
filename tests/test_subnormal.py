"""Numbers below the smallest normal one: the kernels compute none, and read those of float16 as they are."""

import itertools

import pytest
import torch
from builds import BUILDS, run_in_build
from samples import lay_out

from lsr_ext import ops  # noqa: F401  registers torch.ops.lsr
from lsr_ext.training.denormals import denormals_are_flushed


def check_decided_pixels():
    """The gradient of a class that is ruled out is 0 or a normal number."""
    torch.manual_seed(0)
    cases = itertools.product((2, 3, 6, 9), ("contiguous", "channels_last"), ("softmax", "sigmoid"))
    for classes, layout, activation in cases:
        logits = lay_out(60 * torch.randn(2, classes, 32, 40), layout)
        a, b = torch.randn(2, 2, classes, dtype=torch.float64)
        for dtype in (torch.float32, torch.bfloat16):
            x = logits.to(dtype)
            found = torch.ops.lsr.pixel_gradient(x, None, None, a, b, None, activation)
            tiny = torch.finfo(dtype).tiny
            assert ((found == 0) | (found.abs() >= tiny)).all() and (found == 0).any()


def check_every_float16():
    """Each is read as it is, also where the caller flushes subnormal numbers: each pixel is a block here."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    logits = torch.stack([x, torch.zeros_like(x)])[None, :, None]
    ids = torch.arange(len(x), dtype=torch.int32)[None, None]
    for flushed in (False, True):
        torch.set_flush_denormal(flushed)
        n, S, _ = torch.ops.lsr.block_moments(logits, None, ids, len(x), "softmax")
        assert denormals_are_flushed() == flushed  # the caller's own arithmetic is as it was
        torch.set_flush_denormal(False)
        expected = torch.softmax(logits[0, :, 0].double(), 0).T
        assert (n == 1).all()
        torch.testing.assert_close(S, expected, rtol=2.5e-7, atol=1e-37, equal_nan=True)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("what", ["decided_pixels", "every_float16"])
def test_subnormal(what, build):
    run_in_build(build, f"import test_subnormal; test_subnormal.check_{what}()")
