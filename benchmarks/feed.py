"""Measure how fast blocks reach a network that does nothing, in interleaved rounds.

Patterns: `paper`, 240 px at 4.2 microns per pixel from slides of 0.25; `half`, 256 px at 0.5. Feeders: lsr_ext
from slides and from the store of `lsr cohort cut`; a plain Dataset over openslide-python, which reads the best
level and resizes; MONAI's PatchWSIDataset over OpenSlide, at the nearest level and without resizing; TIAToolbox's
WSIReader, if asked for, see `tiatoolbox_peer.py`. Each feeds a
DataLoader of batches of 20 with 0, 1, 2 or 4 workers; the first epoch warms up. Then, with the first pattern,
epochs of four times as many blocks and no more workers than processors: the share of time that a step of 10, 50 or
200 ms waits for blocks, and the resident memory of all processes after 1, 5 and 20 epochs.

    python benchmarks/feed.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
import openslide
import torch
from harness import environment, tiatoolbox_seconds, write_json
from PIL import Image
from reader import MPP, SIZE_PX, write_slide
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from lsr_ext.data import GroupedBatchSampler, ResumableLoader
from lsr_ext.data.cohort import CohortDataset, StoredBlocks, cut_cohort
from lsr_ext.data.cohort.manifest import make_table, write_table

PATTERNS = {"paper": (240, 4.2), "half": (256, 0.5)}  # pixels, microns per pixel
FEEDERS = ("lsr_ext, slides", "lsr_ext, store", "openslide-python", "MONAI")
SLIDES, LEVELS, LABELS, GROUP = 4, 5, 4, 10
STEPS_MS, EPOCHS = (10, 50, 200), (1, 5, 20)


class PlainDataset(Dataset):
    """What one writes first: openslide-python, the best level, Pillow's resizing."""

    def __init__(self, blocks: list[dict], size_px: int) -> None:
        self.blocks, self.size_px, self.slides = blocks, size_px, {}

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        block = self.blocks[index]
        if block["path"] not in self.slides:
            self.slides[block["path"]] = openslide.OpenSlide(block["path"])
        slide = self.slides[block["path"]]
        level = slide.get_best_level_for_downsample(block["side"] / self.size_px)
        side = round(block["side"] / slide.level_downsamples[level])
        region = slide.read_region((block["x"], block["y"]), level, (side, side)).convert("RGB")
        pixels = np.asarray(region.resize((self.size_px, self.size_px), Image.Resampling.BOX))
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, block["label"]


def monai_dataset(blocks: list[dict], size_px: int) -> Dataset:
    from monai.data import PatchWSIDataset

    level = min(range(LEVELS), key=lambda level: abs(2**level - blocks[0]["side"] / size_px))
    data = [
        {"image": block["path"], "location": [block["y"], block["x"]], "label": block["label"]} for block in blocks
    ]
    patch_px = round(blocks[0]["side"] / 2**level)
    return PatchWSIDataset(data, patch_px, level, include_label=False, center_location=False, reader="OpenSlide")


def prepare(pattern: str, count: int, folder: Path) -> dict:
    """The blocks of a pattern, their manifest and their store."""
    size_px, mpp = PATTERNS[pattern]
    side = round(size_px * mpp / MPP)
    rng = np.random.default_rng(0)
    paths = [folder / f"tile256-levels{LEVELS}-{seed}.tif" for seed in range(SLIDES)]
    for seed, path in enumerate(paths):
        if not path.exists():
            write_slide(path, seed, 256, LEVELS)
    corners, slide_of = rng.integers(0, SIZE_PX - side, (count, 2)), np.arange(count) % SLIDES
    labels = np.arange(count) // SLIDES % LABELS
    columns = {
        "slide": [str(paths[k].resolve()) for k in slide_of],
        "patient": [None] * count,
        "x": corners[:, 0],
        "y": corners[:, 1],
        "width": [side] * count,
        "height": [side] * count,
        "mpp": [mpp] * count,
        "size_px": [size_px] * count,
        "label_source": ["drawn at random"] * count,
        "split": ["train"] * count,
        "tissue_fraction": [1.0] * count,
    }
    manifest = folder / f"feed-{pattern}-{count}.parquet"
    write_table(make_table(columns, labels), manifest, [str(z) for z in range(LABELS)], [], {})
    cut_cohort(manifest, manifest.with_suffix(".store"))
    blocks = [
        {"path": str(paths[slide_of[k]]), "x": int(x), "y": int(y), "side": side, "label": int(labels[k])}
        for k, (x, y) in enumerate(corners)
    ]
    return {"manifest": manifest, "blocks": blocks, "labels": labels, "size_px": size_px}


