"""What each kernel takes on a GPU, beside a copy of as many bytes, by the profiler: no host in it.

Calls rotate over batches that together are larger than the caches. The moments read their logits once, the
gradient reads and writes them: both are given as shares of the copy's bandwidth.

    python benchmarks/kernels.py --json kernels.json
    ncu ... python benchmarks/kernels.py --once      # each kernel twice, no profiler of its own
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from harness import environment, write_json
from loss import DTYPES, LAYOUTS, SIZES
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

KINDS = ("moments", "table_loss", "gradient")
CALLS = 24


def kernel_times(run: Callable, device: str) -> dict[str, float]:
    """The median microseconds of each kernel that run(i) launches."""
    for i in range(3):
        run(i)
    activities = [ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU]
    with profile(activities=activities) as recorded:
        for i in range(CALLS):
            run(i)
        if device == "cuda":
            torch.cuda.synchronize()
    times = defaultdict(list)
    for event in recorded.events():
        if device == "cpu" or event.device_type == torch.autograd.DeviceType.CUDA:
            times[event.name].append(event.time_range.elapsed_us())
    return {name: statistics.median(each) for name, each in times.items() if len(each) >= CALLS}


def make_runs(shape: tuple[int, ...], dtype: torch.dtype, layout: str, device: str) -> dict[str, Callable]:
    """Copy, forward and backward as functions of a number that picks the batch."""
    size = math.prod(shape) * dtype.itemsize
    batches = 2 if device == "cpu" else max(2, min(12, math.ceil(400e6 / size)))
    made = (3 * torch.randn(shape, device=device) for _ in range(batches))
    logits = [x.to(dtype).contiguous(memory_format=LAYOUTS[layout]) for x in made]
    copies = [torch.empty_like(x) for x in logits]
    labels = (torch.arange(shape[0], device=device) >= shape[0] // 2).long()
    mean, std = torch.rand(2, 2, shape[1], device=device).mul(0.3).add(0.05)
    options = (None, None, None, None, None, "intra+inter", "marginal", math.inf, 1.0, 0.0, 1e-8, 0.0, "softmax")
    _, a, b = torch.ops.lsr.label_super_resolution(logits[0], labels, mean, std, *options)

    def forward(i: int) -> tuple[Tensor, ...]:
        return torch.ops.lsr.label_super_resolution(logits[i % batches], labels, mean, std, *options)

    def backward(i: int) -> Tensor:
        return torch.ops.lsr.pixel_gradient(logits[i % batches], None, None, a, b, None, "softmax")

    def copy(i: int) -> Tensor:
        return copies[i % batches].copy_(logits[i % batches])

    return {"copy": copy, "forward": forward, "backward": backward}


def measure(shape: tuple[int, ...], dtype: torch.dtype, layout: str, device: str) -> dict[str, float]:
    """Microseconds of each kernel, and shares of the copy's bandwidth."""
    runs = make_runs(shape, dtype, layout, device)
    size = math.prod(shape) * dtype.itemsize
    copy = max(kernel_times(runs["copy"], device).values(), default=math.nan)
    row: dict[str, float] = {"bytes": size, "copy_us": copy, "copy_TB_per_s": 2e-6 * size / copy}
    for name, microseconds in {
        **kernel_times(runs["forward"], device),
        **kernel_times(runs["backward"], device),
    }.items():
        for kind in (kind for kind in KINDS if kind in name):
            row[f"{kind}_us"] = microseconds
    for kind, moved in (("moments", 0.5), ("gradient", 1.0)):
        if f"{kind}_us" in row:
            row[f"{kind}_percent"] = 100 * moved * copy / row[f"{kind}_us"]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--shape", nargs=4, type=int, help="another size, in place of these: N L H W")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=["float32", "bfloat16"])
    parser.add_argument("--once", action="store_true", help="only call each kernel twice")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/kernels.json"))
    args = parser.parse_args()
    shapes = {"given": tuple(args.shape)} if args.shape else {name: SIZES[name] for name in args.sizes}
    described, rows = environment(), []
    columns = (
        "copy_us",
        "copy_TB_per_s",
        "moments_us",
        "moments_percent",
        "table_loss_us",
        "gradient_us",
        "gradient_percent",
    )
    print(f"{'':30}" + " ".join(f"{name:>16}" for name in columns))
    for (size, shape), dtype, layout in itertools.product(shapes.items(), args.dtypes, LAYOUTS):
        if args.once:
            runs = make_runs(shape, DTYPES[dtype], layout, args.device)
            for i in range(2):
                runs["forward"](i), runs["backward"](i)
            continue
        rows.append({"size": size, "shape": shape, "dtype": dtype, "layout": layout})
        rows[-1] |= measure(shape, DTYPES[dtype], layout, args.device)
        write_json(args.json, {"environment": described, "rows": rows})
        print(
            f"{size:6} {dtype:9} {layout:13}"
            + " ".join(f"{rows[-1].get(name, math.nan):16.1f}" for name in columns)
        )


if __name__ == "__main__":
    main()
