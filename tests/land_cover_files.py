"""Small files of land cover: tables and patches as the Chesapeake set has them."""

from pathlib import Path

import numpy as np

TABLES = {
    "nlcd_mu.txt": "0 0 0 0\n0.97 0.01 0.01 0.02\n0 0.92 0.06 0.01\n",
    "nlcd_sigma.txt": "0 0 0 0\n0.15 0.06 0.06 0.13\n0 0.19 0.16 0.07\n",
    "nlcd_to_lr_labels.txt": "0 0\n11 1\n41 2\n128 0\n",
    "nlcd_color.txt": "label, name, red, green, blue\n1, Open water, 1, 2, 3\n2, Deciduous forest, 1, 2, 3\n",
    "cheaseapeake_to_hr_labels.txt": "0 0\n1 1\n2 2\n3 3\n4 4\n5 4\n6 4\n15 0\n",
}


def write_tables(folder: Path, **changed: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in (TABLES | changed).items():
        (folder / name).write_text(content)
    return folder


def channels(nlcd: np.ndarray, truth: np.ndarray, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    """(1, 29, H, W) with NAIP values 10 c + column, and what must not be read set to -1."""
    array = np.full((1, 29, *size), -1, np.float32)
    array[0, :4] = 10 * np.arange(4)[:, None, None] + np.arange(size[1])
    array[0, 8], array[0, 9] = truth, nlcd
    return array
