"""Measure the share of the loss in a training step: a U-Net at the paper's multiplex setting, fused and eager.

Two groups of ten images of 400x400, six classes, bfloat16 autocast, channels last. A step is forward, loss,
backward and RMSprop. The cost of the loss is the time of the step minus that of the same step with the mean of the
logits as its loss, which moves the fewest bytes that a loss can.

    python benchmarks/step.py --json step.json
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from harness import environment, interleaved, write_json
from torch import Tensor, nn

from lsr_ext import functional, reference


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Make two convolutions, each with GroupNorm."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Five levels of (32, 64, 128, 256, 512) channels; in plain torch, so that it needs nothing else."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (32, 64, 128, 256, 512)) -> None:
        super().__init__()
        self.down = nn.ModuleList(map(block, (3, *widths[:-1]), widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(lower, upper, 2, 2) for upper, lower in pairwise(widths))
        self.merge = nn.ModuleList(block(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W), H and W multiples of 16, to logits (N, classes, H, W)."""
        kept = []
        for i, down in enumerate(self.down):
            x = down(nn.functional.max_pool2d(x, 2) if i else x)
            kept.append(x)
        for i in reversed(range(len(self.up))):
            x = self.merge[i](torch.cat([self.up[i](x), kept[i]], 1))
        return self.head(x)


def make_step(network: nn.Module, images: Tensor, loss: object, device: str) -> object:
    """Make one training step as a function without arguments."""
    optimizer = torch.optim.RMSprop(network.parameters(), lr=1e-4)

    def step(_: None) -> None:
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = network(images)
        loss(logits).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/step.json"))
    args = parser.parse_args()
    torch.manual_seed(0)
    device, classes = args.device, args.classes
    network = UNet(classes).to(device, memory_format=torch.channels_last)
    images = torch.randn(args.images, 3, args.size, args.size, device=device)
    images = images.to(memory_format=torch.channels_last)
    tables = {
        "labels": (torch.arange(args.images, device=device) >= args.images // 2).long(),
        "mean": torch.rand(2, classes, device=device),
        "std": torch.rand(2, classes, device=device) * 0.2 + 0.05,
    }
    losses = {
        "none": lambda logits: logits.mean(),
        "fused": partial(functional.label_super_resolution_loss, **tables, backend="fused"),
        "eager": partial(reference.label_super_resolution_loss, **tables),
    }
    steps = {name: (lambda: None, make_step(network, images, loss, device)) for name, loss in losses.items()}
    times = interleaved(steps, args.repeats, 120.0, device)
    base = times["none"]["median_ms"]
    for name in ("fused", "eager"):
        times[name]["share"] = (times[name]["median_ms"] - base) / times[name]["median_ms"]
        print(f"{name}: step {times[name]['median_ms']:.2f} ms, the loss {100 * times[name]['share']:.2f} % of it")
    shape = [args.images, classes, args.size, args.size]
    write_json(args.json, {"environment": environment(), "shape": shape, "device": device, "step": times})


if __name__ == "__main__":
    main()
