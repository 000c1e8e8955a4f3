"""Builds the operator libraries on the LibTorch stable ABI, one binary for every Python and torch >= 2.10, and the
slide reader's, which needs neither.

LSR_CUDA=1 builds the CUDA library and fails where it cannot; LSR_CUDA=0 does not; without it, it is built where
torch has CUDA and there is an nvcc. TORCH_CUDA_ARCH_LIST chooses its architectures. A CPU-only torch will do.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

try:
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ImportError as error:
    raise SystemExit(
        "lsr_ext builds against torch >= 2.10, which this Python has not: install torch, then build with "
        "`pip install --no-build-isolation`"
    ) from error

sys.path.insert(0, str(Path(__file__).parent / "tools"))
import nvcc
import openseadragon
import py3_wheel

SOURCES = ["csrc/bindings_cpu.cpp", *map(str, sorted(Path("csrc/cpu").glob("*.cpp")))]
HEADERS = [str(path) for path in sorted(Path("csrc").rglob("*")) if path.suffix in (".h", ".inl")]
CUDA = "lsr_ext._C_cuda"


def wants_cuda() -> bool:
    """Whether to build the CUDA library, by $LSR_CUDA, or by what this machine has."""
    choice = os.environ.get("LSR_CUDA", "")
    if choice not in ("", "0", "1"):
        raise SystemExit(f"LSR_CUDA must be 0 or 1, got {choice!r}")
    if choice == "0" or (choice == "" and torch.version.cuda is None):
        return False
    try:
        nvcc.toolkit()
    except nvcc.NoCompiler as error:
        if choice == "1":
            raise SystemExit(f"LSR_CUDA=1, but {error}") from error
        print(f"lsr_ext is built without CUDA kernels: {error}", file=sys.stderr)
        return False
    return True


class Build(BuildExtension):
    """Builds the CUDA library by nvcc itself: torch's own way needs a torch with CUDA."""

    def build_extension(self, extension: Extension) -> None:
        if extension.name != CUDA:
            return super().build_extension(extension)
        target = Path(self.get_ext_fullpath(CUDA))
        target.parent.mkdir(parents=True, exist_ok=True)
        torch_root = Path(torch.__file__).parent
        nvcc.build_library(target, Path(self.build_temp) / "cuda", torch_root, nvcc.wanted_archs())
        return None


class BuildPy(build_py):
    """Fetches what the page of `lsr view` is drawn with; without network, the rest is built."""

    def run(self) -> None:
        try:
            openseadragon.install()
        except openseadragon.NotFetchedError as error:
            print(openseadragon.explain(error), file=sys.stderr)
        super().run()


cpu = CppExtension(
    "lsr_ext._C",
    SOURCES,
    depends=HEADERS,
    include_dirs=[str(Path("csrc").resolve())],
    extra_compile_args=["-O3", "-g0", "-std=c++17", "-Wall", "-ffp-contract=fast", nvcc.STABLE_ABI],
    py_limited_api=True,
)
# Without torch and Python: the slide reader calls it through ctypes.
slides = Extension(
    "lsr_ext._slides",
    ["csrc/slides/tiles.cpp"],
    depends=HEADERS,
    extra_compile_args=["-O3", "-g0", "-std=c++17", "-Wall", "-fvisibility=hidden"],
    libraries=["dl"],
    py_limited_api=True,
)
cuda = Extension(CUDA, [], depends=[*HEADERS, *map(str, nvcc.KERNELS), str(nvcc.BINDINGS)], py_limited_api=True)
setup(
    ext_modules=[cpu, slides, cuda] if wants_cuda() else [cpu, slides],
    cmdclass={
        "build_ext": Build.with_options(no_python_abi_suffix=True),
        "build_py": BuildPy,
        "bdist_wheel": py3_wheel.Py3Wheel,
    },
)
