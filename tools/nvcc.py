"""How the CUDA library is built: nvcc and its flags, the architectures, one command a source file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KERNELS = sorted((ROOT / "csrc" / "cuda").glob("*.cu"), key=lambda path: path.name == "kernels.cu")
BINDINGS = ROOT / "csrc" / "bindings_cuda.cpp"

# Ampere, its workstation cards, Ada, Hopper, Blackwell, its workstation cards; PTX of the last for what comes.
ARCHS = "8.0;8.6;8.9;9.0;10.0;12.0+PTX"
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"  # 2.10
# Subnormal logits count as 0, and 1 / x is rounded to 1 ulp: neither reaches the sums' sixth digit.
FLAGS = ("-O3", "-std=c++17", "-ftz=true", "-prec-div=false", "--compress-mode=size", "-Xptxas=-v",
         "-Xcompiler=-fPIC,-Wall,-Wno-unknown-pragmas")  # fmt: skip


class NoCompiler(RuntimeError):
    """There is no nvcc to build with."""


def toolkit() -> Path:
    """The folder of the CUDA toolkit: $CUDA_HOME, or that of the nvcc on PATH.

    Raises:
        NoCompiler: with what is missing.
    """
    named = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if named:
        if not (Path(named) / "bin" / "nvcc").exists():
            raise NoCompiler(f"CUDA_HOME is {named}, which has no bin/nvcc")
        return Path(named)
    found = shutil.which("nvcc")
    if found is None:
        raise NoCompiler("no nvcc: install a CUDA toolkit of 12.8 or later, and put nvcc on PATH or set CUDA_HOME")
    # nvcc on PATH may be a script that calls the real one; it knows best where it lives.
    said = subprocess.run([found, "-dryrun", "-x", "cu", "/dev/null"], capture_output=True, text=True).stderr
    top = re.search(r"^#\$ TOP=(.+)$", said, re.MULTILINE)
    return Path(top.group(1)).resolve() if top else Path(found).resolve().parents[1]


def wanted_archs() -> str:
    """The architectures to build for: $TORCH_CUDA_ARCH_LIST, or all of ours."""
    return os.environ.get("TORCH_CUDA_ARCH_LIST") or ARCHS


def code_flags(archs: str) -> list[str]:
    """nvcc's flags for a list such as "8.0;9.0a 12.0+PTX".

    Raises:
        ValueError: where an entry is no architecture from 8.0 on.
    """
    flags = []
    for arch in re.split(r"[;,\s]+", archs.strip()):
        match = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", arch)
        if not match or int(match.group(1)) < 8:
            expected = "architectures such as '9.0' or '12.0+PTX' from 8.0 on"
            raise ValueError(f"TORCH_CUDA_ARCH_LIST: expected {expected}, got {arch!r}")
        number = match.group(1) + match.group(2)
        flags.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        if match.group(3):
            flags.append(f"-gencode=arch=compute_{number},code=compute_{number}")
    return flags


def compile_command(source: Path, target: Path, archs: str, *extra: str) -> list[str]:
    """The command that compiles one source of kernels."""
    nvcc = str(toolkit() / "bin" / "nvcc")
    return [nvcc, *FLAGS, *code_flags(archs), *extra, f"-I{ROOT / 'csrc'}", "-c", str(source), "-o", str(target)]


def run_all(commands: list[list[str]], jobs: int) -> list[str]:
    """Run commands side by side; what each printed.

    Raises:
        RuntimeError: with the output of the first that failed.
    """

    def run(command: list[str]) -> str:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}")
        return done.stdout

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(run, commands))


def build_library(target: Path, folder: Path, torch_root: Path, archs: str) -> None:
    """Compile the kernels and the bindings against a torch, CPU-only or not, and link them to `target`.

    The runtime of CUDA is linked in. What is left open are torch's stable C symbols, which a torch with CUDA has.
    What ptxas says of registers and spills goes to ptxas.log in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cuda = toolkit()
    compiler = os.environ.get("CXX", "g++")
    objects = [folder / f"{source.stem}.o" for source in (*KERNELS, BINDINGS)]
    commands = [compile_command(source, path, archs) for source, path in zip(KERNELS, objects[:-1], strict=True)]
    include = torch_root / "include"
    headers = [ROOT / "csrc", include, include / "torch" / "csrc" / "api" / "include", cuda / "include"]
    commands.append([
        compiler, "-O2", "-g0", "-std=c++17", "-fPIC", "-Wall", "-fvisibility=hidden", STABLE_ABI,
        *(f"-I{path}" for path in headers), "-c", str(BINDINGS), "-o", str(objects[-1]),
    ])  # fmt: skip
    said = run_all(commands, int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1))
    (folder / "ptxas.log").write_text("".join(said))
    library_folder = next(path for path in (cuda / "lib64", cuda / "lib") if path.is_dir())
    part = target.with_suffix(".part")
    link = [
        compiler, "-shared", "-s", *map(str, objects), f"-L{torch_root / 'lib'}", "-Wl,--no-as-needed", "-ltorch",
        "-Wl,--as-needed", "-ltorch_cpu", "-lc10", f"-L{library_folder}", "-lcudart_static", "-lrt", "-lpthread",
        "-ldl", "-Wl,--exclude-libs,ALL", "-o", str(part),
    ]  # fmt: skip
    run_all([link], 1)
    part.replace(target)
