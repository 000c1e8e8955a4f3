import numpy as np
import pytest

from lsr_ext.data import classes_of_cells, read_cell_table


def write(folder, text):
    path = folder / "cells.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_two_columns_are_read_by_their_names(tmp_path):
    path = write(tmp_path, 'phenotype,x_um,cell_id\nCD8+,1.5,7\n"CK+, weak",2,12\n')
    assert read_cell_table(path, class_column="phenotype") == {7: "CD8+", 12: "CK+, weak"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column 'cell_id', got"),
        ("cell_id,kind\n1,a\n", r"expected a column 'class', got \['cell_id', 'kind'\]"),
        ("cell_id,class\n1,a\n1,b\n", "line 3: cell 1 occurs twice"),
        ("cell_id,class\n0,a\n", "line 2: expected an id above 0 and a class, got '0', 'a'"),
        ("cell_id,class\n1.5,a\n", "got '1.5', 'a'"),
        ("cell_id,class\n4\n", "got '4', None"),
        (b"cell_id,class\n1,\xff\n", "not a readable CSV table"),
    ],
)
def test_faulty_tables_are_refused_by_file_and_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_cell_table(write(tmp_path, text))


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_cell_table(tmp_path / "none.csv")


def test_cells_become_classes_and_the_others_background():
    cells = np.array([[0, 7, 7], [12, 12, 3]])
    classes = classes_of_cells(cells, {7: "a", 12: "b", 3: "other"}, {"ground": 0, "a": 1, "b": 2})
    np.testing.assert_array_equal(classes, [[0, 1, 1], [2, 2, 0]])
    assert classes.dtype == np.int64
