"""Instructions per logit under callgrind: the figure that does not move with the machine's load.

A batch of 4 images of 64x64 in float32 on one thread: rows, channels last, both with a mask, and every second
pixel of wider rows. Each build of the kernels that valgrind can run (it knows no AVX-512). What a repetition adds
is counted, so start-up does not.

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
LAYOUTS = ("rows", "channels_last", "masked", "masked_channels_last", "strided")


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
    table = Table("build", "stage", "classes", "layout", "instructions per logit")
    rows = []
    for case in product(("portable", "avx2"), ("forward", "backward"), (2, 6), LAYOUTS):
        build_name, stage, classes, layout = case
        once, twice = (count(program, *case, repeats) for repeats in (1, 2))
        per_logit = (twice - once) / (classes * PIXELS)
        rows.append(
            {"build": build_name, "stage": stage, "classes": classes, "layout": layout, "per_logit": per_logit}
        )
        table.add_row(build_name, stage, str(classes), layout, f"{per_logit:.3f}")
    write_json(args.json, {"environment": environment(), "rows": rows})
    Console().print(table)


if __name__ == "__main__":
    main()
