"""Measure scoring of regions against dots on a slide's label map: score_cells against scipy.ndimage and a loop.

The map is a memory map on disk, uint8, of discs 8 to 14 px wide at 3,000 per mm2 and 0.5 um a pixel, in three
classes; four fifths have a dot, and one dot in five is at a random place. The peer labels the map once for each
class with scipy.ndimage.label, as is usual, and looks up each dot in a Python loop. Each method runs in its own
process, so that its peak memory can be measured; pages of the map that are in memory are counted for both.

    python benchmarks/regions.py
    python benchmarks/regions.py --sides 4000 --json result.json
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import environment, write_json
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage

from lsr_ext.metrics import DotSet, open_label_map, score_cells

CLASSES = {"a": 1, "b": 2, "c": 3}
METHODS = ("score_cells", "scipy")
_PER_PX2 = 3000 * 0.25e-6  # nuclei per mm2, 0.5 um a pixel


def make_map(side: int, folder: Path) -> None:
    """Write map.npy and dots.npz."""
    rng = np.random.default_rng(side)
    label_map = np.lib.format.open_memmap(folder / "map.npy", "w+", np.uint8, (side, side))
    count = int(_PER_PX2 * side * side)
    centres = rng.integers(15, side - 15, (count, 2))
    names = rng.choice(list(CLASSES), count)
    grid = np.hypot(*np.mgrid[-7:8, -7:8])
    for (row, column), name, radius in zip(centres, names, rng.uniform(4, 7, count), strict=True):
        label_map[row - 7 : row + 8, column - 7 : column + 8][grid <= radius] = CLASSES[name]
    label_map.flush()
    is_marked = rng.random(count) < 0.8
    xy = centres[is_marked][:, ::-1] + rng.normal(0, 2, (is_marked.sum(), 2))
    lost = rng.random(len(xy)) < 0.2
    xy[lost] = rng.random((lost.sum(), 2)) * side
    np.savez(folder / "dots.npz", xy=xy.clip(0, side - 1), names=names[is_marked])


def score_by_scipy(label_map: np.ndarray, dots: DotSet) -> list[list[int]]:
    """Count dots, dots hit, regions and regions hit by class."""
    counts = []
    for name, class_id in CLASSES.items():
        labelled, regions = ndimage.label(label_map == class_id, np.ones((3, 3)))
        hit, regions_hit = 0, set()
        members = dots.of_class(name).xy
        for x, y in members:
            region = labelled[int(y), int(x)]
            if region:
                hit += 1
                regions_hit.add(int(region))
        counts.append([len(members), hit, regions, len(regions_hit)])
    return np.transpose(counts).tolist()


def run_method(method: str, folder: Path) -> dict:
    """Measure time, peak memory and counts of one method in this process."""
    with np.load(folder / "dots.npz") as content:
        dots = DotSet(content["xy"], content["names"])
    warm_up = np.eye(8, dtype=np.uint8)
    score_cells(warm_up, DotSet([[1, 1]], ["a"]), CLASSES)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    label_map = open_label_map(folder / "map.npy")
    if method == "scipy":
        counts = score_by_scipy(label_map, dots)
    else:
        scores = score_cells(label_map, dots, CLASSES)
        counts = [list(map(int, c)) for c in (scores.dots, scores.dots_hit, scores.regions, scores.regions_hit)]
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "extra_mib": (peak - before) / 1024, "counts": counts}


def measure(side: int, repeats: int) -> dict:
    results: dict[str, list[dict]] = {method: [] for method in METHODS}
    with tempfile.TemporaryDirectory() as folder:
        make_map(side, Path(folder))
        for _ in range(repeats):
            for method in METHODS:
                command = [sys.executable, __file__, "--method", method, "--folder", folder]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                results[method].append(json.loads(output))
    counts = {json.dumps(result["counts"]) for runs in results.values() for result in runs}
    if len(counts) != 1:
        raise AssertionError(f"side {side}: the methods count differently: {counts}")
    row: dict = {"side_px": side, "regions": sum(results["scipy"][0]["counts"][2])}
    for method, runs in results.items():
        row[method] = {key: float(np.median([run[key] for run in runs])) for key in ("seconds", "extra_mib")}
    return row


def print_table(rows: list[dict]) -> None:
    table = Table(title="regions against dots, three classes: seconds and peak memory beyond the start")
    for column in ("side px", "regions", *(f"{m} s" for m in METHODS), *(f"{m} MiB" for m in METHODS), "x scipy"):
        table.add_column(column, justify="right")
    for row in rows:
        cells = [f"{row['side_px']:,}", f"{row['regions']:,}"]
        cells += [f"{row[method]['seconds']:.2f}" for method in METHODS]
        cells += [f"{row[method]['extra_mib']:,.0f}" for method in METHODS]
        table.add_row(*cells, f"{row['scipy']['seconds'] / row['score_cells']['seconds']:.1f}")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", type=int, default=[2000, 5000, 20_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/regions.json"))
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.method:
        print(json.dumps(run_method(args.method, args.folder)))
        return
    rows = [measure(side, args.repeats) for side in track(args.sides, console=Console(stderr=True))]
    write_json(args.json, {"environment": environment(), "rows": rows})
    print_table(rows)


if __name__ == "__main__":
    main()
