"""kill -9 while workers feed from two hundred slides: started again, each block comes as often as it should."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
from cohorts import corrupt_tiles, make_cohort

from lsr_ext.data import GroupedBatchSampler
from lsr_ext.data.cohort import CohortDataset, read_report

FEED = """
import json, sys, time
from pathlib import Path
from lsr_ext.data import GroupedBatchSampler, ResumableLoader
from lsr_ext.data.cohort import CohortDataset
from lsr_ext.files import write_atomically

folder = Path(sys.argv[1])
saved = folder / "saved.json"
report = folder / "report.jsonl"
dataset = CohortDataset(folder / "cohort.parquet", report=report, resumed=saved.exists(), limit=0.2)
sampler = GroupedBatchSampler(dataset.labels, group_size=10, groups_per_batch=2)
loader = ResumableLoader(dataset, sampler, num_workers=4, collate_fn=dataset.collate)
batches = []
if saved.exists():
    state = json.loads(saved.read_text())
    batches = state["batches"]
    loader.load_state_dict(state["loader"])
for batch in loader:
    batches.append(batch["index"].tolist())
    write_atomically(saved, json.dumps({"batches": batches, "loader": loader.state_dict()}).encode())
    time.sleep(0.02)  # a step, so that there are batches left to be killed in
"""


def test_each_block_comes_as_often_as_the_sampler_says(tmp_path):
    manifest = make_cohort(tmp_path, 200)
    bad_slides = range(3, 200, 10)
    for i in bad_slides:
        corrupt_tiles(tmp_path / "slides" / f"slide-{i:03d}.tif")
    labels = CohortDataset(manifest).labels
    plan = [list(batch) for batch in GroupedBatchSampler(labels, group_size=10, groups_per_batch=2)]
    rng = np.random.default_rng(0)
    for least in (len(plan) // 4, len(plan) // 2):
        process = start(tmp_path)
        while fed(tmp_path) < least:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert least <= fed(tmp_path) < len(plan)
    assert start(tmp_path).wait() == 0

    bad = {4 * slide + block for slide in bad_slides for block in range(4)}
    found = json.loads((tmp_path / "saved.json").read_text())["batches"]
    assert found == [[index for index in batch if index not in bad] for batch in plan]
    reported = Counter(block for event in read_report(tmp_path / "report.jsonl") for block in event["blocks"])
    assert reported == Counter(bad & {index for batch in plan for index in batch})


def start(folder):
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", FEED, str(folder)])


def fed(folder):
    """The number of batches that were fed until now."""
    saved = folder / "saved.json"
    return len(json.loads(saved.read_text())["batches"]) if saved.exists() else 0
