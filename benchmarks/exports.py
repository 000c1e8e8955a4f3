"""Measure exports of a slide's label map: GeoJSON and OME-TIFF against rasterio, OpenCV and shapely used plainly.

The map has discs 8 to 14 px wide in three classes on a ground of a fourth: 200,000 on 20,000 x 20,000 px. rasterio
traces the whole map at once, OpenCV every class; shapely simplifies each polygon by itself and without topology:
neighbours overlap and leave gaps. Each method runs in its own process, so that its peak memory can be measured.

    python benchmarks/exports.py
    python benchmarks/exports.py --side 5000 --methods geojson rasterio
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import shapely
import zarr
from harness import environment, write_json
from rich.console import Console
from rich.table import Table

from lsr_ext.inference.exports.cells import export_cells
from lsr_ext.inference.exports.geojson import export_geojson
from lsr_ext.inference.exports.ome_tiff import export_ome_tiff
from lsr_ext.inference.slide_store import PredictionStore
from lsr_ext.inference.window_grid import Rectangle

CLASSES = ["ground", "a", "b", "c"]
_PER_PX2 = 200_000 / 20_000**2
_STRIP_PX = 2048


def make_prediction(side: int, path: Path) -> None:
    """Write a prediction; a pixel's class has a probability of 0.7 to 1."""
    rng = np.random.default_rng(side)
    labels = np.zeros((side, side), np.uint8)
    count = int(_PER_PX2 * side * side)
    grid = np.hypot(*np.mgrid[-7:8, -7:8])
    centres, names = rng.integers(8, side - 8, (count, 2)), rng.integers(1, 4, count)
    for (row, column), label, radius in zip(centres, names, rng.uniform(4, 7, count), strict=True):
        labels[row - 7 : row + 8, column - 7 : column + 8][grid <= radius] = label
    about = {
        "slide": "generated.tif",
        "slide_size": [2 * side, 2 * side],
        "slide_mpp": [0.25, 0.25],
        "slide_bounds": None,
        "mpp": 0.5,
        "classes": CLASSES,
        "colours": ["#9ca3af", "#ffe119", "#f032e6", "#3cb44b"],
    }
    store = PredictionStore(path, (len(CLASSES), side, side), about)
    for top in range(0, side, _STRIP_PX):
        strip = labels[top : top + _STRIP_PX]
        likelihood = rng.integers(179, 256, strip.shape, dtype=np.uint8)
        probabilities = np.stack([np.where(strip == index, likelihood, 0) for index in range(len(CLASSES))])
        store.write(Rectangle(top, 0, *strip.shape), strip, probabilities.astype(np.uint8))
    store.finish()


def by_rasterio(prediction: Path, output: Path) -> int:
    """Trace the whole map with GDAL, simplify each polygon, write with json."""
    from rasterio.features import shapes

    labels = zarr.open_group(prediction, mode="r")["classes"][:]
    polygons = []
    for geometry, value in shapes(labels, mask=labels != 255):
        shape = shapely.Polygon(geometry["coordinates"][0], geometry["coordinates"][1:])
        polygons.append(
            (
                simplified(shape),
                CLASSES[int(value)],
            )
        )
    return write_plainly(polygons, output)


def by_opencv(prediction: Path, output: Path) -> int:
    """Trace each class with OpenCV, simplify each polygon, write with json; pixels' centres are the corners."""
    import cv2

    labels = zarr.open_group(prediction, mode="r")["classes"][:]
    polygons = []
    for index, name in enumerate(CLASSES):
        mask = (labels == index).astype(np.uint8)
        rings, tree = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        holes: dict[int, list] = {}
        for ring, (_, _, _, parent) in zip(rings, tree[0], strict=True):
            if parent >= 0 and len(ring) > 2:
                holes.setdefault(int(parent), []).append(ring[:, 0])
        for number, (ring, (_, _, _, parent)) in enumerate(zip(rings, tree[0], strict=True)):
            if parent < 0 and len(ring) > 2:
                shape = shapely.make_valid(shapely.Polygon(ring[:, 0], holes.get(number)))
                polygons.append((simplified(shape), name))
    return write_plainly(polygons, output)


def simplified(shape: shapely.Geometry) -> shapely.Geometry:
    """In pixels of level 0. With its topology, a ground with thousands of holes would take hours."""
    return shapely.transform(shape.simplify(1.0, preserve_topology=False), lambda xy: xy * 2)


def write_plainly(polygons: list[tuple[shapely.Geometry, str]], output: Path) -> int:
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": {"classification": name}}
        for shape, name in polygons
    ]
    output.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return len(features)


METHODS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "geojson": (export_geojson, "a.geojson"),
    "geojson, tolerance 0": (lambda p, o: export_geojson(p, o, tolerance_px=0), "b.geojson"),
    "rasterio": (by_rasterio, "c.geojson"),
    "opencv": (by_opencv, "d.geojson"),
    "cells": (export_cells, "e.csv"),
    "ome-tiff": (export_ome_tiff, "f.ome.tif"),
}


def run_method(method: str, folder: Path) -> dict:
    """Measure time and peak memory of one method in this process, its kernels compiled before."""
    function, name = METHODS[method]
    if (folder / "small.zarr").is_dir() and method not in ("rasterio", "opencv"):
        function(folder / "small.zarr", folder / f"small-{name}")
    start, start_cpu = time.perf_counter(), time.process_time()
    found = function(folder / "map.zarr", folder / name)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "features": found if isinstance(found, int) else None,
        "file_mib": (folder / name).stat().st_size / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/exports.json"))
    parser.add_argument("--method", choices=METHODS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.method:
        print(json.dumps(run_method(args.method, args.folder)))
        return
    if args.folder:
        make_prediction(args.side, args.folder / "map.zarr")
        make_prediction(600, args.folder / "small.zarr")
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        # By a process of its own: a process inherits the peak memory of the one that starts it.
        subprocess.run([sys.executable, __file__, "--side", str(args.side), "--folder", folder], check=True)
        for method in args.methods:
            command = [sys.executable, __file__, "--method", method, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE)
            result = json.loads(done.stdout) if done.returncode == 0 else {"failed": done.returncode}
            rows.append({"method": method, **result})
            print(rows[-1], file=sys.stderr)
    write_json(args.json, {"environment": environment(), "side_px": args.side, "rows": rows})
    table = Table(title=f"exports of a label map of {args.side:,} x {args.side:,} px")
    for column in ("method", "seconds", "CPU s", "peak MiB", "file MiB", "features"):
        table.add_column(column, justify="right")
    for row in rows:
        if "failed" not in row:
            numbers = [f"{row[name]:,.1f}" for name in ("seconds", "cpu_seconds", "peak_mib", "file_mib")]
            table.add_row(row["method"], *numbers, str(row["features"] or ""))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
