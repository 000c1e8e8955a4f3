"""Measure the loss: fused against the reference, eager and with torch.compile, and against the floor.

The floor is the time to move the necessary bytes (forward: the logits once; backward: the logits once and the
gradient once) at the bandwidth of a copy of the same size, measured in the same rounds.

    python benchmarks/loss.py                    # the whole table: minutes
    python benchmarks/loss.py --sizes ihc brca --allocator reuse --json result.json --plot result.png
    python benchmarks/loss.py --recorded benchmarks/results/loss-cpu.json --plot docs/speed.png --threads 2 \\
        --layouts nchw --allocator reuse --dtypes float32 bfloat16 --methods eager compile fused "fused in place"
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from harness import environment, interleaved, part_compiled_code, peak_extra_bytes, reuse_memory, write_json
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
REREAD = {"forward": 1, "backward": 2, "both": 3}  # how many times the bytes of the logits must move
METHODS = ("eager", "compile", "compile max", "fused", "fused in place", "fused graph")
METHOD_TITLES = {
    "eager": "eager PyTorch",
    "compile": "torch.compile",
    "compile max": "torch.compile, max-autotune",
    "fused": "fused",
    "fused in place": "fused, in place",
    "fused graph": "fused, CUDA graph",
}
METHOD_COLOURS = {
    "eager": "#8a8f98",
    "compile": "#c94f00",
    "compile max": "#d4b200",
    "fused": "#0072b2",
    "fused in place": "#009e73",
    "fused graph": "#7c3aed",
}
GPU_METHODS = ("compile max", "fused graph")  # max-autotune captures its own graphs; the other is captured here


def make_losses(shape: tuple[int, ...], device: str) -> dict[str, object]:
    """Make each method as a function from logits to the loss, for a batch of two labels."""
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
    """Capture a CUDA graph of run(logits) on `source`."""
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
    """Make (prepare, run) of each method for a stage, and of the copy that gives the floor."""
    target = torch.empty_like(source)

    def fresh(name: str) -> torch.Tensor:
        """Logits as a network would hand them over: no leaf, and a copy where the gradient overwrites them."""
        if name == "compile max":
            torch.compiler.cudagraph_mark_step_begin()  # its graphs' memory is free for the next replay
        x = source.detach().requires_grad_()
        return x.clone() if name == "fused in place" else x.view_as(x)

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
    """Measure peak memory of forward and backward beyond the logits and the gradient."""
    gradient = source.numel() * source.element_size()
    candidates = make_candidates(source, losses, "both")
    for name in ("copy", *GPU_METHODS):  # graphs allocate their memory before
        candidates.pop(name, None)
    return {
        name: peak_extra_bytes(*pair, device) - (0 if name == "fused in place" else gradient)
        for name, pair in candidates.items()
    }


def measure(size: str, dtype: str, layout: str, threads: int, args: argparse.Namespace) -> dict:
    """Measure all stages of one configuration."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    shape = SIZES[size]
    source = torch.randn(shape, device=args.device, dtype=DTYPES[dtype]).mul_(args.spread)
    source = source.to(memory_format=LAYOUTS[layout])
    losses = {name: loss for name, loss in make_losses(shape, args.device).items() if name in args.methods}
    named = {"size": size, "shape": shape, "dtype": dtype, "layout": layout, "threads": threads}
    row = named | {"spread": args.spread}
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
    part_compiled_code()
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
            fused = row[stage].get("fused")
            size = row["size"] + _spread_title(row)
            cells = [row["allocator"], size, row["dtype"], row["layout"], str(row["threads"]), stage]
            cells += [f"{times[name]:.3g}" if name in times else "-" for name in ("floor", *METHODS)]
            cells += _beside_fused(row, times, fused) if fused else ["-"] * 5
            table.add_row(*cells)
    Console(width=190).print(table)


def _beside_fused(row: dict, times: dict[str, float], fused: dict) -> list[str]:
    """What the fused loss gains, its share of the floor, its memory and what its call takes on the host."""
    took, extra, host = fused["median_ms"], row.get("extra_bytes"), fused.get("host_ms")
    gains = [f"{times[name] / took:.1f}" if name in times else "-" for name in ("eager", "compile")]
    return [
        *gains,
        f"{100 * times['floor'] / took:.0f}",
        f"{extra['fused'] / 2**20:.2f}" if extra else "-",
        "-" if host is None else f"{host:.2f}" + (" waited" if fused["waited"] else ""),
    ]


