"""Prediction and exports that are killed at random moments end with the bytes of those that are not."""

import json
import multiprocessing
import shutil
import time

import numpy as np
import pytest
from killable_run import run
from slides import tissue_like, write_pyramid
from test_slide import small_model

KILLS = 20
# Of processes that fork from one that has the imports, which take longer than the work.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [f"lsr_ext.inference.{name}" for name in ("slides", "exports.geojson", "exports.ome_tiff", "exports.cells")]
)


def start(*arguments):
    ours, theirs = _context.Pipe()
    process = _context.Process(target=run, args=(theirs, *arguments))
    process.start()
    theirs.close()
    assert ours.recv() == "begin"
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
    write_pyramid(tmp_path / "a.tif", tissue_like(1000, 1300, seed=3), compression=None)
    inputs = tmp_path / "model", tmp_path / "a.tif"
    process, begun = start(*inputs, tmp_path / "whole"), time.perf_counter()
    process.join()
    assert process.exitcode == 0
    seconds = time.perf_counter() - begun
    expected = files(tmp_path / "whole")
    assert {"a.geojson.gz", "a.ome.tif", "a.cells.csv"} < expected.keys()

    rng = np.random.default_rng(0)
    cut = tmp_path / "cut"
    killed = 0
    while killed < KILLS:
        process = start(*inputs, cut)
        process.join(seconds * rng.random())
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
        else:
            assert process.exitcode == 0 and files(cut) == expected
            shutil.rmtree(cut)
    process = start(*inputs, cut)
    process.join()
    assert process.exitcode == 0
    found = files(cut)
    assert found.keys() == expected.keys()
    assert found == expected
