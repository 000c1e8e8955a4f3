"""kill -9 at random moments of `lsr cohort build` and `cut`: started again, the bytes are those of a whole run."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cohorts import make_cohort

ROOT = Path(__file__).parents[3]


def commands(folder):
    recipe = ["--patch-px", "32", "--size-px", "16", "--share", "train=1", "--share", "test=1"]
    labels = ["--probabilities", str(folder / "patches.csv")]
    return {
        "build": ["build", str(folder / "slides"), str(folder / "cohort.parquet"), *labels, *recipe],
        "cut": ["cut", str(folder / "cohort.parquet"), str(folder / "store"), "--shard-blocks", "3"],
    }


# Forks a process per command, so that the imports are paid for once.
SERVER = """
import os, sys
import lsr_ext.data.cohort
from lsr_ext.cli.cohort import app
from lsr_ext.wsi.resample import Placement, add_area
import numpy as np
out, pixels = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2, 3), np.uint8)
add_area(out, 0, pixels, Placement(0.0, 0.0, 1.0, 1.0))  # loads the kernel
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        sys.stdout = open(os.devnull, "w")
        app(line.rstrip("\\n").split("\\t"))
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SERVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(60)


def launch(server, arguments):
    """Start the command; its process's id."""
    server.stdin.write("\t".join(arguments) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def wait(server):
    """The status with which the last command's process ended; until then its id is not given to another."""
    server.stdin.write("\n")
    server.stdin.flush()
    return int(server.stdout.readline())


def finish(server, arguments):
    """Run the command to its end; the seconds it took."""
    start = time.perf_counter()
    launch(server, arguments)
    assert wait(server) == 0
    return time.perf_counter() - start


def digests(folder, names):
    files = (
        path for name in names for path in [folder / name, *sorted((folder / name).rglob("*"))] if path.is_file()
    )
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("moments", [3, pytest.param(10, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        ("build", ("cohort.parquet", "cohort.parquet.parts", "cohort.parquet.report.jsonl")),
        ("cut", ("store",)),
    ],
)
def test_killed_and_started_again(tmp_path, server, command, outputs, moments):
    make_cohort(tmp_path, 8)
    arguments = commands(tmp_path)
    if command == "build":
        remove(tmp_path, outputs)
    seconds = finish(server, arguments[command])
    expected = digests(tmp_path, outputs)
    assert len(expected) > 8
    remove(tmp_path, outputs)
    rng, killed = random.Random(0), 0
    while killed < moments:
        process = launch(server, arguments[command])
        time.sleep(rng.uniform(0, seconds) * 0.9)
        os.kill(process, signal.SIGKILL)
        is_killed = os.WIFSIGNALED(wait(server))
        killed += is_killed
        if not is_killed:  # it was quicker than on a busy machine before
            seconds *= 0.8
        if killed % 4 == 3:  # now and then a run is brought to its end, the others go on from what was killed
            finish(server, arguments[command])
        if not is_killed or killed % 4 == 3:
            assert digests(tmp_path, outputs) == expected
            remove(tmp_path, outputs)
    finish(server, arguments[command])
    assert digests(tmp_path, outputs) == expected


def remove(folder, names):
    subprocess.run(["rm", "-rf", *(str(folder / name) for name in names)], check=True)