def make_loader(feeder: str, found: dict, workers: int) -> DataLoader:
    sampler = GroupedBatchSampler(found["labels"], GROUP, 2)
    options = {}
    if workers:
        options = {
            "num_workers": workers,
            "persistent_workers": True,
            "multiprocessing_context": "forkserver",
            "prefetch_factor": 2,
        }
    if feeder.startswith("lsr_ext"):
        store = found["manifest"].with_suffix(".store")
        dataset = CohortDataset(StoredBlocks(store) if feeder.endswith("store") else found["manifest"])
        return ResumableLoader(dataset, sampler, collate_fn=dataset.collate, **options)
    make = monai_dataset if feeder == "MONAI" else PlainDataset
    return DataLoader(make(found["blocks"], found["size_px"]), batch_sampler=sampler, **options)


def feed(loader: DataLoader, step_s: float = 0.0) -> tuple[int, float, float]:
    """One epoch: blocks, seconds, and seconds that were waited for blocks."""
    blocks, waited, start = 0, 0.0, time.perf_counter()
    batches = iter(loader)
    while True:
        asked = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return blocks, time.perf_counter() - start, waited
        blocks += len(batch["image"] if isinstance(batch, dict) else batch[0])
        time.sleep(step_s)


def measure(pattern: str, workers: int, found: dict, repeats: int, tiatoolbox: Path | None) -> dict:
    loaders = {feeder: make_loader(feeder, found, workers) for feeder in FEEDERS}
    rates: dict[str, list[float]] = {feeder: [] for feeder in FEEDERS}
    for repeat in range(repeats + 1):
        for feeder, loader in loaders.items():
            blocks, seconds, _ = feed(loader)
            if repeat:
                rates[feeder].append(blocks / seconds)
    if tiatoolbox is not None:
        asked = {"blocks": found["blocks"], "size_px": found["size_px"], "mpp": PATTERNS[pattern][1]}
        asked |= {"batch_size": 2 * GROUP, "workers": workers, "repeats": repeats}
        runs = tiatoolbox_seconds(tiatoolbox, "feed", asked)
        rates["TIAToolbox"] = [len(found["blocks"]) / seconds for seconds in runs]
    found_rates = {name: {"blocks_per_s": statistics.median(r), "all": r} for name, r in rates.items()}
    return {"pattern": pattern, "workers": workers, "feeders": found_rates}


def measure_waits(found: dict, workers: int) -> list[dict]:
    rows = []
    for feeder in FEEDERS[:3]:
        loader = make_loader(feeder, found, workers)
        feed(loader)
        for step_ms in STEPS_MS:
            _, seconds, waited = feed(loader, step_ms / 1000)
            rows.append({"feeder": feeder, "workers": workers, "step_ms": step_ms, "waited": waited / seconds})
    return rows


def measure_memory(found: dict, workers: int) -> dict[str, float]:
    """Resident MiB of this process and its children after so many epochs."""
    loader, after = make_loader(FEEDERS[0], found, workers), {}
    for epoch in range(1, EPOCHS[-1] + 1):
        feed(loader)
        if epoch in EPOCHS:
            after[str(epoch)] = _resident_mib(os.getpid())
    return after


def _resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(_resident_mib(int(child)) for child in children)


def print_tables(content: dict) -> None:
    feeders = content["rates"][0]["feeders"]
    table = Table("pattern", "workers", *feeders, title="blocks per second, medians")
    for row in content["rates"]:
        cells = [f"{row['feeders'][name]['blocks_per_s']:.1f}" for name in feeders]
        table.add_row(row["pattern"], str(row["workers"]), *cells)
    waits = Table("feeder", "workers", "step, ms", "share of time waiting")
    for row in content["waits"]:
        waits.add_row(row["feeder"], str(row["workers"]), str(row["step_ms"]), f"{row['waited']:.0%}")
    console = Console(width=140)
    console.print(table)
    console.print(waits)
    console.print("resident MiB after epochs: " + ", ".join(f"{k}: {v:.0f}" for k, v in content["memory"].items()))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patterns", nargs="+", choices=list(PATTERNS), default=list(PATTERNS))
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2, 4])
    parser.add_argument("--blocks", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/slides"))
    parser.add_argument("--tiatoolbox", type=Path, metavar="PYTHON", help="of an environment that has it")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/feed.json"))
    return parser.parse_args()


def main() -> None:
    args = parse()
    args.folder.mkdir(parents=True, exist_ok=True)
    prepared = {pattern: prepare(pattern, args.blocks, args.folder) for pattern in args.patterns}
    pairs = [(pattern, workers) for pattern in args.patterns for workers in args.workers]
    rates = [
        measure(pattern, workers, prepared[pattern], args.repeats, args.tiatoolbox)
        for pattern, workers in track(pairs, "feeders", console=Console(stderr=True))
    ]
    long = prepare(args.patterns[0], 4 * args.blocks, args.folder)
    workers = min(max(args.workers), os.cpu_count() or 1)
    content = {
        "environment": environment(),
        "rates": rates,
        "waits": measure_waits(long, workers),
        "memory": measure_memory(long, workers),
    }
    write_json(args.json, content)
    print_tables(content)


if __name__ == "__main__":
    main()
