"""Measure the slide reader against others, each in its own process, in interleaved rounds.

Patterns; all return RGB uint8, of which every byte is read:
    a        an aligned grid of 512-pixel reads over a slide
    b        a grid of 224-pixel reads that is not aligned with tiles
    c        512-pixel blocks at random places of eight slides, in the order of the grouped sampler
    d        as in the paper: blocks of 240 pixels at 4.2 microns per pixel, from 0.25 and four coarser levels
    d1       the same from a slide that has only the finest level

    python benchmarks/reader.py --peer-python peers/bin/python     # an environment that has the others
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
from harness import environment, write_json
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lsr_ext.data import GroupedBatchSampler

SIZE_PX, LEVELS, MPP = 8192, 5, 0.25
SLIDES = 8
PATTERNS = ("a", "a512", "b", "c", "d", "d1")
PEERS = ("openslide", "cucim", "fastslide", "pyvips", "tifffile")
TISSUE = Path(__file__).parents[1].parent / "shared/data/slides/ome_tiff_crops/OS-1-detail.ome.tif"


def tissue(seed: int) -> np.ndarray:
    """Make the image of a slide: real tissue, mirrored to fill it, or noise if there is no tissue image."""
    rng = np.random.default_rng(seed)
    if TISSUE.is_file():
        crop = np.roll(tifffile.imread(TISSUE), rng.integers(0, 1000, 2), axis=(0, 1))
    else:
        crop = np.kron(rng.integers(90, 230, (128, 128, 3)), np.ones((8, 8, 1))) + rng.normal(
            0, 8, (1024, 1024, 3)
        )
        crop = crop.clip(0, 255).astype(np.uint8)
    pair = np.concatenate([crop, crop[:, ::-1]], axis=1)
    square = np.concatenate([pair, pair[::-1]], axis=0)
    times = -(-SIZE_PX // square.shape[0])
    return np.tile(square, (times, times, 1))[:SIZE_PX, :SIZE_PX]


def write_slide(path: Path, seed: int, tile_px: int, levels: int) -> None:
    pixels = tissue(seed)
    part = path.with_suffix(".part")
    with tifffile.TiffWriter(part) as tiff:
        for level in range(levels):
            if level:
                halves = pixels.reshape(pixels.shape[0] // 2, 2, pixels.shape[1] // 2, 2, 3)
                pixels = halves.mean(axis=(1, 3), dtype=np.float32).astype(np.uint8)
            tiff.write(
                pixels,
                tile=(tile_px, tile_px),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 85},
                subfiletype=min(level, 1),
                resolution=(1e4 / MPP, 1e4 / MPP),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    part.replace(path)


def slides_for(pattern: str, folder: Path) -> list[Path]:
    """Return the slides of a pattern; write those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    tile_px = 512 if pattern == "a512" else 256
    levels = 1 if pattern == "d1" else LEVELS
    count = SLIDES if pattern == "c" else 1
    paths = [folder / f"tile{tile_px}-levels{levels}-{seed}.tif" for seed in range(count)]
    for seed, path in enumerate(paths):
        if not path.exists():
            write_slide(path, seed, tile_px, levels)
    return paths


def reads_for(pattern: str) -> list[tuple[int, int, int, int, int]]:
    """Return (slide, level, x, y, size in pixels) of every read."""
    rng = np.random.default_rng(0)
    if pattern in ("a", "a512"):
        return [(0, 0, x, y, 512) for y in range(0, SIZE_PX, 512) for x in range(0, SIZE_PX, 512)]
    if pattern == "b":
        return [(0, 0, x, y, 224) for y in range(37, 4000, 224) for x in range(37, SIZE_PX - 224, 224)]
    if pattern == "c":
        places = rng.integers(0, SIZE_PX - 512, (240, 2))
        order = GroupedBatchSampler(rng.integers(0, 5, len(places)), group_size=10, groups_per_batch=2)
        return [(int(i) % SLIDES, 0, *map(int, places[i]), 512) for batch in order for i in batch]
    corners = rng.integers(0, SIZE_PX - 4033, (64 if pattern == "d" else 8, 2))
    return [(0, 0, int(x), int(y), 240) for x, y in corners]


