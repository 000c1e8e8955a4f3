"""The torch-free core by itself: its test program under the sanitizers, its NumPy module against the reference."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cmake
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from slides import tissue_like

from lsr_ext import reference
from lsr_ext.options import FORMS, MODES, LossOptions

ROOT = Path(__file__).parents[2]
CMAKE = Path(cmake.CMAKE_BIN_DIR)


def build(name, *settings, targets=("all",)):
    """Build what has changed in a folder that all test processes share, one of them at a time."""
    folder = ROOT / "build" / name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "tests.lock"):
        for command in (
            [CMAKE / "cmake", "-S", ROOT, "-B", folder, f"-DPython_EXECUTABLE={sys.executable}", *settings],
            [CMAKE / "cmake", "--build", folder, "--parallel", str(os.cpu_count()), "--target", *targets],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return folder


def build_modules():
    """The NumPy module and the emulated operators. The package's tests run the code for more than 3 classes."""
    settings = f"-DLSR_TORCH={Path(torch.__file__).parent}", "-DLSR_MAX_STATIC=3"
    return build("core", *settings, targets=("lsr_core_numpy", "lsr_emulated_torch"))


def libjpeg():
    """The libjpeg-turbo of Pillow, by a process that loads no other package's."""
    script = (
        "from PIL import features; assert features.check_feature('libjpeg_turbo');"
        "print(open('/proc/self/maps').read())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return next(line.split()[-1] for line in done.stdout.splitlines() if "libjpeg" in line)


@pytest.mark.long
@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_core_under_sanitizers(sanitizers, tmp_path):
    """The kernels over shapes that cross every boundary, the reader over damaged tiles: no report."""
    tile = tmp_path / "tile.jpg"
    Image.fromarray(tissue_like(128, 192)).save(tile, quality=85, subsampling="4:2:0")
    folder = build(
        f"core-{sanitizers.replace(',', '-')}",
        f"-DLSR_SANITIZE={sanitizers}",
        "-DLSR_NUMPY=OFF",
        f"-DLSR_LIBJPEG={libjpeg()}",
        f"-DLSR_TILE={tile}",
    )
    done = subprocess.run(
        [CMAKE / "ctest", "--test-dir", folder, "--output-on-failure"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "100% tests passed" in done.stdout


@pytest.fixture(scope="module")
def core():
    (path,) = build_modules().glob("lsr_core_numpy*.so")
    spec = importlib.util.spec_from_file_location("lsr_core_numpy", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("mode", range(len(MODES)))
@pytest.mark.parametrize("form", range(len(FORMS)))
def test_core_equals_reference(core, mode, form, softmax):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3, 9, 11)).transpose(0, 1, 3, 2)
    mask = rng.uniform(size=(6, 11, 9)) > 0.3
    labels, mean, std = rng.integers(-1, 2, 6), rng.uniform(size=(2, 3)), rng.uniform(0.1, 0.3, (2, 3))
    options = LossOptions(
        mode=MODES[mode], form=FORMS[form], sharpness=0.2, activation="softmax" if softmax else "sigmoid"
    )
    sums = core.block_moments(logits, mask, None, 6, softmax)
    loss, a, b = core.table_loss(
        *sums, labels, mean, std, mode, form,
        options.n_eff, options.floor_rel, options.floor_abs, options.sharpness,
    )  # fmt: skip
    gradient = core.pixel_gradient(logits, mask, None, a, b, softmax)

    x = torch.from_numpy(logits).requires_grad_()
    expected = reference.block_moments(x, torch.from_numpy(mask), options.activation)
    for actual, table in zip(sums, expected, strict=True):
        np.testing.assert_allclose(actual, table.detach(), rtol=1e-12)
    value = reference.table_loss(*expected, *map(torch.from_numpy, (labels, mean, std)), options)
    value.backward()
    assert loss == pytest.approx(value.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, x.grad, atol=1e-12 * x.grad.abs().max().item())


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("layout", ["planar", "channels_last", "transposed"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("softmax", [True, False])
def test_emulated_cuda_kernels_equal_reference(core, softmax, dtype, layout, by_id):
    """The kernels' own source, on emulated thread blocks: two launches forward, one backward."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3, 12, 20)).astype(dtype)
    if layout == "channels_last":
        logits = logits.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    elif layout == "transposed":
        logits = logits.transpose(0, 1, 3, 2)
    pixels = (6, *logits.shape[2:])
    mask = rng.uniform(size=pixels) > 0.3
    ids = rng.integers(-1, 4, pixels).astype(np.int32) if by_id else None
    blocks = 4 if by_id else 6
    labels, mean, std = rng.integers(-1, 2, blocks), rng.uniform(size=(2, 3)), rng.uniform(0.1, 0.3, (2, 3))
    options = LossOptions(sharpness=0.2, activation="softmax" if softmax else "sigmoid")
    sums = core.cuda_block_moments(logits, mask, ids, blocks, softmax)
    loss, a, b = core.cuda_loss(
        logits, mask, ids, labels, mean, std, MODES.index(options.mode), FORMS.index(options.form),
        options.n_eff, options.floor_rel, options.floor_abs, options.sharpness, softmax,
    )  # fmt: skip
    gradient = core.cuda_pixel_gradient(logits, mask, ids, a, b, softmax)

    x = torch.from_numpy(logits).double().requires_grad_()
    block_ids = None if ids is None else torch.from_numpy(ids)
    expected = reference.block_moments(
        x, torch.from_numpy(mask), options.activation, block_ids=block_ids, num_blocks=blocks if by_id else None
    )
    tolerance = 1e-11 if dtype == np.float64 else 2e-6
    for actual, table in zip(sums, expected, strict=True):
        np.testing.assert_allclose(actual, table.detach(), rtol=tolerance)
    value = reference.table_loss(*expected, *map(torch.from_numpy, (labels, mean, std)), options)
    value.backward()
    assert loss == pytest.approx(value.item(), rel=10 * tolerance)
    np.testing.assert_allclose(gradient, x.grad, atol=10 * tolerance * x.grad.abs().max().item())
