"""Masks of cells whose classes stand in a table: a map of classes for training, dots for the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lsr_ext.data import classes_of_cells, read_cell_table
from lsr_ext.metrics import DotSet, dots_from_instances
from lsr_ext.training.data_config import MaskFolders


class CellClasses:
    """From a mask of cell ids to one of classes, by the table beside it; remembers where each cell is."""

    def __init__(self, data: MaskFolders, folder: Path) -> None:
        self._data, self._folder = data, folder
        self._dots: dict[str, DotSet] = {}

    def __call__(self, name: str, cells: np.ndarray) -> np.ndarray:
        path = self._folder / f"{name}{self._data.cells_suffix}"
        table = read_cell_table(path, class_column=self._data.cell_class_column)
        classes = classes_of_cells(cells, table, {name: i for i, name in enumerate(self._data.classes)})
        self._dots[name] = dots_from_instances(cells, classes, self._data.classes)
        return classes

    def reduced_dots(self, image_name: str, factor: int) -> DotSet:
        """The dots of an image that was reduced by this factor."""
        dots = self._dots[Path(image_name).stem.removesuffix(self._data.image_suffix)]
        return DotSet(dots.xy / factor, dots.classes, rows=dots.rows)
