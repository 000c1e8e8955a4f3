"""kill -9 at random moments of `lsr cohort build` and `cut`: started again, the bytes are those of a whole run."""

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cohorts import make_cohort

ROOT = Path(__file__).parents[3]
MOMENTS = 10


def commands(folder):
    recipe = ["--patch-px", "32", "--size-px", "16", "--share", "train=1", "--share", "test=1"]
    labels = ["--probabilities", str(folder / "patches.csv")]
    return {
        "build": ["build", str(folder / "slides"), str(folder / "cohort.parquet"), *labels, *recipe],
        "cut": ["cut", str(folder / "cohort.parquet"), str(folder / "store"), "--shard-blocks", "3"],
    }


# Says when the imports are over, which is when there is something to interrupt.
LAUNCH = "import sys, lsr_ext.cli, lsr_ext.data.cohort; print('ready', flush=True); lsr_ext.cli.main()"


def launch(arguments):
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", LAUNCH, "cohort", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def finish(arguments):
    """Seconds that the work takes, without the imports."""
    process = launch(arguments)
    start = time.perf_counter()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return time.perf_counter() - start


def digests(folder, names):
    files = (path for name in names for path in [folder / name, *sorted((folder / name).rglob("*"))] if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("command", "outputs"),
    [
        ("build", ("cohort.parquet", "cohort.parquet.parts", "cohort.parquet.report.jsonl")),
        ("cut", ("store",)),
    ],
)
def test_killed_and_started_again(tmp_path, command, outputs):
    make_cohort(tmp_path, 8)
    arguments = commands(tmp_path)
    if command == "build":
        remove(tmp_path, outputs)
    seconds = finish(arguments[command])
    expected = digests(tmp_path, outputs)
    assert len(expected) > 8
    remove(tmp_path, outputs)
    rng, killed = random.Random(0), 0
    for moment in range(MOMENTS):
        process = launch(arguments[command])
        time.sleep(rng.uniform(0, seconds) * 0.9)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if moment % 4 == 3:  # every fourth run is brought to its end, the others go on from what was killed
            finish(arguments[command])
            assert digests(tmp_path, outputs) == expected
            remove(tmp_path, outputs)
    finish(arguments[command])
    assert digests(tmp_path, outputs) == expected
    assert killed > MOMENTS / 2


def remove(folder, names):
    subprocess.run(["rm", "-rf", *(str(folder / name) for name in names)], check=True)