class Reader:
    """A process with one reader."""

    def __init__(self, name: str, python: str) -> None:
        script = Path(__file__).with_name("readers.py")
        alone = {"OMP_NUM_THREADS": "1", "VIPS_CONCURRENCY": "1", "PYTHONPATH": str(script.parents[1])}
        self.process = subprocess.Popen(
            [python, str(script), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | alone,
        )

    def measure(self, order: dict) -> dict:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or '{"error": "the process died"}')

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measure(pattern: str, threads: int, cold: bool, args: argparse.Namespace) -> dict:
    """Measure one row: every reader, round after round."""
    paths = [str(path) for path in slides_for(pattern, args.folder)]
    reads = reads_for(pattern)
    mpp = 4.2 if pattern.startswith("d") else None
    order = {"paths": paths, "reads": reads, "threads": threads, "cold": cold, "mpp": mpp}
    names = ["lsr_ext", *args.peers, *(["bare"] if pattern.startswith("a") else [])]
    own = ("lsr_ext", "bare")
    readers = {name: Reader(name, sys.executable if name in own else args.peer_python) for name in names}
    results: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(args.repeats + 1):
        for name, reader in readers.items():
            results[name].append(reader.measure(order))
    for reader in readers.values():
        reader.close()
    row = {"pattern": pattern, "threads": threads, "page_cache": "cold" if cold else "warm", "reads": len(reads)}
    return row | {"readers": {name: summary(answers, len(reads)) for name, answers in results.items()}}


def summary(answers: list[dict], reads: int) -> dict[str, float | str]:
    errors = [answer["error"] for answer in answers if "error" in answer]
    if errors:
        return {"error": errors[0]}
    # The first round is a warm-up, in which memory is measured.
    seconds = [answer["seconds"] for answer in answers[1:]]
    return {
        "reads_per_s": reads / statistics.median(seconds),
        "reads_per_s_low": reads / max(seconds),
        "reads_per_s_high": reads / min(seconds),
        "peak_mib": answers[0]["peak_mib"],
        "open_ms": statistics.median(answer["open_ms"] for answer in answers[1:]),
    }


def print_table(rows: list[dict], peers: list[str]) -> None:
    table = Table(title="reads per second, medians (peak extra MiB; ms to open a slide)")
    for column in ("pattern", "threads", "page cache", "lsr_ext", *peers, "bare"):
        table.add_column(column, justify="right")
    for column in ("x openslide", "x best other", "% of bare"):
        table.add_column(column, justify="right")
    for row in rows:
        rates = {name: found.get("reads_per_s") for name, found in row["readers"].items()}
        cells = [row["pattern"], str(row["threads"]), row["page_cache"]]
        cells += [_cell(row["readers"].get(name)) for name in ("lsr_ext", *peers, "bare")]
        others = [rate for name, rate in rates.items() if name in peers and name != "openslide" and rate]
        ratios = (rates.get("openslide"), max(others, default=None), (rates.get("bare") or 0) / 100 or None)
        ours = rates["lsr_ext"]
        cells += [f"{ours / rate:.2f}" if ours and rate else "-" for rate in ratios]
        table.add_row(*cells)
    Console(width=200).print(table)


def _cell(found: dict | None) -> str:
    if found is None:
        return "-"
    if "error" in found:
        return found["error"][:30]
    return f"{found['reads_per_s']:.0f} ({found['peak_mib']:.0f}; {found['open_ms']:.1f})"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patterns", nargs="+", choices=PATTERNS, default=list(PATTERNS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--page-cache", nargs="+", choices=["warm", "cold"], default=["warm", "cold"])
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has the peers")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=Path("build/benchmarks/slides"), help="where slides are written"
    )
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/reader.json"))
    return parser.parse_args()


def present(args: argparse.Namespace) -> list[str]:
    """Return the peers that are installed in the other environment; print and leave out the rest."""
    modules = {"tifffile": "tifffile, imagecodecs"}
    found = []
    for name in args.peers:
        command = [args.peer_python, "-c", f"import {modules.get(name, name)}"]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            found.append(name)
        else:
            print(f"{name} is not installed for {args.peer_python}: left out")
    return found


def peer_versions(args: argparse.Namespace) -> dict[str, str]:
    packages = {"openslide": "openslide-python", "cucim": "cucim-cu12"}
    names = [packages.get(name, name) for name in args.peers]
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names}}}))"
    return json.loads(subprocess.run([args.peer_python, "-c", code], capture_output=True, check=True).stdout)


def main() -> None:
    args = parse()
    args.peers = present(args)
    rows = [
        measure(pattern, threads, page_cache == "cold", args)
        for pattern, threads, page_cache in track(
            [(p, t, c) for p in args.patterns for t in args.threads for c in args.page_cache],
            "readers",
            console=Console(stderr=True),
        )
    ]
    write_json(args.json, {"environment": environment() | {"peers": peer_versions(args)}, "rows": rows})
    print_table(rows, args.peers)


if __name__ == "__main__":
    main()
