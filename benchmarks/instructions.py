"""Count instructions per logit with callgrind: a number that does not depend on the load of the machine.

A batch of 4x6x64x64 in float32 on one thread, each build of the kernels that valgrind can run (it does not
support AVX-512). Only the increase per repetition is counted, so start-up is excluded.

    python benchmarks/instructions.py --json benchmarks/results/instructions.json
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from pathlib import Path

import cmake
from harness import environment, write_json
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
LOGITS = 4 * 6 * 64 * 64


def build() -> Path:
    folder = ROOT / "build" / "instructions"
    tool = Path(cmake.CMAKE_BIN_DIR) / "cmake"
    subprocess.run([tool, "-S", ROOT, "-B", folder, "-DLSR_NUMPY=OFF"], check=True, capture_output=True)
    command = [tool, "--build", folder, "--target", "lsr_instructions"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "lsr_instructions"


def count(program: Path, stage: str, repeats: int, build_name: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={folder}/out",
            program,
            stage,
            str(repeats),
        ]
        environ = os.environ | {"LSR_CPU": build_name}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/instructions.json"))
    args = parser.parse_args()
    program = build()
    table = Table("build", "stage", "instructions per logit")
    rows = []
    for build_name in ("portable", "avx2"):
        for stage in ("forward", "backward"):
            once, twice = (count(program, stage, repeats, build_name) for repeats in (1, 2))
            rows.append({"build": build_name, "stage": stage, "per_logit": (twice - once) / LOGITS})
            table.add_row(build_name, stage, f"{rows[-1]['per_logit']:.3f}")
    write_json(args.json, {"environment": environment(), "rows": rows})
    Console().print(table)


if __name__ == "__main__":
    main()
