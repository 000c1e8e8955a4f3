"""Good files of every kind that the package reads, and the damage that is done to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
import yaml
from cohorts import make_cohort
from PIL import Image
from predictions import write_prediction
from slides import tissue_like, write_pyramid
from tiny_runs import write_labels_run

from lsr_ext import CountDistribution
from lsr_ext.config import load_config
from lsr_ext.training import train

Damage = Callable[[bytes, np.random.Generator], bytes]


def flip_bytes(content: bytes, random: np.random.Generator) -> bytes:
    """A few bytes replaced, most of them near the start, where formats keep what they are."""
    damaged = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        end = len(damaged) if random.random() < 0.5 else min(len(damaged), 512)
        damaged[int(random.integers(end))] = int(random.integers(256))
    return bytes(damaged)


def cut(content: bytes, random: np.random.Generator) -> bytes:
    """The start alone, as of a download that broke off."""
    return content[: int(random.integers(len(content)))]


def repeat(content: bytes, random: np.random.Generator) -> bytes:
    """A piece of it twice."""
    begin, end = sorted(int(x) for x in random.integers(len(content), size=2))
    return content[:end] + content[begin:]


def replace_number(content: bytes, random: np.random.Generator) -> bytes:
    """A run of digits replaced by a number that is hardly meant; other files get a huge 32-bit field."""
    places = [i for i, byte in enumerate(content[:4096]) if 48 <= byte <= 57]
    odd = [b"-1", b"0", b"1e309", b"NaN", b"99999999999999999999", b'"x"', b"null", b"[]"]
    if not places:
        place = int(random.integers(max(1, len(content) - 4)))
        return content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :]
    begin = end = places[int(random.integers(len(places)))]
    while end < len(content) and 48 <= content[end] <= 57:
        end += 1
    return content[:begin] + odd[int(random.integers(len(odd)))] + content[end:]


DAMAGES: tuple[Damage, ...] = (flip_bytes, cut, repeat, replace_number)


def write_inputs(folder: Path) -> dict[str, Path]:
    """A good file of each kind, by the name of its reader."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        "slide": folder / "slide.tif",
        "image": folder / "image.png",
        "photo": folder / "photo.jpg",
        "mask": folder / "mask.tif",
        "dots": folder / "dots.csv",
        "points": folder / "points.geojson",
        "regions": folder / "regions.geojson",
        "xml": folder / "regions.xml",
        "rectangles": folder / "rectangles.csv",
        "labels": folder / "labels.csv",
        "distribution": folder / "distribution.json",
        "fractions": folder / "fractions.csv",
        "config": folder / "run.yaml",
        "manifest": folder / "blocks.parquet",
        "model": folder / "model.json",
        "weights": folder / "weights.safetensors",
        "prediction": folder / "zarr.json",
    }
    write_pyramid(paths["slide"], tissue_like(256, 256), levels=2, tile_px=64)
    Image.fromarray(tissue_like(96, 96)).save(paths["image"])
    Image.fromarray(tissue_like(96, 96)).save(paths["photo"])
    tifffile.imwrite(paths["mask"], (tissue_like(96, 96)[..., 0] > 180).astype(np.uint8), tile=(32, 32))
    paths["dots"].write_text("x,y,class,score\n" + "".join(f"{i},{2 * i},cell,0.{i}\n" for i in range(9)))
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [i, 7]},
            "properties": {"objectType": "annotation", "classification": {"name": "Tumor"}},
        }
        for i in range(4)
    ]
    paths["points"].write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    write_regions(paths)
    paths["labels"].write_text("image,label\nimage.png,0\nphoto.jpg,1\n")
    CountDistribution([[0.9, 0.1], [0.5, 0.5]], [[0.05, 0.05], [0.1, 0.1]]).save(paths["distribution"])
    paths["fractions"].write_text("label,class,fraction\nlow,a,0.1\nlow,b,0.9\nhigh,a,0.6\nhigh,b,0.4\n")
    data = {"source": "labels", "labels": "labels.csv", "distribution": "distribution.json"}
    paths["config"].write_text(yaml.safe_dump({"data": data, "output": "run", "methods": ["intra"]}))
    shutil.copy(make_cohort(folder / "cohort", 2), paths["manifest"])
    trained = train_model(folder / "trained")
    shutil.copy(trained / "model.json", paths["model"])
    shutil.copy(trained / "weights.safetensors", paths["weights"])
    shutil.copy(
        write_prediction(folder / "prediction.zarr", np.eye(64, dtype=np.uint8)) / "zarr.json", paths["prediction"]
    )
    return paths


def write_regions(paths: dict[str, Path]) -> None:
    """A drawn region as QuPath and as ASAP write it, and blocks as other tools list them."""
    outline = [[10, 10], [90, 12], [50, 80], [10, 10]]
    region = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [outline]},
        "properties": {"objectType": "annotation", "classification": {"name": "Tumor", "color": [200, 0, 0]}},
    }
    paths["regions"].write_text(json.dumps({"type": "FeatureCollection", "features": [region]}))
    corners = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(outline))
    paths["xml"].write_text(
        '<ASAP_Annotations><Annotations><Annotation Name="1" Type="Polygon" PartOfGroup="tumour">'
        f"<Coordinates>{corners}</Coordinates></Annotation></Annotations></ASAP_Annotations>"
    )
    paths["rectangles"].write_text("slide,x,y,width,height\n" + "".join(f"a,{i * 64},0,64,64\n" for i in range(9)))


def train_model(folder: Path) -> Path:
    """The model folder of a run of a few steps."""
    folder.mkdir(parents=True, exist_ok=True)
    config = load_config(write_labels_run(folder))
    train(config)
    return config.output / "intra" / "model"
