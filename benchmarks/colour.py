"""Measure L2 colour separation of a slide's pixels: l2_map against NumPy, five stains and a counterstain.

The images are raw RGB files, read and written by rows. "tissue": copies of scikit-image's IHC image, with new
noise of up to 6 grey levels for each copy in a row; all rows are alike. "random": random colours, a quarter as
wide and high, the worst case for a table of colours. "numpy" is the plain formula, argmin of the norms over (H, W,
colours, 3); it does not fit in memory for the whole image, so it gets a strip. "numpy by colour" keeps the
smallest distance so far, colour by colour, on that strip. Each method runs in a separate process, so that its peak
memory can be measured; all must give the same classes on the strip. The rate per CPU second counts the time of all
threads, and hardly changes if the machine is shared.

    python benchmarks/colour.py
    python benchmarks/colour.py --side 4000 --json result.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from harness import environment, write_json
from rich.console import Console
from rich.progress import track
from rich.table import Table
from skimage.data import immunohistochemistry

from lsr_ext.baselines import StainSet, l2_map

STAINS = StainSet.preset("multiplex-haematoxylin")
IMAGES = ("tissue", "random")
METHODS = ("l2_map", "numpy by colour", "numpy")
MEASURES = ("mpx_per_s", "mpx_per_cpu_s", "extra_mib")
STRIP_ROWS = 250


class RawRows:
    """A raw uint8 file as an array that is read and written by rows, without mapping it into memory."""

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.path, self.shape, self.row_bytes = path, shape, int(np.prod(shape[1:]))
        path.touch()

    def __getitem__(self, rows: slice) -> np.ndarray:
        top, bottom, _ = rows.indices(self.shape[0])
        count = (bottom - top) * self.row_bytes
        read = np.fromfile(self.path, np.uint8, count, offset=top * self.row_bytes)
        return read.reshape(-1, *self.shape[1:])

    def __setitem__(self, rows: slice, values: np.ndarray) -> None:
        with self.path.open("r+b") as file:
            file.seek(rows.start * self.row_bytes)
            file.write(values.data)


def make_image(kind: str, side: int, folder: Path) -> None:
    rng = np.random.default_rng(side)
    tile = immunohistochemistry()
    wide = np.tile(tile, (1, -(-side // tile.shape[1]), 1))[:, :side].astype(np.int16)
    noisy = (wide + rng.integers(-6, 7, wide.shape, np.int8)).clip(0, 255).astype(np.uint8)
    with (folder / kind).open("wb") as file:
        for top in range(0, side, len(tile)):
            rows = min(len(tile), side - top)
            strip = noisy[:rows] if kind == "tissue" else rng.integers(0, 256, (rows, side, 3), np.uint8)
            file.write(strip.data)


def map_by_numpy(image: np.ndarray) -> np.ndarray:
    colours = np.vstack([STAINS.rgb, STAINS.background_rgb])
    distances = np.linalg.norm(image[:, :, None, :] - colours, axis=-1)
    return np.append(STAINS.class_ids, np.uint8(0))[distances.argmin(-1)]


def map_by_colour(image: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(image, -1, 0).astype(np.float32)
    least, found = np.full(red.shape, np.inf, np.float32), np.zeros(red.shape, np.uint8)
    colours = np.vstack([STAINS.rgb, STAINS.background_rgb]).astype(np.float32)
    for (r, g, b), class_id in zip(colours, [*STAINS.class_ids, 0], strict=True):
        distance2 = (red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2
        found[distance2 < least] = class_id
        np.minimum(least, distance2, out=least)
    return found


def run_method(method: str, kind: str, side: int, folder: Path) -> dict:
    """Measure time, peak memory and a checksum of the first strip's classes, for one method in this process."""
    image, out = RawRows(folder / kind, (side, side, 3)), RawRows(folder / "map", (side, side))
    l2_map(np.zeros((2, 2, 3), np.uint8), STAINS)  # compiles the kernel, or loads it from the cache
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu_start = time.perf_counter(), time.process_time()
    if method == "l2_map":
        l2_map(image, STAINS, out=out)
        rows = side
    else:
        separate = map_by_numpy if method == "numpy" else map_by_colour
        rows = min(side, STRIP_ROWS)
        out[0:rows] = separate(image[0:rows])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "pixels": rows * side,
        "mpx_per_s": 1e-6 * rows * side / seconds,
        "mpx_per_cpu_s": 1e-6 * rows * side / cpu_seconds,
        "extra_mib": (peak - before) / 1024,
        "checksum": zlib.crc32(out[: min(side, STRIP_ROWS)]),
    }


def measure(kind: str, side: int, repeats: int) -> list[dict]:
    runs: dict[str, list[dict]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        make_image(kind, side, Path(folder))
        for _ in range(repeats):
            for method in METHODS:
                command = [sys.executable, __file__, "--method", method, "--image", kind]
                command += ["--side", str(side), "--folder", folder]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                runs[method].append(json.loads(output))
    if len({run["checksum"] for results in runs.values() for run in results}) != 1:
        raise AssertionError(f"{kind}: the methods find different classes")
    return [
        {"image": kind, "side_px": side, "method": method, "pixels": results[0]["pixels"]}
        | {key: float(np.median([run[key] for run in results])) for key in MEASURES}
        for method, results in runs.items()
    ]


def print_table(rows: list[dict]) -> None:
    table = Table(title="L2 separation, seven colours: rate and peak memory beyond the start")
    for column in ("image", "method", "Mpx measured", "Mpx/s", "Mpx/CPU s", "MiB", "x numpy"):
        table.add_column(column, justify="left" if column in ("image", "method") else "right")
    plain = {row["image"]: row["mpx_per_s"] for row in rows if row["method"] == "numpy"}
    for row in rows:
        rate = row["mpx_per_s"]
        cells = [f"{1e-6 * row['pixels']:.1f}", f"{rate:.1f}", f"{row['mpx_per_cpu_s']:.1f}"]
        cells.append(f"{row['extra_mib']:,.0f}")
        table.add_row(row["image"], row["method"], *cells, f"{rate / plain[row['image']]:.1f}")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/colour.json"))
    parser.add_argument("--images", nargs="+", choices=IMAGES, default=IMAGES)
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--image", choices=IMAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.method:
        print(json.dumps(run_method(args.method, args.image, args.side, args.folder)))
        return
    rows, load = [], os.getloadavg()[0]
    for kind in track(args.images, console=Console(stderr=True)):
        rows += measure(kind, args.side if kind == "tissue" else args.side // 4, args.repeats)
    write_json(
        args.json, {"environment": environment() | {"load_at_start": load}, "repeats": args.repeats, "rows": rows}
    )
    print_table(rows)


if __name__ == "__main__":
    main()
