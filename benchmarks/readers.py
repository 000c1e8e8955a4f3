"""One slide reader in its own process, driven by `reader.py` over a pipe; needs only numpy and that reader.

It reads a line of JSON and answers with a line of JSON: {"do": "open" | "read", ...} -> {"seconds": ...,
    "peak_mib": ...}.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CACHE_BYTES = 32 * 2**20
MPP = 0.25  # resolution of level 0 in the slides that `reader.py` writes


class OpenSlide:
    def __init__(self, path: str) -> None:
        import openslide

        self.slide = openslide.OpenSlide(path)
        self.slide.set_cache(openslide.OpenSlideCache(CACHE_BYTES))
        self.downsamples = self.slide.level_downsamples

    def read(self, level: int, x: int, y: int, size: int) -> np.ndarray:
        return np.asarray(self.slide.read_region((x, y), level, (size, size)).convert("RGB"))

    def average(self, x: int, y: int, size: int, mpp: float) -> np.ndarray:
        """Read the finest level that is needed, then apply Pillow's box filter, as is common."""
        from PIL import Image

        step = mpp / MPP
        level = max(i for i, downsample in enumerate(self.downsamples) if downsample <= 1.01 * step)
        source = round(size * step / self.downsamples[level])
        image = Image.fromarray(self.read(level, x, y, source))
        return np.asarray(image.resize((size, size), Image.Resampling.BOX))

    def close(self) -> None:
        self.slide.close()


