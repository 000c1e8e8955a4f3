"""Run every kernel at small sizes, for compute-sanitizer: dtypes, layouts, numbers of classes, masks and ids."""

from __future__ import annotations

import argparse
import itertools

import torch

from lsr_ext import ops
from lsr_ext.checks import BlockTensors
from lsr_ext.options import LossOptions


def lay_out(logits: torch.Tensor, layout: str) -> torch.Tensor:
    """Lay the values out in planes, interleaved, or at every second place of wider rows."""
    if layout == "channels_last":
        return logits.to(memory_format=torch.channels_last)
    if layout == "scattered":
        return logits.repeat_interleave(2, 3)[..., ::2]
    return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    torch.manual_seed(0)
    dtypes = (torch.float32, torch.bfloat16, torch.float64)
    layouts = ("planar", "channels_last", "scattered")
    steps = 0
    for dtype, layout, classes in itertools.product(dtypes, layouts, (1, 2, 3, 6, 8, 16, 40)):
        # Made on the host: a sanitizer slows torch's own kernels too.
        height, width = (9, 24) if steps % 2 else (7, 13)
        x = lay_out(torch.randn(2, classes, height, width).to(dtype), layout).to(device)
        mask = (torch.rand(2, height, width) > 0.2).to(device) if steps % 2 else None
        ids = torch.randint(-1, 2, (2, height, width), dtype=torch.int32).to(device) if steps % 3 == 0 else None
        labels, mean = torch.tensor([0, 1]).to(device), torch.full((2, classes), 0.4).to(device)
        options = LossOptions(activation="sigmoid" if classes == 1 or steps % 5 == 0 else "softmax", sharpness=0.3)
        inputs = ops.loss_inputs(x, labels, mean, mean / 2, options, BlockTensors(mask=mask, block_ids=ids))
        loss, a, b = torch.ops.lsr.label_super_resolution(*inputs)
        torch.ops.lsr.block_moments(x, mask, ids, 2, options.activation)
        torch.ops.lsr.pixel_gradient(x, mask, ids, a, b, loss, options.activation)
        torch.ops.lsr.pixel_gradient_(x, mask, ids, a, b, None, options.activation)
        steps += 1
    if device == "cuda":
        torch.cuda.synchronize()
    print(f"{steps} steps")


if __name__ == "__main__":
    main()
