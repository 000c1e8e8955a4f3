"""The loss: fused against the reference in eager mode and under torch.compile, and against the floor.

The floor is the time in which the bytes that must move (forward: the logits once; backward: the logits
once and the gradient once) move at the bandwidth of a copy of the same size, measured in the same rounds.

    python benchmarks/loss.py                    # the whole table: minutes
    python benchmarks/loss.py --sizes ihc brca --allocator reuse --json result.json --plot result.png
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from harness import environment, interleaved, peak_extra_bytes, reuse_memory, write_json
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lsr_ext import functional, reference

SIZES = {
    "ihc": (20, 6, 400, 400),  # the paper's multiplex batch
    "brca": (30, 2, 240, 240),  # its breast-cancer batch
    "large": (8, 6, 1024, 1024),
    "huge": (4, 2, 4096, 4096),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
STAGES = ("forward", "backward", "both")
REREAD = {"forward": 1, "backward": 2, "both": 3}  # how often the logits' bytes must move
METHODS = ("eager", "compile", "compile max", "fused", "fused in place", "fused graph")
GPU_METHODS = ("compile max", "fused graph")  # max-autotune, which captures graphs itself; and a replay of our own


def make_losses(shape: tuple[int, ...], device: str) -> dict[str, object]:
    """Each method as a function from logits to the loss, for a batch of two labels."""
    labels = (torch.arange(shape[0], device=device) >= shape[0] // 2).long()
    mean = torch.rand(2, shape[1], device=device)
    std = torch.rand(2, shape[1], device=device) * 0.2 + 0.05
    torch._dynamo.reset()
    compiled = torch.compile(reference.label_super_resolution_loss, dynamic=False)
    fused = partial(functional.label_super_resolution_loss, labels=labels, mean=mean, std=std, backend="fused")
    losses = {
        "eager": partial(reference.label_super_resolution_loss, labels=labels, mean=mean, std=std),
        "compile": partial(compiled, labels=labels, mean=mean, std=std),
        "fused": fused,
        "fused in place": partial(fused, inplace_backward=True),
    }
    if device == "cuda":
        most = torch.compile(reference.label_super_resolution_loss, dynamic=False, mode="max-autotune")
        losses["compile max"] = partial(most, labels=labels, mean=mean, std=std)
        losses["fused graph"] = fused
    return losses


def capture(source: torch.Tensor, run: object) -> torch.cuda.CUDAGraph:
    """A graph of run(logits) on `source`."""
    x = source.detach().requires_grad_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run(x)
    return graph


def make_candidates(source: torch.Tensor, losses: dict, stage: str) -> dict[str, tuple]:
    """(prepare, run) of each method for a stage, and of the copy that the floor comes from."""
    target, work = torch.empty_like(source), source.clone()

    def fresh(name: str) -> torch.Tensor:
        """Logits as a network would hand them over: no leaf, and new after an in-place backward."""
        if name == "compile max":
            torch.compiler.cudagraph_mark_step_begin()  # its graphs' memory is free for the next replay
        copy = name == "fused in place"
        if copy:
            work.copy_(source)
        x = (work if copy else source).detach().requires_grad_()
        return x.view_as(x)

    def forward(loss: object, x: torch.Tensor) -> torch.Tensor:
        return loss(x)

    def backward(state: tuple) -> torch.Tensor:
        value, x = state
        return torch.autograd.grad(value, x)

    def both(loss: object, x: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(loss(x), x)

    candidates = {"copy": (lambda: None, lambda _: target.copy_(source))}
    for name, loss in losses.items():
        if name == "fused graph":
            if stage != "backward":
                graph = capture(source, partial(forward if stage == "forward" else both, loss))
                candidates[name] = (lambda: None, lambda _, graph=graph: graph.replay())
            continue
        prepare = partial(fresh, name)
        if stage == "backward":
            candidates[name] = (lambda p=prepare, f=loss: (lambda x: (f(x), x))(p()), backward)
        else:
            candidates[name] = (prepare, partial(forward if stage == "forward" else both, loss))
    return candidates


def extra_bytes(source: torch.Tensor, losses: dict, device: str) -> dict[str, int]:
    """Peak memory of forward and backward beyond the logits and the gradient."""
    gradient = source.numel() * source.element_size()
    candidates = make_candidates(source, losses, "both")
    for name in ("copy", *GPU_METHODS):  # graphs hold their memory from the start
        candidates.pop(name, None)
    return {
        name: peak_extra_bytes(*pair, device) - (0 if name == "fused in place" else gradient)
        for name, pair in candidates.items()
    }


def measure(size: str, dtype: str, layout: str, threads: int, args: argparse.Namespace) -> dict:
    """All stages of one configuration."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shape = SIZES[size]
    source = torch.randn(shape, device=args.device, dtype=DTYPES[dtype])
    source = source.to(memory_format=LAYOUTS[layout])
    losses = {name: loss for name, loss in make_losses(shape, args.device).items() if name in args.methods}
    row = {"size": size, "shape": shape, "dtype": dtype, "layout": layout, "threads": threads}
    for stage in args.stages:
        candidates = make_candidates(source, losses, stage)
        row[stage] = interleaved(candidates, args.repeats, args.seconds, args.device)
        floor = row[stage].pop("copy")
        row[stage]["floor"] = {
            name: value * REREAD[stage] / 2 if name.endswith("_ms") else value for name, value in floor.items()
        }
    if args.allocator == "default":
        row["extra_bytes"] = extra_bytes(source, losses, args.device)
    return row


