"""Prediction and exports that are killed at random moments end with the bytes of those that are not."""

import json
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from slides import tissue_like, write_pyramid
from test_slide import small_model

RUN = """
import sys
from pathlib import Path
import lsr_ext.inference.slide as prediction
import lsr_ext.inference.slide_store as stores
from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.inference import load_model, predict_slides
from lsr_ext.inference.exports import cells, geojson, ome_tiff, outlines
prediction.BLOCK_PX, stores.CHUNK_PX, outlines.TILE_PX = 128, 64, 96
model = load_model(sys.argv[1])
print("begin", flush=True)
exports = ["geojson", "ome-tiff", "cells"]
failed = predict_slides(model, [CohortSlide(Path(sys.argv[2]))], sys.argv[3], everywhere=True, exports=exports)
print("end", flush=True)
sys.exit(bool(failed))
"""
KILLS = 20


def start(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begin\n"
    return process


def files(folder):
    """The bytes of what is left, without locks; JSON by its content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".lock", ".jsonl"):
            content = path.read_bytes()
            found[str(path.relative_to(folder))] = json.loads(content) if path.suffix == ".json" else content
    return found


@pytest.mark.long
def test_twenty_kills_leave_no_trace(tmp_path):
    small_model().save(tmp_path / "model")
    write_pyramid(tmp_path / "a.tif", tissue_like(2200, 2600, seed=3), compression=None)
    inputs = tmp_path / "model", tmp_path / "a.tif"
    process, begun = start(*inputs, tmp_path / "whole"), time.perf_counter()
    assert process.wait() == 0
    seconds = time.perf_counter() - begun
    expected = files(tmp_path / "whole")
    assert {"a.geojson.gz", "a.ome.tif", "a.cells.csv"} < expected.keys()

    rng = np.random.default_rng(0)
    cut = tmp_path / "cut"
    killed = 0
    while killed < KILLS:
        process = start(*inputs, cut)
        try:
            process.wait(seconds * rng.random())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        else:
            assert process.returncode == 0 and files(cut) == expected
            shutil.rmtree(cut)
    process = start(*inputs, cut)
    assert process.wait() == 0
    found = files(cut)
    assert found.keys() == expected.keys()
    assert found == expected
