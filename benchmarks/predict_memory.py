"""Measure the memory and the time that prediction takes of a large, sparse slide: 100,000 x 80,000 px at 0.25 um.

Tissue is an ellipse of five percent of the slide; the rest is white. The levels are 1, 4, 16 and 64. A process of
its own finds the tissue and predicts it at 0.5 um by a network of one layer; its peak of resident memory is that
of the system's account.

    python benchmarks/predict_memory.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tifffile
import torch
import zarr
from harness import environment, write_json
from predict import TILE_PX, make_model, texture, tile_at, write_level

from lsr_ext.inference import predict_slide
from lsr_ext.inference.slide_store import NOT_PREDICTED
from lsr_ext.wsi import open_slide

WIDTH, HEIGHT = 100_000, 80_000
SHARE = 0.05  # of the slide that is tissue
DOWNSAMPLES = (1, 4, 16, 64)
WHITE = np.uint8(255)


def sparse_tile(tissue: np.ndarray, size: tuple[int, int], x: int, y: int) -> np.ndarray:
    """A tile of a white level with an ellipse of tissue in its middle."""
    radius = np.sqrt(SHARE / np.pi) * np.array(size)
    across = (np.arange(x, x + TILE_PX) - size[0] / 2) / radius[0]
    down = (np.arange(y, y + TILE_PX) - size[1] / 2) / radius[1]
    inside = (across**2)[None] + (down**2)[:, None] < 1
    return np.where(inside[:, :, None], tile_at(tissue, x, y), WHITE)


def write_sparse_slide(path: Path, width: int, height: int) -> None:
    tissue = texture()
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for downsample in DOWNSAMPLES:
            size = width // downsample, height // downsample
            write_level(tiff, *size, partial(sparse_tile, tissue, size), downsample)


def predict(path: Path, folder: Path) -> dict[str, float]:
    """Seconds, peaks of resident memory in MiB, predicted megapixels, and the size of what was written."""
    model = make_model("one-layer", torch.device("cpu"))
    before = _peak_mib()
    start = time.perf_counter()
    output = predict_slide(model, open_slide(path), folder)
    seconds, peak = time.perf_counter() - start, _peak_mib()
    classes = zarr.open_group(output, mode="r")["classes"]
    step = classes.chunks[0]
    predicted = sum(
        np.count_nonzero(classes[top : top + step] != NOT_PREDICTED) for top in range(0, classes.shape[0], step)
    )
    return {
        "seconds": seconds,
        "peak_mib": peak,
        "before_mib": before,
        "predicted_megapixels": predicted / 1e6,
        "zarr_mib": sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) / 2**20,
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(WIDTH, HEIGHT), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/predict-memory.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_sparse_slide(path, *args.size)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(predict, path, Path(folder)).result()
        found["slide_mib"] = path.stat().st_size / 2**20
    write_json(args.json, {"environment": environment(), "size_px": list(args.size), **found})
    print(", ".join(f"{name} {value:.1f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
