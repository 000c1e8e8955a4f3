"""Measure the cost of denormal numbers in training on the CPU: the demo with them, and with them flushed to zero.

With groups of 16 blocks, the class of most pixels is decided early. The gradient of such a pixel is almost zero,
and on its way back through the network it becomes too small for a normal number. The final weights of the two
runs are compared by the norm of their difference.

    python benchmarks/denormals.py --json denormals.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from importlib.resources import as_file, files
from multiprocessing import get_context
from pathlib import Path

import torch
from harness import environment, write_json

from lsr_ext import training
from lsr_ext.config import load_config
from lsr_ext.training.denormals import flushed_denormals

METHOD = "intra+inter"


def train(output: Path, steps: int, flushed: bool) -> float:
    """Return the seconds of one training."""
    overrides = {
        "output": output,
        "methods": [METHOD],
        "training.steps": steps,
        "training.group_size": 16,
        "training.groups_per_batch": 4,
        "training.accelerator": "cpu",
    }
    with as_file(files("lsr_ext.config") / "demo.yaml") as path:
        config = load_config(path, overrides)
    start = time.perf_counter()
    with flushed_denormals() if flushed else nullcontext():
        training.train.__wrapped__(config)
    return time.perf_counter() - start


def weights(output: Path) -> torch.Tensor:
    state = torch.load(output / METHOD / "last.ckpt", weights_only=True)["state_dict"]
    return torch.cat([value.flatten().double() for value in state.values()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/denormals.json"))
    args = parser.parse_args()
    seconds, found = {}, {}
    # A process for each, because running threads keep the setting from when they were started.
    pool = ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1)
    with pool, tempfile.TemporaryDirectory() as folder:
        for name, flushed in (("kept", False), ("flushed", True)):
            output = Path(folder) / name
            seconds[name] = pool.submit(train, output, args.steps, flushed).result()
            found[name] = weights(output)
    difference = (torch.dist(found["flushed"], found["kept"]) / found["kept"].norm()).item()
    print(
        f"{args.steps} steps: {seconds['kept']:.1f} s, with denormal numbers flushed {seconds['flushed']:.1f} s; "
        f"the weights differ by {difference:.1e} of their norm"
    )
    results = {"steps": args.steps, "seconds": seconds, "weights_difference": difference}
    write_json(args.json, {"environment": environment(), **results})


if __name__ == "__main__":
    main()