def plot(rows: list[dict], machine: dict, methods: Sequence[str], path: Path) -> None:
    """Draw the time of forward and backward together, in multiples of the floor, labelled in milliseconds."""
    from matplotlib import pyplot

    rows = [row for row in rows if "both" in row]
    methods = [name for name in methods if any(name in row["both"] for row in rows)]
    height = 0.84 / len(methods)
    figure, axes = pyplot.subplots(figsize=(8.6, 0.19 * len(methods) * len(rows) + 1.5), layout="constrained")
    for i, method in enumerate(methods):
        shown = [(y, row["both"]) for y, row in enumerate(rows) if method in row["both"]]
        times = [both[method]["median_ms"] for _, both in shown]
        bars = axes.barh(
            [y + (i - (len(methods) - 1) / 2) * height for y, _ in shown],
            [time / both["floor"]["median_ms"] for time, (_, both) in zip(times, shown, strict=True)],
            height,
            label=METHOD_TITLES[method],
            color=METHOD_COLOURS[method],
        )
        labels = [f"{time:.1f} ms" if time >= 1 else f"{1000 * time:.0f} µs" for time in times]
        axes.bar_label(bars, labels, padding=3, fontsize=8)
    on_gpu = "driver" in machine
    axes.set_yticks(range(len(rows)), [_row_title(row, on_gpu) for row in rows], fontsize=9)
    axes.axvline(1, color="black", linewidth=1.2, linestyle="--", label="a copy of the bytes")
    axes.set_xlabel("time / time to copy the bytes that must move (shorter is better)")
    axes.set_xlim(right=1.12 * axes.get_xlim()[1])
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=len(methods) + 1, fontsize=8.5, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    memory = ", freed memory kept for reuse" if {row["allocator"] for row in rows} == {"reuse"} else ""
    torch_version = machine["torch"].partition("+")[0]
    cores = "" if on_gpu else f"{machine['cores']} CPU cores, "
    figure.suptitle(
        f"Label super-resolution loss, forward + backward, on random logits{memory}\n"
        f"{machine['processor']}, {cores}torch {torch_version}, {machine['date']}",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=120)


def _spread_title(row: dict) -> str:
    return "" if row["spread"] == 1 else f", spread {row['spread']:g}"


def _row_title(row: dict, on_gpu: bool) -> str:
    shape = " × ".join(map(str, row["shape"])) + _spread_title(row)
    layout = "" if row["layout"] == "nchw" else ", channels last"
    threads = "" if on_gpu else f", {row['threads']} thread{'s' * (row['threads'] != 1)}"
    return f"{shape}\n{row['dtype']}{layout}{threads}"


def joined(contents: Sequence[dict]) -> dict:
    """Results of one machine as one: of a case in several, each method's times from the first that has it."""
    rows: dict[tuple, dict] = {}
    for row in itertools.chain.from_iterable(content["rows"] for content in contents):
        row = {"spread": 1.0} | row  # as older results were measured
        key = tuple(row[name] for name in ("size", "dtype", "layout", "threads", "allocator", "spread"))
        known = rows.setdefault(key, row)
        for stage in (stage for stage in STAGES if stage in row and stage in known):
            known[stage] = row[stage] | known[stage]
    return contents[0] | {"rows": list(rows.values())}


def recorded(args: argparse.Namespace) -> dict:
    """Read the environment of result files, and the rows that the options select."""
    content = joined([json.loads(path.read_text()) for path in args.recorded])
    wanted = {"size": args.sizes, "dtype": args.dtypes, "layout": args.layouts, "threads": args.threads}
    if args.allocator != "both":
        wanted["allocator"] = [args.allocator]
    rows = [row for row in content["rows"] if all(row[name] in values for name, values in wanted.items())]
    if not rows:
        files = ", ".join(map(str, args.recorded))
        sys.exit(f"expected a result with one each of {wanted}, found none in {files}")
    order = {name: i for i, name in enumerate([*SIZES, *DTYPES])}
    return content | {"rows": sorted(rows, key=lambda row: (order[row["size"]], order[row["dtype"]]))}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    choices = {"sizes": SIZES, "dtypes": DTYPES, "layouts": LAYOUTS, "stages": STAGES, "methods": METHODS}
    for name, allowed in choices.items():
        parser.add_argument(f"--{name}", nargs="+", choices=list(allowed), default=list(allowed))
    parser.add_argument("--threads", nargs="+", type=int, default=[1] if gpu else [1, 2])
    parser.add_argument(
        "--spread", type=float, default=1.0, help="standard deviation of the logits; at 30 most pixels are decided"
    )
    parser.add_argument("--allocator", choices=["reuse", "default", "both"], default="both")
    parser.add_argument("--repeats", type=int, default=25, help="rounds at the most")
    parser.add_argument("--seconds", type=float, default=8.0, help="of one stage, after five rounds")
    parser.add_argument("--device", default="cuda" if gpu else "cpu")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/loss.json"))
    parser.add_argument("--plot", help="the PNG file to draw")
    parser.add_argument(
        "--recorded", nargs="+", type=Path, help="results of one machine to print and draw; nothing is measured"
    )
    return parser.parse_args()


def measure_in_processes(args: argparse.Namespace) -> list[dict]:
    """Measure with both allocators, each in its own process, because glibc's settings hold for a process."""
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
    if args.recorded:
        content = recorded(args)
        print_table(content["rows"])
        if args.plot:
            plot(content["rows"], content["environment"], args.methods, Path(args.plot))
        return
    both = args.allocator == "both" and args.device == "cpu"
    described, rows = environment(), []
    for row in measure_in_processes(args) if both else measure_all(args):
        rows.append(row)
        write_json(args.json, {"environment": described, "rows": rows})
    print_table(rows)
    if args.plot:
        plot(rows, environment(), args.methods, Path(args.plot))


if __name__ == "__main__":
    main()
