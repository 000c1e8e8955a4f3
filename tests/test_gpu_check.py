"""The one command for a machine with a GPU, rehearsed without: a fault in it would cost the time lent there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_check.sh"


def run(out, **environment):
    environment = {**os.environ, "OUT": str(out), "PYTHON": sys.executable, **environment}
    return subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, text=True)


@pytest.mark.long
def test_rehearsal(tmp_path):
    done = run(tmp_path, LSR_DRY="1", LSR_BUDGET="1800", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout + (tmp_path / "check.log").read_text()
    summary = (tmp_path / "summary.txt").read_text()
    assert done.stdout.endswith(summary)
    stages = (
        "load",
        "parity",
        "kernels",
        "tests",
        "loss",
        "host",
        "step",
        "memcheck",
        "racecheck",
        "random",
        "compiled",
        "autotuned",
    )
    for stage in stages:
        assert f"\n{stage:10} rc 0 " in "\n" + summary
    assert len(list(tmp_path.iterdir())) <= 8


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_there_is_nothing_to_do(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 0
    assert "no CUDA device" in done.stdout
