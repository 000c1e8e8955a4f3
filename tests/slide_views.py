"""A small slide with all that is shown over slides: prediction, annotations, labelled blocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from slides import tissue_like, write_pyramid

from lsr_ext.data.cohort.manifest import make_table, write_table
from lsr_ext.inference.slide_store import PredictionStore
from lsr_ext.inference.window_grid import Rectangle
from lsr_ext.wsi.versions import sample_digest

MPP, PREDICTED_MPP = 0.25, 0.5
CLASSES, COLOURS = ["background", "tumour", "stroma"], ["#9ca3af", "#ffe119", "#f032e6"]
TOKEN = "token-of-tests"
LABELS, BLOCK_PX = ["low", "high"], 240


def write_view(folder: Path, height: int = 960, width: int = 1300, name: str = "slide") -> dict[str, Path]:
    """Write `slide`, `prediction`, `truth` and `blocks`: two discs of tumour and stroma, a ground of background.

    The map has half the slide's resolution; its last 50 columns are not predicted.
    """
    folder.mkdir(exist_ok=True)
    slide = folder / f"{name}.tif"
    write_pyramid(slide, tissue_like(height, width, seed=1), levels=2)
    paths = {"slide": slide, "prediction": write_prediction(folder / "predictions", slide, (width, height))}
    paths["truth"] = folder / f"{name}.geojson"
    paths["truth"].write_text(json.dumps(annotations()))
    paths["blocks"] = write_blocks(folder / f"{name}.parquet", slide, (width, height))
    return paths


def label_map(height: int, width: int) -> np.ndarray:
    """uint8 (height, width) class ids."""
    rows, columns = np.indices((height, width))
    ids = np.zeros((height, width), np.uint8)
    ids[np.hypot(rows - 0.45 * height, columns - 0.3 * width) < 0.25 * height] = 1
    ids[np.hypot(rows - 0.6 * height, columns - 0.65 * width) < 0.2 * height] = 2
    ids[:, -50:] = 255
    return ids


def write_prediction(folder: Path, slide: Path, size: tuple[int, int]) -> Path:
    """A prediction as `predict_slide` writes it, the probability 0.8 for the class of the label map."""
    width, height = (int(side * MPP / PREDICTED_MPP) for side in size)
    about = {
        "slide": slide.name,
        "slide_bytes": slide.stat().st_size,
        "slide_digest": sample_digest(slide),
        "slide_size": list(size),
        "slide_mpp": [MPP, MPP],
        "mpp": PREDICTED_MPP,
        "classes": CLASSES,
        "colours": COLOURS,
    }
    folder.mkdir(exist_ok=True)
    store = PredictionStore(folder / f"{slide.stem}.zarr", (len(CLASSES), height, width), about)
    ids = label_map(height, width)
    probabilities = np.stack([np.where(ids == c, 204, np.where(ids == 255, 0, 25)) for c in range(len(CLASSES))])
    store.write(Rectangle(0, 0, height, width), ids, probabilities.astype(np.uint8))
    return store.finish()


def annotations() -> dict:
    """GeoJSON: a region with a hole, an unclassified one, and three dots."""
    ring = [[100, 100], [500, 100], [500, 500], [100, 500], [100, 100]]
    hole = [[200, 200], [200, 300], [300, 300], [300, 200], [200, 200]]
    tumour = {"classification": {"name": "tumour", "color": [10, 200, 255]}}
    geometries = [
        ({"type": "Polygon", "coordinates": [ring, hole]}, tumour),
        ({"type": "Polygon", "coordinates": [[[700, 600], [900, 600], [900, 800], [700, 600]]]}, None),
        ({"type": "Point", "coordinates": [640, 200]}, {"name": "cell"}),
        ({"type": "MultiPoint", "coordinates": [[1000, 300], [1100, 320]]}, {"name": "cell"}),
    ]
    features = [{"type": "Feature", "geometry": one, "properties": about} for one, about in geometries]
    return {"type": "FeatureCollection", "features": features}


def write_blocks(path: Path, slide: Path, size: tuple[int, int]) -> Path:
    """A manifest of the blocks of a grid, labelled low in the left half of the slide and high in the right."""
    places = [
        (x, y)
        for y in range(0, size[1] - BLOCK_PX + 1, BLOCK_PX)
        for x in range(0, size[0] - BLOCK_PX + 1, BLOCK_PX)
    ]
    count = len(places)
    columns = {
        "slide": [slide.name] * count,
        "patient": ["p"] * count,
        "x": [x for x, _ in places],
        "y": [y for _, y in places],
        "width": [BLOCK_PX] * count,
        "height": [BLOCK_PX] * count,
        "mpp": [PREDICTED_MPP] * count,
        "size_px": [BLOCK_PX // 2] * count,
        "label_source": ["test"] * count,
        "split": ["train"] * count,
        "tissue_fraction": [1.0] * count,
    }
    labels = np.array([int(x >= size[0] / 2) for x, _ in places])
    write_table(make_table(columns, labels), path, LABELS, [], {})
    return path
