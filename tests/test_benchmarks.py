"""Each benchmark at a size that takes seconds: what it calls may have changed since somebody measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOSS = "--threads 1 --layouts nchw --allocator reuse --plot {folder}/loss.png"
MEASURING = {
    "colour": "--side 64 --images random --repeats 2",
    "denormals": "--steps 1",
    "dots": "--settings tumour --counts 300 --repeats 2 --seconds 1",
    "exports": "--side 600 --methods geojson rasterio ome-tiff",
    "feed": "--patterns paper --workers 0 --blocks 8 --repeats 1 --folder {folder}",
    "loss": f"--sizes brca --dtypes float32 --repeats 2 {LOSS}",
    "predict": "--side 512 --networks one-layer --repeats 1",
    "predict_memory": "--size 1024 1024",
    "reader": "--patterns a --threads 1 --page-cache warm --peers openslide --repeats 1 --folder {folder}",
    "regions": "--sides 300 --repeats 2",
}
DRAWING = {
    "accuracy": "--plot {folder}/accuracy.png",
    "loss": f"--recorded benchmarks/results/loss-cpu.json {LOSS}",
}
BY_GPU_CHECK = {"host", "kernels", "parity", "sanitized", "step"}  # rehearsed in test_gpu_check.py
# Parts of others; and what needs the folders of whole experiments, or valgrind.
OTHERS = {"conftest", "harness", "readers", "test_loss", "tiatoolbox_peer", "decoding", "instructions"}


def run(name, options, folder):
    command = [sys.executable, f"benchmarks/{name}.py", *options.format(folder=folder).split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def holds_a_time(value):
    """Whether something was measured: a positive number at any depth."""
    if isinstance(value, (dict, list)):
        return any(map(holds_a_time, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float) and value > 0


@pytest.mark.long
@pytest.mark.parametrize("name", MEASURING)
def test_it_measures(name, tmp_path):
    run(name, f"{MEASURING[name]} --json {{folder}}/result.json", tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result.pop("environment")["torch"]
    assert holds_a_time(result)
    assert '"failed"' not in json.dumps(result)


@pytest.mark.parametrize("name", DRAWING)
def test_it_draws_what_was_measured(name, tmp_path):
    run(name, DRAWING[name], tmp_path)
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000


def test_results_that_hold_nothing_of_what_is_asked_for_are_refused(tmp_path):
    with pytest.raises(AssertionError, match="expected a result with one each of"):
        run("loss", "--recorded benchmarks/results/loss-cpu.json --sizes huge --dtypes float64", tmp_path)


@pytest.mark.long
def test_pytest_benchmark():
    options = "-q --benchmark-only --benchmark-min-rounds=1 --benchmark-max-time=0.01 -p no:cacheprovider"
    command = [sys.executable, "-m", "pytest", "benchmarks/test_loss.py", *options.split(), "-k", "brca and fused"]
    # Beside other test processes it would measure nothing, and it knows of them by the environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout


def test_none_is_left_out():
    found = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert found == MEASURING.keys() | DRAWING.keys() | BY_GPU_CHECK | OTHERS
