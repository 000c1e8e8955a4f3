"""Count instructions per logit with callgrind: a number that does not depend on the load of the machine.

A batch of 4 images of 64x64 on one thread, float32 and bfloat16: rows, the same with a quarter of an image as a
block, channels last, rows and channels last with a mask, and every second pixel of wider rows; each build of the
kernels that valgrind can run (it does not support AVX-512). Only the increase per repetition is counted, so
start-up is excluded.

    python benchmarks/instructions.py --json benchmarks/results/instructions.json
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from itertools import product
from pathlib import Path

import cmake
from harness import environment, write_json
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PIXELS = 4 * 64 * 64
LAYOUTS = ("rows", "quarters", "channels_last", "masked", "masked_channels_last", "strided")


def build() -> Path:
    folder = ROOT / "build" / "instructions"
    tool = Path(cmake.CMAKE_BIN_DIR) / "cmake"
    subprocess.run([tool, "-S", ROOT, "-B", folder, "-DLSR_NUMPY=OFF"], check=True, capture_output=True)
    command = [tool, "--build", folder, "--target", "lsr_instructions"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "lsr_instructions"


def count(program: Path, build_name: str, *arguments: str | int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={folder}/out",
            program,
            *map(str, arguments),
        ]
        environ = os.environ | {"LSR_CPU": build_name}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/instructions.json"))
    args = parser.parse_args()
    program = build()
    names = ("build", "stage", "classes", "dtype", "layout")
    table = Table(*names, "instructions per logit")
    rows = []
    for case in product(("portable", "avx2"), ("forward", "backward"), (2, 6), ("float32", "bfloat16"), LAYOUTS):
        once, twice = (count(program, *case, repeats) for repeats in (1, 2))
        row = dict(zip(names, case, strict=True))
        rows.append(row | {"per_logit": (twice - once) / (row["classes"] * PIXELS)})
        table.add_row(*map(str, case), f"{rows[-1]['per_logit']:.3f}")
    write_json(args.json, {"environment": environment(), "rows": rows})
    Console().print(table)


if __name__ == "__main__":
    main()
