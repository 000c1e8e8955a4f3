"""Masks of cells whose classes stand in tables: maps of classes for training, dots for the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.config.data import MaskFolders
from lsr_ext.data import classes_of_cells, read_cell_table
from lsr_ext.metrics import DotSet, dots_from_instances


def classify_cells(
    data: MaskFolders, folder: Path, image_names: Sequence[str], cells: Sequence[np.ndarray]
) -> Iterator[tuple[np.ndarray, DotSet]]:
    """What the tables of a folder say of the cells in its masks.

    Args:
        data: the source; `cells_suffix` is given.
        folder: of the tables.
        image_names: file names of the images.
        cells: integer (H, W), ids of cells, 0 = none.

    Yields:
        For each image a map of class ids, int64 (H, W), and the centres of the cells that are of a class.

    Raises:
        FileNotFoundError, ValueError: a table is missing or faulty, it knows none of its mask's cells, or no table
            has a class that was asked for.
    """
    class_ids = {name: index for index, name in enumerate(data.classes)}
    seen = set()
    for image_name, ids in zip(image_names, cells, strict=True):
        path = folder / f"{Path(image_name).stem.removesuffix(data.image_suffix)}{data.cells_suffix}.csv"
        table = read_cell_table(path, data.cell_id_column, data.cell_class_column)
        if not np.isin(ids, list(table)).any():
            raise ValueError(f"{path}: none of its {len(table)} cells is in the mask of {image_name}")
        seen |= set(table.values())
        classes = classes_of_cells(ids, table, class_ids)
        yield classes, dots_from_instances(ids, classes, data.classes)
    missing = [name for name in data.classes[1:] if name not in seen]
    if missing:
        raise ValueError(f"{folder}: no cell is of the class {missing[0]!r}, the tables have {sorted(seen)}")
