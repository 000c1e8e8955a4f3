"""Measure the prediction of a slide end to end: `predict_slide` against the bare network and MONAI over OpenSlide.

The slide is generated, JPEG tiles of 256 px at 0.25 um; it is predicted whole at 0.5 um by windows of 512 px that
overlap by a quarter, without symmetries. Three ways, by the same network and batches:

- bare: the network on ready batches, as many windows as `predict_slide` predicts; nothing is read or written;
- predict_slide: read, predict, blend, decode and write the zarr;
- monai: read the level by openslide-python and Pillow's box filter in blocks of 4096 px, MONAI's
  sliding_window_inference with the same overlap and Gaussian weights, and write the same arrays;
- tiatoolbox, if asked for: its SemanticSegmentor, see `tiatoolbox_peer.py`.

    python benchmarks/predict.py
    python benchmarks/predict.py --side 4096 --networks one-layer
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import openslide
import tifffile
import torch
import zarr
from harness import environment, tiatoolbox_seconds, write_json
from monai.inferers import sliding_window_inference
from PIL import Image
from rich.console import Console
from rich.table import Table
from zarr.codecs import Crc32cCodec, ZstdCodec

from lsr_ext import CountDistribution
from lsr_ext.inference import PredictionDescription, TrainedModel, choose_device
from lsr_ext.inference import slide as slide_prediction
from lsr_ext.inference.model_file import (
    ClassDescription,
    DecodingDescription,
    DistributionDescription,
    InputDescription,
    ModelDescription,
    NetworkDescription,
)
from lsr_ext.inference.window_grid import WindowGrid
from lsr_ext.networks import build_network
from lsr_ext.wsi import open_slide

MPP, STEP, WINDOW_PX, OVERLAP = 0.5, 2, 512, 0.25
TILE_PX = 256
CLASSES = ["background", "tumour"]
NETWORKS = {
    "one-layer": ("torch.nn.Conv2d", {"in_channels": 3, "out_channels": 2, "kernel_size": 3, "padding": 1}),
    "unet": ("lsr_ext.networks.SegmentationUNet", {"num_classes": 2}),
}


def texture() -> np.ndarray:
    """Smooth pink and purple with grain, as tissue is: 1024 x 1024 px that repeat."""
    rng = np.random.default_rng(0)
    tile = rng.normal(0, 6, (1024, 1024, 3)) + np.array([200, 140, 190])
    tile += 30 * np.sin(np.arange(1024) / 40)[:, None, None]
    return np.clip(tile, 0, 255).astype(np.uint8)


def write_level(tiff: tifffile.TiffWriter, width: int, height: int, make: Callable, downsample: int = 1) -> None:
    """Write a level of a slide of 0.25 um in JPEG tiles of 256 px, of which `make(x, y)` gives the pixels."""
    places = itertools.product(range(0, height, TILE_PX), range(0, width, TILE_PX))
    tiff.write(
        (make(x, y) for y, x in places),
        shape=(height, width, 3),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": 85},
        subfiletype=int(downsample > 1),
        resolution=(40_000 / downsample, 40_000 / downsample),
        resolutionunit="CENTIMETER",
        metadata=None,
    )


def tile_at(tissue: np.ndarray, x: int, y: int) -> np.ndarray:
    """The tile of a texture that repeats."""
    return tissue[y % len(tissue) :, x % len(tissue) :][:TILE_PX, :TILE_PX]


def write_slide(path: Path, side: int) -> None:
    """A slide without a pyramid that is tissue everywhere."""
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        write_level(tiff, side, side, partial(tile_at, texture()))


def make_model(name: str, device: torch.device) -> TrainedModel:
    path, params = NETWORKS[name]
    torch.manual_seed(0)
    distribution = CountDistribution([[0.5, 0.5]], [[0.1, 0.1]], ["any"], CLASSES)
    about = ModelDescription(
        network=NetworkDescription(path=path, params=params),
        classes=[ClassDescription(name=name, colour="#112233") for name in CLASSES],
        input=InputDescription(channels=3),
        mpp=MPP,
        prediction=PredictionDescription(window_px=WINDOW_PX, overlap=OVERLAP, symmetries=1),
        decoding=DecodingDescription(kind="likeliest", shift=[0.0, 0.0]),
        distribution=DistributionDescription(
            labels=["any"],
            classes=CLASSES,
            exclusive=False,
            mean=distribution.mean.tolist(),
            std=distribution.std.tolist(),
        ),
        trained_on="nothing",
        versions={},
    )
    return TrainedModel(build_network(path, params), about, device)


@torch.inference_mode()
def bare_network(model: TrainedModel, path: Path, folder: Path, batch_size: int) -> None:
    """As many windows as are predicted, without reading or writing any."""
    width, height = (side // STEP for side in open_slide(path).size)
    grid = WindowGrid(height, width, WINDOW_PX, OVERLAP)
    blocks = slide_prediction._windows_of_blocks(grid, None, (STEP, STEP))
    images = np.random.default_rng(0).integers(0, 256, (batch_size, WINDOW_PX, WINDOW_PX, 3), dtype=np.uint8)
    batch = model.to_input(images)
    for _, windows in blocks:
        for first in range(0, len(windows), batch_size):
            model.probabilities(batch[: len(windows[first : first + batch_size])])
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def by_predict_slide(model: TrainedModel, path: Path, folder: Path, batch_size: int) -> None:
    slide_prediction.predict_slide(model, open_slide(path), folder, everywhere=True, batch_size=batch_size)


@torch.inference_mode()
def by_monai(model: TrainedModel, path: Path, folder: Path, batch_size: int) -> None:
    """The usual loop: read a block, predict it, write it."""
    slide = openslide.OpenSlide(path)
    width, height = (side // STEP for side in slide.dimensions)
    options = {"dtype": "uint8", "compressors": [ZstdCodec(level=1), Crc32cCodec()]}
    group = zarr.open_group(folder / "monai.zarr", mode="w")
    chunk = min(1024, width)
    levels = group.create_array("probabilities", shape=(2, height, width), chunks=(1, chunk, chunk), **options)
    classes = group.create_array("classes", shape=(height, width), chunks=(chunk, chunk), **options)
    block = 4096
    for top in range(0, height, block):
        for left in range(0, width, block):
            size = min(block, width - left), min(block, height - top)
            region = slide.read_region((left * STEP, top * STEP), 0, (size[0] * STEP, size[1] * STEP))
            pixels = np.array(region.convert("RGB").resize(size, Image.Resampling.BOX))
            image = model.to_input(pixels[None])
            found = sliding_window_inference(
                image, WINDOW_PX, batch_size, model.probabilities, OVERLAP, mode="gaussian"
            )
            found = found[0].cpu().numpy()
            place = slice(top, top + size[1]), slice(left, left + size[0])
            levels[(slice(None), *place)] = np.rint(found * 255).astype(np.uint8)
            classes[place] = model.decode(found)


METHODS: dict[str, Callable[[TrainedModel, Path, Path, int], None]] = {
    "bare": bare_network,
    "predict_slide": by_predict_slide,
    "monai": by_monai,
}


def by_tiatoolbox(python: Path, path: Path, batch_size: int) -> float:
    """Seconds of the network of one layer."""
    asked = {"slide": str(path), "mpp": MPP, "window_px": WINDOW_PX, "stride_px": round(WINDOW_PX * (1 - OVERLAP))}
    return tiatoolbox_seconds(python, "predict", asked | {"batch_size": batch_size, "repeats": 1})[0]


def measure(
    name: str, path: Path, device: torch.device, batch_size: int, repeats: int, tiatoolbox: Path | None
) -> dict:
    """Megapixels predicted per second by each method, which take turns; the median of the repeats."""
    model = make_model(name, device)
    width, height = open_slide(path).size
    megapixels = width * height / STEP**2 / 1e6
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(repeats):
        for method, function in METHODS.items():
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                function(model, path, Path(folder), batch_size)
                seconds[method].append(time.perf_counter() - start)
        if tiatoolbox is not None and name == "one-layer":
            seconds.setdefault("tiatoolbox", []).append(by_tiatoolbox(tiatoolbox, path, batch_size))
    return {"network": name, **{method: megapixels / statistics.median(runs) for method, runs in seconds.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8192, help="of the slide at 0.25 um, a multiple of 1024")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=8, help="windows at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiatoolbox", type=Path, metavar="PYTHON", help="of an environment that has it")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/predict.json"))
    args = parser.parse_args()
    device = choose_device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_slide(path, args.side)
        how = device, args.batch_size, args.repeats, args.tiatoolbox
        rows = [measure(name, path, *how) for name in args.networks]
    write_json(
        args.json,
        {"environment": environment(), "side_px": args.side, "batch_size": args.batch_size, "rows": rows},
    )
    table = Table(title=f"{args.side} x {args.side} px at 0.25 um at {MPP:g} um on {device}: Mpx/s")
    methods = *METHODS, "tiatoolbox"
    for column in ("network", *methods, "of the bare network", "x MONAI"):
        table.add_column(column, justify="right")
    for row in rows:
        numbers = [f"{row[method]:.2f}" if method in row else "" for method in methods]
        share, faster = row["predict_slide"] / row["bare"], row["predict_slide"] / row["monai"]
        table.add_row(row["network"], *numbers, f"{share:.0%}", f"{faster:.1f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
