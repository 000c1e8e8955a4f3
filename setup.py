"""Builds the operator library on the LibTorch stable ABI: one binary for every Python and torch >= 2.10."""

from pathlib import Path

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

SOURCES = ["csrc/bindings_cpu.cpp", *map(str, sorted(Path("csrc/cpu").glob("*.cpp")))]
HEADERS = [str(path) for path in sorted(Path("csrc").rglob("*")) if path.suffix in (".h", ".inl")]
STABLE_ABI = ["-DTORCH_TARGET_VERSION=0x020a000000000000"]  # 2.10

setup(
    ext_modules=[
        CppExtension(
            "lsr_ext._C",
            SOURCES,
            depends=HEADERS,
            include_dirs=[str(Path("csrc").resolve())],
            extra_compile_args=["-O3", "-g0", "-std=c++17", "-Wall", "-ffp-contract=fast", *STABLE_ABI],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildExtension.with_options(no_python_abi_suffix=True)},
)
