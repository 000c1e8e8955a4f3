"""bfloat16 logits, which are read and written two vectors at a time, held to the same numbers in float32."""

import itertools

import pytest
import torch
from builds import BUILDS, run_in_build
from samples import LAYOUTS, lay_out

from lsr_ext import ops  # noqa: F401  registers torch.ops.lsr

HALF_A_STEP = 2**-8  # between neighbours of a number, relative to it
SIZES = ((1, 1), (3, 5), (4, 8), (8, 16), (9, 64), (5, 67))
CLASSES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 17, 40, 70)


def in_wider_rows(logits):
    """The same values in rows that do not join."""
    n, classes, height, width = logits.shape
    return logits.new_zeros(n, classes, height, width + 3)[..., 2 : 2 + width].copy_(logits)


def check(logits, mask, block_ids, activation):
    """Moments and gradient are those of the same numbers in float32, the gradient rounded once."""
    blocks = len(logits) if block_ids is None else int(block_ids.max()) + 1
    a, b = torch.randn(2, blocks, logits.shape[1], dtype=torch.float64)
    moments, single_moments = (
        torch.ops.lsr.block_moments(x, mask, block_ids, blocks, activation) for x in (logits, logits.float())
    )
    gradient, single = (
        torch.ops.lsr.pixel_gradient(x, mask, block_ids, a, b, None, activation) for x in (logits, logits.float())
    )
    for one, other in zip(moments, single_moments, strict=True):
        torch.testing.assert_close(one, other, rtol=3e-6, atol=1e-9)
    error = (gradient.float() - single).abs()
    assert (error <= 1.001 * HALF_A_STEP * single.abs() + 1e-37).all(), f"{error.max()} of {single.abs().max()}"
    overwritten = torch.empty_strided(logits.shape, logits.stride(), dtype=logits.dtype).copy_(logits)
    torch.ops.lsr.pixel_gradient_(overwritten, mask, block_ids, a, b, None, activation)
    assert torch.equal(overwritten, gradient)


def check_layouts_and_sizes():
    torch.manual_seed(0)
    for classes, (height, width) in itertools.product(CLASSES, SIZES):
        logits = (4 * torch.randn(2, classes, height, width)).bfloat16()
        masks = None, torch.rand(2, height, width) > 0.3
        activations = ("softmax", "sigmoid") if classes > 1 else ("sigmoid",)
        ids = torch.arange(width, dtype=torch.int32).div(7, rounding_mode="floor").repeat(2, height, 1)
        laid = [lay_out(logits, layout) for layout in LAYOUTS if layout != "expanded"] + [in_wider_rows(logits)]
        for case in itertools.product(laid, masks, (None, ids), activations):
            check(*case)


def check_what_passes_the_caches_by():
    """Gradients so large that they are not written through the caches."""
    torch.manual_seed(0)
    for classes, layout in itertools.product((3, 6), ("contiguous", "channels_last")):
        logits = torch.randn(2, classes, 1376, (1 << 10) * 6 // classes).bfloat16()
        assert 2 * logits.numel() > 32 << 20
        check(lay_out(logits, layout), None, None, "softmax")


def check_no_numbers():
    """What is no number stays none, whatever its bits: rounding must not carry it into the sign."""
    patterns = [(sign << 15) | 0x7F80 | payload for sign in (0, 1) for payload in range(1, 128)]
    bits = torch.tensor(patterns, dtype=torch.int32).to(torch.int16)
    coefficients = torch.full((1, 6), -1, dtype=torch.int64).view(torch.float64)  # all bits are ones
    plain = torch.ones(1, 6, dtype=torch.float64)
    for classes, layout in itertools.product((2, 3, 6), ("contiguous", "channels_last")):
        logits = torch.zeros(1, classes, 1, len(bits), dtype=torch.bfloat16)
        a, b = plain[:, :classes], coefficients[:, :classes].contiguous()
        for activation in ("softmax", "sigmoid"):
            of_table = torch.ops.lsr.pixel_gradient(lay_out(logits, layout), None, None, a, b, None, activation)
            assert of_table.isnan().all()
        logits[0, 0, 0] = bits.view(torch.bfloat16)
        of_logits = torch.ops.lsr.pixel_gradient(lay_out(logits, layout), None, None, a, a, None, "softmax")
        assert of_logits.isnan().all()


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("what", ["layouts_and_sizes", "what_passes_the_caches_by", "no_numbers"])
def test_bfloat16(what, build):
    run_in_build(build, f"import test_bfloat16; test_bfloat16.check_{what}()")
