"""The kernels against the reference in float64 on the same device: types, layouts, classes, masks and block ids.

Seconds, where the tests' random cases take minutes: what a machine with a GPU runs first.

    python benchmarks/parity.py
"""

from __future__ import annotations

import argparse
import itertools
import sys

import torch
from torch import Tensor

from lsr_ext import functional, reference

# The norm of the gradient's error, relative to the gradient's.
LIMITS = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 4e-3}
CLASSES = (1, 2, 3, 4, 6, 7, 8, 12, 32, 40)
MAPS = ("", "mask", "block_ids")


def lay_out(x: Tensor, layout: str) -> Tensor:
    """Planes, classes side by side, or rows cut out of wider ones, their base off by one."""
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    return torch.nn.functional.pad(x, (1, 2))[..., 1:-2] if layout == "cropped" else x


def tables(blocks: int, classes: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Labels, means and standard deviations of two kinds of block."""
    labels = (torch.arange(blocks, device=device) >= blocks // 2).long()
    return labels, *torch.rand(2, 2, classes, device=device).mul(0.3).add(0.05)


def errors(x: Tensor, maps: dict[str, Tensor], activation: str) -> tuple[float, float]:
    """Of the value, and of the gradient."""
    given = tables(x.shape[0], x.shape[1], x.device.type)
    scale = 4096.0 if x.dtype == torch.float16 else 1.0  # whose gradients are subnormal without
    x = x.detach().requires_grad_()
    wide = x.detach().double().requires_grad_()
    options = {"activation": activation, **maps}
    value = functional.label_super_resolution_loss(x, *given, backend="fused", **options)
    exact = reference.label_super_resolution_loss(wide, *given, **options)
    (gradient,), (expected,) = torch.autograd.grad(scale * value, x), torch.autograd.grad(scale * exact, wide)
    difference = (gradient.double() - expected).norm() / expected.norm()
    return abs(value.item() - exact.item()) / (1e-3 + abs(exact.item())), difference.item()


def error_beyond_31_bits(side: int, layout: str, device: str) -> float:
    """Of more than 2^31 logits: the sums and the last rows' gradient, against those of the rows by themselves."""
    x = torch.full((1, 2, side, side), -3.0, device=device, dtype=torch.bfloat16)
    x = lay_out(x, layout)
    x[:, 1, -8:] = torch.linspace(-6, 6, 8, device=device).to(x.dtype)[:, None]
    rows = x[:, :, -8:].double().contiguous()
    n, S, Q = functional.block_moments(x, backend="fused")
    _, rows_S, rows_Q = reference.block_moments(rows)
    rest = (side - 8) * side  # pixels of probability 1/2
    a, b = torch.rand(2, 1, 2, dtype=torch.float64, device=device)
    gradient, expected = (
        torch.ops.lsr.pixel_gradient(y, None, None, a, b, None, "softmax")[:, :, -8:].double() for y in (x, rows)
    )
    found = (S - rows_S - rest / 2, Q - rows_Q - rest / 4, n - side**2)
    parts = [*(error.abs().max() / rest for error in found), (gradient - expected).norm() / expected.norm()]
    return torch.stack(parts).max().item()  # NaN, where one is


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--large", type=int, default=33000, help="side of the image of many logits")
    args = parser.parse_args()
    torch.manual_seed(0)
    found, wrong, count = {dtype: [] for dtype in LIMITS}, [], 0
    height, width = args.size, args.size + 8
    layouts = ("planar", "channels_last", "cropped")
    for dtype, layout, classes, kind in itertools.product(LIMITS, layouts, CLASSES, MAPS):
        x = lay_out((3 * torch.randn(4, classes, height, width, device=args.device)).to(dtype), layout)
        maps = {}
        if kind == "mask":
            maps["mask"] = torch.rand(4, height, width, device=args.device) > 0.3
        elif kind == "block_ids":
            runs = torch.arange(height * width, device=args.device, dtype=torch.int32) // 37 % 5 - 1
            maps["block_ids"] = runs.view(height, width).expand(4, -1, -1).contiguous()
        activation = "sigmoid" if classes == 1 or count % 5 == 0 else "softmax"
        value_error, gradient_error = errors(x, maps, activation)
        count += 1
        found[dtype].append(gradient_error)
        if not (value_error < 2e-5 and gradient_error < LIMITS[dtype]):
            wrong.append(f"{dtype} {layout} {classes} {kind} {activation}: {value_error:.1e} {gradient_error:.1e}")
    for layout in layouts[:2]:
        error = error_beyond_31_bits(args.large, layout, args.device)
        count += 1
        if not error < LIMITS[torch.bfloat16]:
            wrong.append(f"{args.large} x {args.large} {layout}: {error:.1e}")
    for line in wrong:
        print("WRONG", line)
    worst = {dtype: torch.tensor(of_type).max().item() for dtype, of_type in found.items()}  # NaN, where one is
    figures = ", ".join(f"{str(dtype)[6:]} {error:.1e}" for dtype, error in worst.items())
    print(f"{count} cases, {len(wrong)} wrong; worst error of a gradient: {figures}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
