"""Runs of a few seconds on synthetic images: dark discs on a light ground."""

import csv
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from lsr_ext import CountDistribution

TINY_TRAINING = {
    "steps": 4,
    "group_size": 2,
    "groups_per_batch": 2,
    "checkpoint_every_steps": 2,
    "log_every_steps": 1,
    "accelerator": "cpu",
    "workers": 0,
    "network": {"features": [8] * 6, "norm_groups": 4},
}


def draw_disc(radius_px: float, size_px: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A noisy image (H, W, 3) of one disc, off centre so that no two blocks are alike, and its mask of 0 and 1."""
    rows, columns = np.indices((size_px, size_px))
    mask = np.hypot(rows - 0.43 * size_px, columns - 0.54 * size_px) < radius_px
    noise = np.random.default_rng(int(radius_px * 10)).normal(0, 8, (size_px, size_px, 3))
    image = np.where(mask[..., None], 80, 200) + noise
    return image.clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


def write_masks_run(folder: Path, size_px: int = 40, **sections: object) -> Path:
    """A folder of five images with masks, and the path of a configuration that trains on it."""
    for index, radius_px in enumerate((6, 9, 12, 15, 18)):
        image, mask = draw_disc(radius_px, size_px)
        Image.fromarray(image).save(folder / f"disc{index}.png")
        Image.fromarray(mask).save(folder / f"disc{index}_mask.png")
    data = {"source": "masks", "block_size_px": 20, "bins": 2, "test_fraction": 0.4, "distribution_blocks": 3}
    content = {"output": str(folder / "run"), "data": data, "methods": ["intra+inter"], "training": TINY_TRAINING}
    return _write_config(folder, content, sections)


def write_labels_run(folder: Path, **sections: object) -> Path:
    """A folder of eight labelled images without masks, and the path of a configuration that trains on it."""
    rows = []
    for index in range(8):
        label = index % 2
        Image.fromarray(draw_disc(6 + 9 * label + index / 4)[0]).save(folder / f"disc{index}.png")
        rows.append((f"disc{index}.png", label))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label"), *rows])
    mean, std = [[0.9, 0.1], [0.5, 0.5]], [[0.05, 0.05], [0.1, 0.1]]
    CountDistribution(mean, std, ["low", "high"], ["ground", "disc"]).save(folder / "distribution.json")
    data = {
        "source": "labels",
        "block_size_px": 40,
        "test_fraction": 0.25,
        "labels": "labels.csv",
        "distribution": "distribution.json",
    }
    content = {"output": str(folder / "run"), "data": data, "methods": ["intra"], "training": TINY_TRAINING}
    return _write_config(folder, content, sections)


def _write_config(folder: Path, content: dict, sections: dict) -> Path:
    for name, section in sections.items():
        both = isinstance(section, dict) and isinstance(content.get(name), dict)
        content[name] = content[name] | section if both else section
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(content))
    return path
