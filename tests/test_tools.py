"""The CUDA library without a GPU: every kernel for every architecture, no spills, only stable symbols."""

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

from lsr_ext.cuda_archs import archs_in

ROOT = Path(__file__).parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


nvcc, check_ptxas, check_symbols = map(load, ("nvcc", "check_ptxas", "check_symbols"))


@pytest.fixture(scope="module")
def library():
    """The CUDA library for every architecture, built again only where its sources changed."""
    try:
        nvcc.toolkit()
    except nvcc.NoCompiler as error:
        pytest.skip(str(error))
    folder = ROOT / "build" / "cuda-all"
    target = folder / "_C_cuda.so"
    sources = [*(ROOT / "csrc").rglob("*"), *(ROOT / "tools").glob("nvcc.py")]
    newest = max(path.stat().st_mtime for path in sources)
    if not target.exists() or target.stat().st_mtime < newest:
        nvcc.build_library(target, folder, Path(torch.__file__).parent, nvcc.ARCHS)
    return target


def test_every_kernel_compiles_for_every_architecture(library):
    assert archs_in(library) == ["8.0", "8.6", "8.9", "9.0", "10.0", "12.0", "12.0+PTX"]


def test_no_kernel_spills(library):
    kernels = check_ptxas.parse((library.parent / "ptxas.log").read_text())
    assert check_ptxas.problems(kernels) == []
    # Each architecture has every kernel: of planes, of classes side by side, of elements, the strided, the table.
    by_arch = {arch: {k.name for k in kernels if k.arch == arch} for arch in {k.arch for k in kernels}}
    assert len(by_arch) == 6
    assert len(set(map(frozenset, by_arch.values()))) == 1
    kinds = ("planar", "interleaved", "element", "strided")
    for part in (f"{kind}_{stage}" for kind in kinds for stage in ("moments", "gradient")):
        assert any(part in name for name in by_arch["sm_90"]), part


def test_a_spill_is_found(tmp_path):
    """A kernel that must spill: more live values than the registers that its launch bounds leave it."""
    try:
        compiler = nvcc.toolkit() / "bin" / "nvcc"
    except nvcc.NoCompiler as error:
        pytest.skip(str(error))
    source = tmp_path / "spill.cu"
    source.write_text(
        "__global__ void __launch_bounds__(1024, 2) spills(double* x) {\n"
        "  double v[64];\n"
        "#pragma unroll\n"
        "  for (int i = 0; i < 64; ++i) v[i] = x[i * 1024 + threadIdx.x];\n"
        "  __syncthreads();\n"
        "#pragma unroll\n"
        "  for (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = v[63 - i];\n"
        "}\n"
    )
    command = [compiler, "-arch=sm_90", "-Xptxas=-v", "-cubin", "-o", tmp_path / "spill.cubin", source]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (kernel,) = check_ptxas.parse(done.stderr + done.stdout)
    (problem,) = check_ptxas.problems([kernel])
    assert "for sm_90" in problem and "bytes spilled, 0 allowed" in problem


def test_gradients_are_stored_by_16_bytes(tmp_path):
    """Left to itself the compiler splits the stores of classes that it computes one by one into single words."""
    try:
        compiler = nvcc.toolkit() / "bin" / "nvcc"
    except nvcc.NoCompiler as error:
        pytest.skip(str(error))
    target = tmp_path / "float32.ptx"
    command = [compiler, *nvcc.FLAGS, "-arch=compute_90", "-ptx", f"-I{ROOT / 'csrc'}", "-o", target]
    subprocess.run([*command, ROOT / "csrc" / "cuda" / "float32.cu"], capture_output=True, check=True)
    entries = target.read_text().split(".entry ")[1:]
    stores = {entry.split("(")[0]: re.findall(r"st\.global\S*", entry) for entry in entries}
    planar = {name: kinds for name, kinds in stores.items() if re.search(r"planar_gradient.*Li16EEEv", name)}
    assert len(planar) >= 6
    for name, kinds in planar.items():
        assert set(kinds) == {"st.global.v4.u32"}, name
    for name, kinds in stores.items():  # beside the vectors, the few elements after the last whole one
        if "interleaved_gradient" in name:
            assert "st.global.v4.u32" in kinds, name


def test_only_stable_symbols(library):
    assert check_symbols.check(ROOT / "lsr_ext" / "_C.so") == []
    assert check_symbols.check(ROOT / "lsr_ext" / "_slides.so") == []
    assert check_symbols.check(library) == []
    needed = check_symbols.undefined(library)
    assert "aoti_torch_get_current_cuda_stream" in needed
    assert not [name for name in needed if name.startswith("cuda")]  # the runtime is linked in


def test_unstable_symbols_are_found():
    names = [
        "aoti_torch_get_dim",
        "PyErr_SetString",
        "_PyObject_New",
        "_ZN3c105ErrorC1ESs",
        "_ZNK2at6Tensor3dimEv",
    ]
    assert check_symbols.unstable(names) == names[1:]
    torch_itself = Path(torch.__file__).parent / "lib" / "libtorch_python.so"
    found = check_symbols.unstable(check_symbols.undefined(torch_itself))
    assert any(name.startswith("Py") for name in found) and any("c10" in name for name in found)


def test_a_wheel_of_one_python_is_refused(tmp_path):
    path = tmp_path / "lsr_ext-0.1.0-cp311-cp311-linux_x86_64.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(ROOT / "lsr_ext" / "_C.so", "lsr_ext/_C.so")
    assert check_symbols.check(path) == [
        f"{path.name}: expected a wheel for py3-none-<platform>",
        f"{path.name}: has no lsr_ext/_C_cuda.so",
        f"{path.name}: has no lsr_ext/_slides.so",
    ]


def test_a_source_distribution_holds_all_that_the_build_reads(tmp_path):
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "egg_info",
        "--egg-base",
        tmp_path,
        "sdist",
        "--dist-dir",
        tmp_path,
    ]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        held = {name.partition("/")[2] for name in sdist.getnames()}
    wanted = ["setup.py", "pyproject.toml", "lsr_ext/py.typed"]
    for folder, pattern in (("csrc", "*.*"), ("tools", "*.py"), ("lsr_ext", "*.py")):
        wanted += [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)]
    assert not set(wanted) - held
    assert not [name for name in held if name.endswith((".so", ".pyc"))]


@pytest.mark.parametrize("archs", ["7.5", "hopper", "9.0,x"])
def test_bad_architectures_are_named(archs):
    with pytest.raises(ValueError, match=r"expected architectures such as .* got '(7.5|hopper|x)'"):
        nvcc.code_flags(archs)


def test_architectures_as_torch_writes_them():
    assert nvcc.code_flags("8.0 9.0a;12.0+PTX") == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_120,code=sm_120",
        "-gencode=arch=compute_120,code=compute_120",
    ]


def test_a_missing_compiler_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(nvcc.NoCompiler, match="no nvcc: install a CUDA toolkit"):
        nvcc.toolkit()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(nvcc.NoCompiler, match="which has no bin/nvcc"):
        nvcc.toolkit()
