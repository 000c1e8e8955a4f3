"""Trainings on slides that are killed, and go on to the same end, whatever reads the blocks."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from cohorts import RECIPE, corrupt_tiles, write_probabilities, write_slides
from tiny_runs import TINY_TRAINING

from lsr_ext import CountDistribution
from lsr_ext.config import load_config
from lsr_ext.data.cohort import PatchProbabilities, build_cohort, list_slides
from lsr_ext.training import train

pytestmark = pytest.mark.long
PROGRAM = "from lsr_ext.cli.main import main\n\nif __name__ == '__main__':\n    main()\n"
STEPS, _LIMIT_S = 40, 600


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Twenty slides, of which two training slides are damaged, with a configuration."""
    folder = tmp_path_factory.mktemp("cohort")
    slides = write_slides(folder / "slides", 20)
    write_probabilities(folder / "patches.csv", slides)
    source, shares = PatchProbabilities(folder / "patches.csv"), {"train": 0.7, "validation": 0.15, "test": 0.15}
    build_cohort(list_slides(folder / "slides"), source, RECIPE, folder / "cohort.parquet", shares=shares)
    mean = np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.1, 0.9]])
    distribution = CountDistribution(mean, np.full((4, 2), 0.1), RECIPE.label_names, ["other", "tumour"])
    distribution.save(folder / "distribution.json")
    content = {
        "output": str(folder / "uncut"),
        "data": {
            "source": "cohort",
            "manifests": ["cohort.parquet"],
            "distribution": "distribution.json",
            "limit": 0.5,
            "cache_gb": 1e-5,
        },
        "methods": ["intra+inter"],
        "training": TINY_TRAINING
        | {"steps": STEPS, "checkpoint_every_steps": 3, "validate_every_steps": 7, "colour_jitter": 0.1},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(content))
    return folder


def damage(folder):
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "cohort.parquet").to_pylist()
    names = sorted({row["slide"] for row in table if row["split"] == "train"})[:2]
    for name in names:
        corrupt_tiles(folder / name)
    return names


def weights(folder, name):
    return torch.load(folder / name / "intra+inter/last.ckpt", weights_only=True)


def start(folder, output, workers):
    (folder / "train.py").write_text(PROGRAM)
    config = yaml.safe_load((folder / "run.yaml").read_text())
    config["training"]["workers"] = workers
    (folder / f"{output}.yaml").write_text(yaml.safe_dump(config))
    command = [
        sys.executable,
        folder / "train.py",
        "train",
        folder / f"{output}.yaml",
        "--output",
        folder / output,
    ]
    # Into a file, because orphaned workers would hold a pipe open.
    with (folder / f"{output}.log").open("a") as log:
        return subprocess.Popen(list(map(str, command)), stdout=log, stderr=log)


def kill_at(folder, output, step):
    """Start the training and kill it when its last checkpoint is of this step or a later one."""
    process = start(folder, output, workers=2)
    checkpoint = folder / output / "intra+inter/last.ckpt"
    deadline = time.monotonic() + _LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        if checkpoint.exists() and torch.load(checkpoint, weights_only=True)["global_step"] >= step:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(cohort):
    damaged = damage(cohort)
    train(load_config(cohort / "run.yaml"))
    random_steps = random.Random(0)
    for step in sorted(random_steps.sample(range(3, STEPS - 3), 2)):
        kill_at(cohort, "cut", step)
    process = start(cohort, "cut", workers=1)
    assert process.wait(_LIMIT_S) == 0, (cohort / "cut.log").read_text()[-2000:]
    uncut, cut = weights(cohort, "uncut"), weights(cohort, "cut")
    assert cut["global_step"] == STEPS
    assert all(torch.equal(cut["state_dict"][name], tensor) for name, tensor in uncut["state_dict"].items())
    for name in ("uncut", "cut"):
        lines = (cohort / name / "intra+inter/left_out.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        assert {event["slide"].rpartition("/")[2] for event in events} == {
            slide.rpartition("/")[2] for slide in damaged
        }
        blocks = [block for event in events for block in event["blocks"]]
        assert len(blocks) == len(set(blocks)) == 8  # four blocks of each damaged slide, once
