"""Turn a map of cell ids into a map of classes, by a table that holds the class of each cell."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from skimage.util import map_array


def read_cell_table(path: str | Path, id_column: str = "cell_id", class_column: str = "class") -> dict[int, str]:
    """Read the class of each cell from a table, as cell segmentation software exports it.

    Args:
        path: CSV with a header and a row for each cell; other columns are ignored.
        id_column: the cell's id in the mask, a whole number above 0.
        class_column: the name of its class.

    Returns:
        id -> class.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a missing column, a row without these fields, an id that is not a whole number above 0, or an
            id that occurs twice; the message names file and line.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "cells.csv"
        >>> _ = path.write_text("cell_id,class\\n1,CD3\\n2,CD8\\n")
        >>> read_cell_table(path)
        {1: 'CD3', 2: 'CD8'}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a table of cells, found none at {path}")
    found: dict[int, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        try:
            missing = {id_column, class_column} - set(reader.fieldnames or ())
            if missing:
                raise ValueError(f"{path}: expected a column {min(missing)!r}, got {reader.fieldnames or []}")
            for row in reader:
                cell, name = row[id_column] or "", row[class_column]
                if not cell.isdecimal() or not int(cell) or not name:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: expected an id above 0 and a class, "
                        f"got {cell!r}, {name!r}"
                    )
                if int(cell) in found:
                    raise ValueError(f"{path}, line {reader.line_num}: cell {cell} occurs twice")
                found[int(cell)] = name
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a readable CSV table ({error})") from error
    return found


def classes_of_cells(cells: np.ndarray, table: Mapping[int, str], class_ids: Mapping[str, int]) -> np.ndarray:
    """Make a map of classes from a map of cells.

    Args:
        cells: integer (H, W), 0 = none, else the id of a cell.
        table: id -> class; cells that are not in it, or whose class has no id, become 0.
        class_ids: class -> its id.

    Returns:
        int64 (H, W).

    Example:
        >>> cells = np.array([[0, 1], [2, 3]])
        >>> classes_of_cells(cells, {1: "CD3", 2: "CD8"}, {"CD3": 1, "CD8": 2}).tolist()
        [[0, 1], [2, 0]]
    """
    classes = [class_ids.get(name, 0) for name in table.values()]
    return map_array(cells, np.array(list(table)), np.array(classes, np.int64))
