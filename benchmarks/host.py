"""What a call of the loss costs the host beside its kernels: processor time at a size that gives them little.

On a GPU this is the time in which a step can queue no other work. One thread; the least over many short series, by
the processor's clock, which a busy machine moves least.

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

import lsr_ext
from lsr_ext import functional


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
    one = torch.ones((), device=args.device)
    value = loss(logits)

    def step(loss: Callable) -> None:
        torch.autograd.grad(loss(logits), logits, one)

    runs = {
        "forward": lambda: loss(logits),
        "forward, no gradient": lambda: loss(logits.detach()),
        "backward": lambda: torch.autograd.grad(value, logits, one, retain_graph=True),
        "forward and backward": lambda: step(loss),
        "forward and backward, module": lambda: step(lambda x: module(x, labels)),
    }
    times = {name: microseconds(run, args.series) for name, run in runs.items()}
    for name, value_us in times.items():
        print(f"{name}: {value_us:.1f} us")
    write_json(args.json, {"environment": environment(), "device": args.device, "host_us": times})


if __name__ == "__main__":
    main()