class CuCim(OpenSlide):
    def __init__(self, path: str) -> None:
        from cucim import CuImage

        CuImage.cache("per_process", memory_capacity=CACHE_BYTES // 2**20)
        self.slide = CuImage(path)
        self.downsamples = self.slide.resolutions["level_downsamples"]

    def read(self, level: int, x: int, y: int, size: int) -> np.ndarray:
        return np.asarray(self.slide.read_region((x, y), (size, size), level, num_workers=1))


class FastSlide(OpenSlide):
    def __init__(self, path: str) -> None:
        import fastslide

        self.slide = fastslide.FastSlide.from_file_path(path, cache=CACHE_BYTES)
        self.downsamples = self.slide.level_downsamples

    def read(self, level: int, x: int, y: int, size: int) -> np.ndarray:
        # In pixels of the level, unlike OpenSlide.
        corner = tuple(round(v / self.downsamples[level]) for v in (x, y))
        pixels = self.slide.read_region(location=corner, level=level, size=(size, size)).numpy()
        return np.ascontiguousarray(pixels[..., :3])


class PyVips(OpenSlide):
    def __init__(self, path: str) -> None:
        import pyvips

        first = pyvips.Image.new_from_file(path)
        pages = first.get("n-pages") if "n-pages" in first.get_fields() else 1
        levels = [pyvips.Image.new_from_file(path, page=page) for page in range(pages)]
        self.downsamples = [first.width / level.width for level in levels]
        # Each thread needs its own regions.
        self.levels, self.local = levels, threading.local()

    def read(self, level: int, x: int, y: int, size: int) -> np.ndarray:
        import pyvips

        if not hasattr(self.local, "regions"):
            self.local.regions = [pyvips.Region.new(image) for image in self.levels]
        corner = (round(v / self.downsamples[level]) for v in (x, y))
        return np.frombuffer(self.local.regions[level].fetch(*corner, size, size), np.uint8).reshape(size, size, 3)

    def close(self) -> None:
        pass


class Tifffile(OpenSlide):
    """A reader as written by hand: tifffile finds the tiles, pread and imagecodecs read them."""

    def __init__(self, path: str) -> None:
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            self.pages = [(p.shape, p.tile, p.dataoffsets, p.databytecounts, p.jpegtables) for p in tiff.pages]
        self.downsamples = [self.pages[0][0][1] / page[0][1] for page in self.pages]
        self.descriptor = os.open(path, os.O_RDONLY)

    def read(self, level: int, x: int, y: int, size: int) -> np.ndarray:
        import imagecodecs

        (_, width, _), (tile, _), offsets, counts, tables = self.pages[level]
        left, top = (round(v / self.downsamples[level]) for v in (x, y))
        out = np.empty((size, size, 3), np.uint8)
        columns = -(-width // tile)
        for row in range(top // tile, (top + size - 1) // tile + 1):
            for column in range(left // tile, (left + size - 1) // tile + 1):
                index = row * columns + column
                data = os.pread(self.descriptor, counts[index], offsets[index])
                pixels = imagecodecs.jpeg8_decode(data, tables=tables)
                y1, y2 = max(row * tile, top), min((row + 1) * tile, top + size)
                x1, x2 = max(column * tile, left), min((column + 1) * tile, left + size)
                part = pixels[y1 - row * tile : y2 - row * tile, x1 - column * tile : x2 - column * tile]
                out[y1 - top : y2 - top, x1 - left : x2 - left] = part
        return out

    def close(self) -> None:
        os.close(self.descriptor)


class BareDecoding(Tifffile):
    """Decode every tile of a level once and discard it: the limit of any reader with this decoder."""

    def read(self, level: int, x: int, y: int, size: int) -> np.ndarray:
        import imagecodecs

        (_, width, _), (tile, _), offsets, counts, tables = self.pages[level]
        if x % tile or y % tile or size % tile:
            raise ValueError("bare decoding supports only aligned reads")
        for row in range(y // tile, (y + size) // tile):
            for column in range(x // tile, (x + size) // tile):
                index = row * -(-width // tile) + column
                data = os.pread(self.descriptor, counts[index], offsets[index])
                pixels = imagecodecs.jpeg8_decode(data, tables=tables)
                touch(pixels)
        return np.zeros(8, np.uint8)


class LsrExt:
    def __init__(self, path: str) -> None:
        import torch

        from lsr_ext import wsi

        torch.set_num_threads(1)  # the benchmark starts the threads, as for the other readers
        self.wsi = wsi
        wsi.configure(cache_bytes=CACHE_BYTES)
        self.slide = wsi.open_slide(path, backend="tiff")

    def read(self, level: int, x: int, y: int, size: int) -> np.ndarray:
        return self.slide.read(x, y, size, size, level=level)

    def average(self, x: int, y: int, size: int, mpp: float) -> np.ndarray:
        return self.slide.read(x, y, size, size, mpp=mpp)

    def close(self) -> None:
        self.slide.forget()


READERS = {
    "lsr_ext": LsrExt,
    "openslide": OpenSlide,
    "cucim": CuCim,
    "fastslide": FastSlide,
    "pyvips": PyVips,
    "tifffile": Tifffile,
    "bare": BareDecoding,
}


def touch(pixels: np.ndarray) -> int:
    """Read every byte, eight at a time."""
    return int(np.ascontiguousarray(pixels).reshape(-1).view(np.uint64).max())


def read_all(slides: list, reads: list, threads: int, average_mpp: float | None) -> float:
    """Measure seconds for all reads (slide, level, x, y, size), given to the threads one by one."""

    def work(share: list) -> None:
        for slide, level, x, y, size in share:
            if average_mpp is None:
                touch(slides[slide].read(level, x, y, size))
            else:
                touch(slides[slide].average(x, y, size, average_mpp))

    workers = [threading.Thread(target=work, args=(reads[i::threads],)) for i in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - start


def reuse_memory() -> None:
    """Make glibc keep freed memory, so that no reader is timed on new pages; `harness.py` needs torch."""
    libc = ctypes.CDLL("libc.so.6")
    for option in (-1, -3):  # trim and mmap thresholds
        if not libc.mallopt(option, 2**31 - 1):
            raise OSError(f"mallopt refused option {option}")


def status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def measure(make: Callable, order: dict) -> dict:
    """Open the slides again, with nothing decoded yet, and read; a cold read empties the page cache first."""
    if order["cold"]:
        for path in order["paths"]:
            with Path(path).open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    start = time.perf_counter()
    slides = [make(path) for path in order["paths"]]
    opening = (time.perf_counter() - start) / len(slides)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory that is resident now
    before = status_mib("VmRSS")
    seconds = read_all(slides, order["reads"], order["threads"], order["mpp"])
    peak = status_mib("VmHWM") - before
    for slide in slides:
        slide.close()
    return {"seconds": seconds, "open_ms": 1e3 * opening, "peak_mib": peak}


def main() -> None:
    make = READERS[sys.argv[1]]
    reuse_memory()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # keeps the output of libraries out of the answers
    for line in sys.stdin:
        try:
            answer = measure(make, json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
