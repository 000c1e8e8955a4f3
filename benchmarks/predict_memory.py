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
from pathlib import Path

import numpy as np
import tifffile
import torch
import zarr
from harness import environment, write_json
from predict import TILE_PX, make_model, texture, write_level

from lsr_ext.inference import predict_slide
from lsr_ext.wsi import open_slide

WIDTH, HEIGHT = 100_000, 80_000
SHARE = 0.05  # of the slide that is tissue
DOWNSAMPLES = (1, 4, 16, 64)


def write_sparse_slide(path: Path, width: int, height: int) -> None:
    """An ellipse of tissue in the middle of a white slide, with the same texture at each level."""
    tissue, white = texture(), np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
    half = np.sqrt(SHARE / np.pi) * np.array([width, height])
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for downsample in DOWNSAMPLES:
            size = width // downsample, height // downsample
            radius = half / downsample

            def make(x: int, y: int, size: tuple[int, int] = size, radius: np.ndarray = radius) -> np.ndarray:
                across = (np.arange(x, x + TILE_PX) - size[0] / 2) / radius[0]
                down = (np.arange(y, y + TILE_PX) - size[1] / 2) / radius[1]
                inside = (across**2)[None] + (down**2)[:, None] < 1
                if not inside.any():
                    return white
                cut = tissue[y % 1024 :, x % 1024 :][:TILE_PX, :TILE_PX]
                return np.where(inside[:, :, None], cut, white)

            write_level(tiff, *size, make, downsample)


def predict(path: Path, folder: Path, found: multiprocessing.Queue) -> None:
    """Seconds, peak of resident memory in MiB, and the predicted share of the slide."""
    model = make_model("one-layer", torch.device("cpu"))
    before = _peak_mib()
    start = time.perf_counter()
    output = predict_slide(model, open_slide(path), folder)
    seconds = time.perf_counter() - start
    peak = _peak_mib()
    classes = zarr.open_group(output, mode="r")["classes"]
    step = classes.chunks[0]
    predicted = sum(int((classes[top : top + step] != 255).sum()) for top in range(0, classes.shape[0], step))
    found.put(
        {
            "seconds": seconds,
            "peak_mib": peak,
            "before_mib": before,
            "predicted_megapixels": predicted / 1e6,
            "zarr_mib": sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) / 2**20,
        }
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs=2, type=int, default=(WIDTH, HEIGHT), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/predict-memory.json"))
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_sparse_slide(path, *args.size)
        found = context.Queue()
        process = context.Process(target=predict, args=(path, Path(folder), found))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"the prediction ended with {process.exitcode}")
        row = found.get()
        row |= {"size_px": list(args.size), "slide_mib": path.stat().st_size / 2**20}
    write_json(args.json, {"environment": environment(), **row})
    print(
        ", ".join(f"{name} {value if isinstance(value, list) else round(value, 1)}" for name, value in row.items())
    )


if __name__ == "__main__":
    main()
