"""What a call of the loss costs the host beside its kernels: processor time at a size that gives them little.

On a GPU this is the time in which a step can queue no other work. One thread; the least over many short series, by
the processor's clock, which a busy machine moves least. Beside it what autograd takes for a function that does
nothing, and torch's cross entropy.

    python benchmarks/host.py --json host.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from harness import environment, write_json
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import cross_entropy

import lsr_ext
from lsr_ext import functional


class Nothing(torch.autograd.Function):
    """What autograd itself takes for a function that is written in Python."""

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        return value.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple:
        return ctx.saved_tensors[0], None


def microseconds(run: Callable, series: int, calls: int = 50) -> float:
    """The least processor time of a call."""
    best = float("inf")
    for _ in range(series):
        start = time.process_time()
        for _ in range(calls):
            run()
        best = min(best, (time.process_time() - start) / calls)
    return 1e6 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/host.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logits = torch.randn(2, 3, 4, 4, device=args.device).requires_grad_()
    labels, tables = torch.tensor([0, 1], device=args.device), torch.full((2, 2, 3), 0.3, device=args.device)
    loss = partial(functional.label_super_resolution_loss, labels=labels, mean=tables[0], std=tables[1])
    module = lsr_ext.LabelSuperResolutionLoss(lsr_ext.CountDistribution(*tables.cpu())).to(args.device)
    one, classes = torch.ones((), device=args.device), torch.zeros_like(logits[:, 0], dtype=torch.int64)
    value = loss(logits)

    def step(loss: Callable) -> None:
        torch.autograd.grad(loss(logits), logits, one)

    runs = {
        "forward": lambda: loss(logits),
        "forward, no gradient": lambda: loss(logits.detach()),
        "backward": lambda: torch.autograd.grad(value, logits, one, retain_graph=True),
        "forward and backward": lambda: step(loss),
        "forward and backward, module": lambda: step(lambda x: module(x, labels)),
        "forward and backward, a function that does nothing": lambda: step(lambda x: Nothing.apply(x, one)),
        "forward and backward, cross entropy": lambda: step(lambda x: cross_entropy(x, classes)),
    }
    times = {name: microseconds(run, args.series) for name, run in runs.items()}
    for name, value_us in times.items():
        print(f"{name}: {value_us:.1f} us")
    write_json(args.json, {"environment": environment(), "device": args.device, "host_us": times})


if __name__ == "__main__":
    main()
