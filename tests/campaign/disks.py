"""Slides on a slow or a faulty disk: what is read is right, or the read is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from slides import tissue_like, write_pyramid

SHIM = Path(__file__).with_name("faulty_disk.c")
READS = 300
HANDLES = 64

READ_ALL = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from lsr_ext import wsi
folder, expected, reads = sys.argv[1], np.load(sys.argv[2]), int(sys.argv[3])
rng, counts = np.random.default_rng(0), {"read": 0, "refused": 0, "wrong": 0}
places = [(int(slide), *rng.integers(0, 900, 2).tolist()) for slide in rng.integers(len(expected), size=reads)]

def read(place):
    slide, x, y = place
    try:
        pixels = wsi.open_slide(f"{folder}/slide-{slide:02d}.tif").read(x, y, 100, 90, level=0)
    except (wsi.SlideError, OSError):
        return "refused"
    return "read" if np.array_equal(pixels, expected[slide][y : y + 90, x : x + 100]) else "wrong"

with ThreadPoolExecutor(4) as threads:
    for outcome in threads.map(read, places):
        counts[outcome] += 1
print(json.dumps(counts))
"""


def try_disks() -> list[dict]:
    """Rows of the table: reads of slides from a slow disk, with faults of each kind, and through many handles."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        shim = folder / "faulty_disk.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, SHIM, "-ldl"], check=True)
        slides = folder / "slides"
        slides.mkdir()
        pixels = [tissue_like(1000, 1000, seed=i) for i in range(HANDLES)]
        for i, each in enumerate(pixels):
            compression = (None, "deflate", "lzw")[i % 3]
            write_pyramid(slides / f"slide-{i:02d}.tif", each, levels=2, tile_px=128, compression=compression)
        np.save(folder / "expected.npy", np.stack(pixels))
        return [
            _row(folder, shim, "slow disk, 20 ms a read", may_refuse=False, FAULT_DELAY_US="20000"),
            _row(
                folder,
                shim,
                "every 7th read interrupted",
                may_refuse=False,
                FAULT_EVERY="7",
                FAULT_KIND="interrupted",
            ),
            _row(
                folder, shim, "every 7th read cut to half", may_refuse=False, FAULT_EVERY="7", FAULT_KIND="short"
            ),
            _row(folder, shim, "every 50th read fails (EIO)", may_refuse=True, FAULT_EVERY="50", FAULT_KIND="eio"),
            _row(folder, shim, f"{HANDLES} slides in turn", may_refuse=False),
        ]


def _row(folder: Path, shim: Path, what: str, *, may_refuse: bool, **faults: str) -> dict:
    """Random reads by 4 threads in a process on that disk; a fault is what is wrong, or refused without need."""
    disk = {"LD_PRELOAD": str(shim), "FAULT_PATH": str(folder / "slides"), **faults}
    command = [sys.executable, "-c", READ_ALL, folder / "slides", folder / "expected.npy", READS]
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, **disk}, capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        raise AssertionError(f"{what}: ended with {done.returncode}: {done.stderr[-2000:]}")
    counts = json.loads(done.stdout)
    fault = counts["wrong"] + (0 if may_refuse else counts["refused"])
    return {"what": f"reads of slides: {what}", "tried": READS, **counts, "fault": fault}
