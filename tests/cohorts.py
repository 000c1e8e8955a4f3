"""Small cohorts for tests: slides written with tifffile, labels by a rule that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from slides import tissue_like, write_pyramid

from lsr_ext.data.cohort import PatchProbabilities, Recipe, build_cohort, list_slides

RECIPE = Recipe(patch_px=32, merge=2, size_px=16, edges=(0.25, 0.5, 0.75))
SHARES = {"train": 0.5, "test": 0.5}


def write_slides(folder: Path, count: int, side_px: int = 128, tile_px: int = 64) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"slide-{i:03d}.tif" for i in range(count)]
    for i, path in enumerate(paths):
        write_pyramid(path, tissue_like(side_px, side_px, seed=i), tile_px=tile_px)
    return paths


def write_probabilities(path: Path, slides: list[Path], side_px: int = 128, patch_px: int = 32) -> None:
    rng = np.random.default_rng(0)
    rows = ["slide,x,y,probability"]
    for slide in slides:
        rows += [
            f"{slide.name},{x},{y},{rng.random():.4f}"
            for y in range(0, side_px, patch_px)
            for x in range(0, side_px, patch_px)
        ]
    path.write_text("\n".join(rows) + "\n")


def make_cohort(folder: Path, count: int, recipe: Recipe = RECIPE, **options: object) -> Path:
    """A manifest over `count` new slides, of 4 blocks each by the default recipe."""
    slides = write_slides(folder / "slides", count)
    write_probabilities(folder / "patches.csv", slides)
    source = PatchProbabilities(folder / "patches.csv")
    options = {"shares": SHARES} | options
    return build_cohort(list_slides(folder / "slides"), source, recipe, folder / "cohort.parquet", **options)


def corrupt_tiles(path: Path) -> None:
    """Overwrite the middle of every tile's data with zeros, which no JPEG holds."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        spans = list(zip(tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts, strict=True))
    with path.open("rb+") as file:
        for offset, size in spans:
            file.seek(offset + size // 3)
            file.write(bytes(size - size // 3))
