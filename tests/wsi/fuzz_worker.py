"""Reads damaged slides under a limit on memory, one path a line; says what came of each. Run by test_fuzz.py."""

import hashlib
import resource
import sys
from pathlib import Path

from lsr_ext.wsi import SlideError, open_slide

EXTRA_BYTES = 2**30  # beyond what the interpreter has mapped by now


def digest(path: str) -> str:
    """Of every level, read whole, and of an averaged read."""
    slide = open_slide(path, mpp=0.5)
    total = hashlib.sha256()
    for index, level in enumerate(slide.levels):
        for y in range(0, level.height, 1024):
            height = min(1024, level.height - y)
            total.update(slide.read(0, y * level.downsample, level.width, height, level=index))
    total.update(slide.read(100, 100, 64, 64, mpp=2.1))
    return total.hexdigest()


def main() -> None:
    status = Path("/proc/self/status").read_text().splitlines()
    mapped = 1024 * int(next(line.split()[1] for line in status if line.startswith("VmSize")))
    resource.setrlimit(resource.RLIMIT_AS, (mapped + EXTRA_BYTES, mapped + EXTRA_BYTES))
    for line in sys.stdin:
        try:
            answer = "read " + digest(line.rstrip("\n"))
        except SlideError as error:
            answer = f"error {type(error).__name__}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
