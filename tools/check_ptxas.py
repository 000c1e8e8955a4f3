"""Fails where ptxas spilled registers of a kernel that is not allowed to; prints what each kernel takes.

python tools/check_ptxas.py build/temp/cuda/ptxas.log
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Kernels that may spill, by a pattern of their names, with the most bytes and why.
ALLOWED: dict[str, tuple[int, str]] = {}

_KERNEL = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


@dataclass(frozen=True)
class Kernel:
    """What ptxas says of one kernel on one architecture."""

    name: str
    arch: str
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_bytes: int


def readable(names: list[str]) -> list[str]:
    """The C++ names of symbols, as they are where there is no c++filt."""
    if shutil.which("c++filt") is None:
        return names
    done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    return [name.replace("lsr::cuda::", "") for name in done.stdout.splitlines()]


def parse(log: str) -> list[Kernel]:
    """The kernels that a log of ``nvcc -Xptxas=-v`` tells of.

    Raises:
        ValueError: where one is named without its registers or its stack.
    """
    parts = _KERNEL.split(log)[1:]
    names = readable(parts[::3])
    kernels = []
    for name, arch, text in zip(names, parts[1::3], parts[2::3], strict=True):
        frame, used = _FRAME.search(text), _USED.search(text)
        if not frame or not used:
            raise ValueError(f"{name} for {arch}: expected its registers and spills, got {text[:200]!r}")
        stack, stores, loads = map(int, frame.groups())
        kernels.append(Kernel(name, arch, int(used[1]), int(used[2] or 0), stack, stores + loads))
    return kernels


def problems(kernels: list[Kernel]) -> list[str]:
    """Spills that nothing allows, and stack that arrays took which should be registers."""
    found = []
    for kernel in kernels:
        allowances = (most for pattern, (most, _) in ALLOWED.items() if re.search(pattern, kernel.name))
        allowed = max(allowances, default=0)
        where = f"{kernel.name} for {kernel.arch}"
        if kernel.spill_bytes > allowed:
            found.append(f"{where}: {kernel.spill_bytes} bytes spilled, {allowed} allowed")
        elif kernel.stack_bytes > allowed:
            found.append(f"{where}: {kernel.stack_bytes} bytes of stack, {allowed} allowed")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    kernels = parse(parser.parse_args().log.read_text())
    for kernel in sorted(kernels, key=lambda k: (k.name, k.arch)):
        print(f"{kernel.registers:4} registers {kernel.shared_bytes:6} B shared  {kernel.arch}  {kernel.name}")
    found = problems(kernels)
    print(f"{len(kernels)} kernels, {len(found)} problems")
    if not kernels or found:
        sys.exit("\n".join(found) or "no kernels in the log")


if __name__ == "__main__":
    main()
