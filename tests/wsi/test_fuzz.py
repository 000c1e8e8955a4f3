"""Real slides that are truncated or have flipped bytes: no crash, no hang, no memory above the limit.

Cut short, the answer is an error or the right pixels. Pixels without a checksum, as TIFF holds them, can be
changed by a flipped byte without anybody being able to tell: such an answer is let pass.
"""

import os
import random
import select
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from slides import REAL, tissue_like, write_pyramid

from lsr_ext.wsi import open_slide

ROOT = Path(__file__).parents[2]
SECONDS = 300  # for one read, whatever else the machine does


class Worker:
    """The process that reads; a crash or a hang of it fails the test."""

    def __init__(self):
        script = Path(__file__).with_name("fuzz_worker.py")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, str(script)], **pipes, env=environment)

    def read(self, path):
        self.process.stdin.write(f"{path}\n".encode())
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        if not ready:
            self.process.kill()
            pytest.fail(f"no answer within {SECONDS} s")
        answer = self.process.stdout.readline().decode().split()
        if not answer:
            self.process.wait()
            pytest.fail(f"exit code {self.process.returncode}: {self.process.stderr.read().decode()[-2000:]}")
        return answer

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def flip(content, rng):
    """Flip some bits: anywhere, or in the first and last kilobytes, where the directories lie."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 4, 32])):
        edge = rng.random() < 0.5
        place = (
            rng.choice([rng.randrange(4096), -1 - rng.randrange(8192)]) if edge else rng.randrange(len(content))
        )
        content[place] ^= 1 << rng.randrange(8)
    return content


def sources(tmp_path):
    real = [REAL / "CMU-1-Small-Region.svs", REAL / "tcga-cr-7395-01a-01-ts1.svs"]
    made = tmp_path / "made.tif"
    write_pyramid(made, tissue_like(700, 900), levels=3, compression="lzw")
    return [path for path in (*real, made) if path.is_file()]


@pytest.mark.parametrize("count", [24, pytest.param(500, marks=pytest.mark.long)])
def test_damaged_slides(worker, tmp_path, count):
    came = Counter()
    for path in sources(tmp_path):
        content, rng, whole = path.read_bytes(), random.Random(path.name), worker.read(path)
        assert whole[0] == "read"
        broken = tmp_path / "broken.svs"
        # JPEG 2000 decodes some twenty times slower.
        for i in range(count if path.name[0] != "t" else count // 8):
            cut = i % 5 < 2
            broken.write_bytes(content[: rng.randrange(len(content))] if cut else flip(content, rng))
            answer = worker.read(broken)
            assert answer[0] == "error" or not cut or answer == whole
            came["cut" if cut else "flipped", answer[0], answer == whole] += 1
    print(came)
    assert came["cut", "error", False]
    assert came["flipped", "error", False]


def test_every_truncation_of_a_small_slide_is_an_error_or_the_whole_answer(tmp_path):
    path, cut = tmp_path / "slide.tif", tmp_path / "cut.tif"
    pixels = write_pyramid(path, tissue_like(128, 192), tile_px=64, compression="deflate")[0]
    content = path.read_bytes()
    for size in random.Random(0).sample(range(len(content)), 60):
        cut.write_bytes(content[:size])
        try:
            read = open_slide(cut).read(0, 0, 192, 128, level=0)
        except ValueError as error:
            assert "cut.tif" in str(error)
        else:
            assert (read == pixels).all()