def measure_all(args: argparse.Namespace) -> Iterator[dict]:
    """The rows, each as it is measured."""
    if args.allocator == "reuse" and args.device == "cpu":
        reuse_memory()
    configurations = [
        (size, dtype, layout, threads)
        for size in args.sizes
        for threads in args.threads
        for layout in args.layouts
        for dtype in args.dtypes
    ]
    console = Console(stderr=True)
    for configuration in track(configurations, f"allocator: {args.allocator}", console=console):
        yield measure(*configuration, args) | {"allocator": args.allocator}


def print_table(rows: list[dict]) -> None:
    table = Table(
        title="loss, medians in ms; x = how many times faster the fused loss is; host = what its call takes there"
    )
    for column in ("allocator", "size", "dtype", "layout", "threads", "stage", "floor", *METHODS):
        table.add_column(column, justify="right")
    for column in ("x eager", "x compile", "% of floor", "extra MiB", "host"):
        table.add_column(column, justify="right")
    for row in rows:
        for stage in (name for name in STAGES if name in row):
            times = {name: value["median_ms"] for name, value in row[stage].items()}
            fused = times["fused"]
            cells = [row["allocator"], row["size"], row["dtype"], row["layout"], str(row["threads"]), stage]
            cells += [f"{times[name]:.2f}" if name in times else "-" for name in ("floor", *METHODS)]
            cells += [f"{times[name] / fused:.1f}" if name in times else "-" for name in ("eager", "compile")]
            cells += [f"{100 * times['floor'] / fused:.0f}"]
            cells += [f"{row['extra_bytes']['fused'] / 2**20:.2f}" if "extra_bytes" in row else "-"]
            host = row[stage]["fused"].get("host_ms")
            cells += [
                "-" if host is None else f"{host:.2f}" + (" waited" if row[stage]["fused"]["waited"] else "")
            ]
            table.add_row(*cells)
    Console(width=190).print(table)


def plot(rows: list[dict], path: Path) -> None:
    """The fraction of the floor that each method reaches, forward and backward together."""
    from matplotlib import pyplot

    rows = [row for row in rows if "both" in row]
    names = [
        f"{row['size']} {row['dtype']}\n{row['layout']}, {row['threads']} threads\n{row['allocator']}"
        for row in rows
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.9 * len(rows) + 1.2), layout="constrained")
    height = 0.8 / len(METHODS)
    for i, method in enumerate(METHODS):
        fractions = [
            100 * row["both"]["floor"]["median_ms"] / row["both"][method]["median_ms"]
            if method in row["both"]
            else 0
            for row in rows
        ]
        positions = [y + i * height for y in range(len(rows))]
        bars = axes.barh(positions, fractions, height, label=method)
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7)
    axes.set_yticks([y + 0.3 for y in range(len(rows))], names, fontsize=8)
    axes.axvline(100, color="black", linewidth=0.8)
    axes.set_xlabel("% of the floor (100 = the bytes that must move, at the speed of a copy)")
    axes.invert_yaxis()
    axes.legend(loc="lower right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    choices = {"sizes": SIZES, "dtypes": DTYPES, "layouts": LAYOUTS, "stages": STAGES, "methods": METHODS}
    for name, allowed in choices.items():
        parser.add_argument(f"--{name}", nargs="+", choices=list(allowed), default=list(allowed))
    parser.add_argument("--threads", nargs="+", type=int, default=[1] if gpu else [1, 2])
    parser.add_argument("--allocator", choices=["reuse", "default", "both"], default="both")
    parser.add_argument("--repeats", type=int, default=25, help="rounds at the most")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one stage, after five rounds")
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/loss.json"))
    parser.add_argument("--plot", help="a PNG file to draw into")
    return parser.parse_args()


def measure_in_processes(args: argparse.Namespace) -> list[dict]:
    """Both allocators: glibc's settings hold for a process, so each gets its own."""
    import json

    rows = []
    for allocator in ("reuse", "default"):
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / "rows.json"
            command = [sys.executable, *sys.argv, "--allocator", allocator, "--json", str(part), "--plot", ""]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            rows += json.loads(part.read_text())["rows"]
    return rows


def main() -> None:
    args = parse()
    both = args.allocator == "both" and args.device == "cpu"
    described, rows = environment(), []
    for row in measure_in_processes(args) if both else measure_all(args):
        rows.append(row)
        write_json(args.json, {"environment": described, "rows": rows})
    print_table(rows)
    if args.plot:
        plot(rows, Path(args.plot))


if __name__ == "__main__":
    main()
