"""Training and prediction that are killed, and disks that fill: started again they end as if nothing had been."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import test_killed
from tiny_runs import write_labels_run

TRAINING = {"steps": 30, "checkpoint_every_steps": 2}


def lsr(*arguments: object, limit_bytes: int | None = None) -> subprocess.Popen:
    """The command in a process of its own; with a limit no file may grow beyond it, as on a disk that is full."""

    def set_limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    command = [sys.executable, "-c", "from lsr_ext.cli.main import main; main()", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=set_limit if limit_bytes else None,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def weights_of(folder: Path) -> str:
    return hashlib.sha256((folder / "run/intra/model/weights.safetensors").read_bytes()).hexdigest()


def run_of(folder: Path) -> Path:
    folder.mkdir()
    return write_labels_run(folder, training=TRAINING)


def finish(config: Path) -> None:
    process = lsr("train", config)
    _, said = process.communicate()
    if process.returncode:
        raise AssertionError(f"lsr train ended with {process.returncode}: {said.decode()[-2000:]}")


def try_kills(count: int) -> tuple[int, int]:
    """Kill -9 at random moments, then once more without: how many were injected, how many runs lost something."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as root:
        whole = run_of(Path(root) / "whole")
        begin = time.monotonic()
        finish(whole)
        seconds = time.monotonic() - begin
        lost = 0
        for i in range(count):
            config = run_of(Path(root) / f"cut{i}")
            process = lsr("train", config)
            time.sleep(float(random.uniform(0.2, 1.0)) * seconds)
            process.kill()
            process.communicate()
            finish(config)
            lost += weights_of(config.parent) != weights_of(whole.parent)
    return count, lost


def try_prediction_kills(count: int) -> tuple[int, int]:
    """Kill -9 of a prediction with its exports at random moments: how many, and whether something was lost."""
    test_killed.KILLS = count
    with tempfile.TemporaryDirectory() as root:
        try:
            test_killed.test_twenty_kills_leave_no_trace(Path(root))
        except AssertionError as error:
            print(f"killed predictions: {error}", file=sys.stderr)
            return count, 1
    return count, 0


def try_full_disks(limits_bytes: tuple[int, ...] = (1_000, 20_000, 100_000, 300_000)) -> tuple[int, int]:
    """Files that cannot grow: the command ends with an error, and goes on once there is room."""
    with tempfile.TemporaryDirectory() as root:
        whole = run_of(Path(root) / "whole")
        finish(whole)
        injected = lost = 0
        for limit in limits_bytes:
            config = run_of(Path(root) / f"full{limit}")
            process = lsr("train", config, limit_bytes=limit)
            process.communicate()
            injected += process.returncode != 0
            finish(config)
            lost += weights_of(config.parent) != weights_of(whole.parent)
    return injected, lost
