"""Fails where a library needs what the stable ABI does not promise: Python's symbols, or torch's C++ ones.

python tools/check_symbols.py lsr_ext/_C.so dist/*.whl
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PYTHON = re.compile(r"_?Py[A-Z_]\w*")
# Mangled names with one of torch's namespaces, as a scope or an argument. torch::headeronly is inlined, so even
# its symbols must not be left open.
UNSTABLE = re.compile(r"_Z\w*(?:2at|3c10|5torch|5caffe2?)(?=[0-9A-Z])\w*")


def undefined(library: Path) -> list[str]:
    """The symbols that a library leaves to others."""
    done = subprocess.run(["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True)
    return [line.split()[-1].split("@")[0] for line in done.stdout.splitlines()]


def unstable(symbols: list[str]) -> list[str]:
    """Those that change from one Python or torch to the next."""
    return [name for name in symbols if PYTHON.fullmatch(name) or UNSTABLE.fullmatch(name)]


def check(path: Path) -> list[str]:
    """What is wrong with a library, or with those in a wheel."""
    if path.suffix != ".whl":
        return [f"{path.name}: needs {name}" for name in unstable(undefined(path))]
    problems = []
    if not re.search(r"-py3-none-\w+\.whl$", path.name):
        problems.append(f"{path.name}: expected a wheel for py3-none-<platform>")
    with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as folder:
        names = [name for name in wheel.namelist() if name.endswith(".so")]
        for expected in ("lsr_ext/_C.so", "lsr_ext/_C_cuda.so", "lsr_ext/_slides.so"):
            if expected not in names:
                problems.append(f"{path.name}: has no {expected}")
        for name in names:
            problems += check(Path(wheel.extract(name, folder)))
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    problems = [problem for path in parser.parse_args().paths for problem in check(path)]
    if problems:
        sys.exit("\n".join(problems))
    print("only stable symbols")


if __name__ == "__main__":
    main()
