"""Benchmark the loss with pytest-benchmark, to find regressions.

pytest benchmarks/test_loss.py --benchmark-only --benchmark-autosave, later with --benchmark-compare
"""

import pytest
import torch
from loss import DTYPES, LAYOUTS, SIZES, make_losses


@pytest.mark.parametrize("method", ["eager", "fused"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", ["ihc", "brca"])
def test_forward_and_backward(benchmark, size, layout, dtype, method):
    torch.manual_seed(0)
    loss = make_losses(SIZES[size], "cpu")[method]
    logits = torch.randn(SIZES[size], dtype=DTYPES[dtype]).to(memory_format=LAYOUTS[layout]).requires_grad_()
    benchmark.group = f"{size} {layout} {dtype}"
    benchmark(lambda: torch.autograd.grad(loss(logits), logits))
