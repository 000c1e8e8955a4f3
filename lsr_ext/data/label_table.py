"""A CSV of labels per image: names or numbers of labels, fractions, splits and patients."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lsr_ext.data.csv_files import clean
from lsr_ext.data.splits import SPLITS

_UNKNOWN = "-1"
_PREFIXES = ("fraction", "std")


@dataclass(frozen=True)
class LabelTable:
    """Labels of N images.

    Attributes:
        images: their names.
        labels: int64 (N,), or (N, L) with the names of L classes; -1 = unknown, everywhere if there is no label.
        classes: names of the L classes; None: one label per image.
        has_labels: whether the table has labels; otherwise it has fractions.
        fractions: float64 (N, F) in [0, 1], NaN = unknown; None: there are none.
        std: float64 (N, F), their standard deviations; NaN = unknown.
        fraction_classes: names of their F classes; "" for the column `fraction`, of the foreground.
        splits: "train", "validation" or "test" of each image; None: they are not given.
        patients: of each image, None for unknown.

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "labels.csv"
        >>> _ = path.write_text("image,tumour,stroma\\na.png,1,0\\n")
        >>> table = read_label_table(path)
        >>> table.images, table.labels.tolist(), table.classes
        (['a.png'], [[1, 0]], ['tumour', 'stroma'])
    """

    images: list[str]
    labels: np.ndarray
    classes: list[str] | None = None
    has_labels: bool = True
    fractions: np.ndarray | None = None
    std: np.ndarray | None = None
    fraction_classes: tuple[str, ...] = ()
    splits: list[str] | None = None
    patients: list[str | None] | None = None


def read_label_table(
    path: str | Path, label_names: Sequence[str] | None = None, *, names_are_ordered: bool = True
) -> LabelTable:
    """Read a CSV of labels per image.

    The header is `image`, then `label` for one label per image, or the names of classes for one label per
    class. With it or in its place: `fraction`, the share of the foreground in [0, 1], and `std`, its standard
    deviation; or `fraction_<class>` and `std_<class>`. Further: `split` (train, validation, test) and `patient`.
    An empty fraction or std is unknown. Blank lines are ignored.

    Labels are the names of `label_names`, and -1 is unknown. Labels that are all integers while the names are not
    are positions in `label_names`, if its order means something.

    Args:
        path: the file.
        label_names: names of the labels 0, 1, ...; None: labels are integers from 0.
        names_are_ordered: whether the order of the names was chosen, and is not that in which they turned up.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing or repeated, a field is missing or not a label, an image occurs twice, or
            there are no rows; the message names file and row (the header is row 1).

    Example:
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "labels.csv"
        >>> _ = path.write_text("image,label\\na.png,high\\nb.png,-1\\n")
        >>> read_label_table(path, ["low", "high"]).labels.tolist()
        [1, -1]
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a CSV of labels, found none at {path}")
    rows = list(_read_rows(path))
    columns = rows[0][1] if rows else []
    if len(columns) < 2 or columns[0] != "image":
        raise ValueError(f"{path}: expected columns image,label or image,<class>,..., got {','.join(columns)!r}")
    if len(set(columns)) < len(columns) or "" in columns:
        raise ValueError(f"{path}: expected distinct column names, got {','.join(columns)!r}")
    images = _read_images(path, rows, len(columns))
    fields = {name: [row[place] for _, row in rows[1:]] for place, name in enumerate(columns)}
    numbers = [name for name in columns if name.partition("_")[0] in _PREFIXES]
    labelled = [name for name in columns[1:] if name not in numbers and name not in ("split", "patient")]
    if not labelled and not any(name.startswith("fraction") for name in numbers):
        raise ValueError(f"{path}: expected columns image,label or image,<class>,..., got {','.join(columns)!r}")
    where = [f"{path}, row {number}" for number, _ in rows[1:]]
    columns_of_labels = [fields[name] for name in labelled]
    labels = _bind(columns_of_labels, where, label_names, names_are_ordered, path)
    per_class = bool(labelled) and labelled != ["label"]
    fractions, std, of_classes = _read_fractions(fields, numbers, where, path)
    return LabelTable(
        images,
        np.stack(labels, axis=1) if per_class else labels[0] if labels else np.full(len(images), -1),
        labelled if per_class else None,
        bool(labelled),
        fractions,
        std,
        of_classes,
        _read_splits(fields["split"], where) if "split" in fields else None,
        [clean(name) or None for name in fields["patient"]] if "patient" in fields else None,
    )


def check_distinct_images(images: Iterable[str], folder: Path, table: str | Path) -> None:
    """Refuse one image under two names, such as `a.png` and `./a.png`: it could be trained on and tested.

    Args:
        images: their names, relative to `folder`.
        folder: that the images are read from.
        table: the file that names them, for the message.

    Raises:
        ValueError: there is one.

    Example:
        >>> check_distinct_images(["a.png", "b/a.png"], Path("images"), "labels.csv")
    """
    name_of: dict[str, str] = {}
    for name in images:
        path = os.path.realpath(folder / name)
        other = name_of.setdefault(path, name)
        if other != name:
            raise ValueError(f"{table}: expected each image once, got {path} as both {other!r} and {name!r}")


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        try:
            for fields in reader:
                if fields:
                    yield reader.line_num, [field.strip() for field in fields]
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, row {reader.line_num + 1}: not a readable CSV ({error})") from error


def _read_images(path: Path, rows: Sequence[tuple[int, list[str]]], width: int) -> list[str]:
    seen: set[str] = set()
    for number, fields in rows[1:]:
        where = f"{path}, row {number}"
        if len(fields) != width:
            raise ValueError(f"{where}: expected {width} fields, got {len(fields)}")
        if not fields[0]:
            raise ValueError(f"{where}: the image is empty")
        if fields[0] in seen:
            raise ValueError(f"{where}: image {fields[0]!r} occurs a second time")
        seen.add(fields[0])
    if not seen:
        raise ValueError(f"{path}: expected at least one row of labels, got none")
    return [fields[0] for _, fields in rows[1:]]


def _bind(
    columns: Sequence[Sequence[str]],
    where: Sequence[str],
    names: Sequence[str] | None,
    names_are_ordered: bool,
    path: Path,
) -> list[np.ndarray]:
    """The labels of each column: by name, or by position where that is meant."""
    found = {field for column in columns for field in column} - {_UNKNOWN}
    if names is None:
        return [_parse_numbers(column, where) for column in columns]
    number_of = {name: number for number, name in enumerate(names)} | {_UNKNOWN: -1}
    if not found <= number_of.keys() and all(map(_is_number, found)) and not all(map(_is_number, names)):
        if not names_are_ordered:
            raise ValueError(
                f"{path}: labels are numbers, and the distribution's have names without an order of their own: "
                f"write the names {', '.join(names)}"
            )
        return [_parse_numbers(column, where) for column in columns]
    for column in columns:
        for place, field in zip(where, column, strict=True):
            if field not in number_of:
                raise ValueError(
                    f"{place}: expected a label of {', '.join(names)}, or -1 for unknown, got {field!r}"
                )
    return [np.array([number_of[field] for field in column], np.int64) for column in columns]


def _parse_numbers(column: Sequence[str], where: Sequence[str]) -> np.ndarray:
    return np.array([_parse_label(field, place) for field, place in zip(column, where, strict=True)], np.int64)


def _parse_label(field: str, where: str) -> int:
    try:
        label = int(field)
    except ValueError:
        raise ValueError(f"{where}: expected an integer label, got {field!r}") from None
    if not -1 <= label < 2**31:
        raise ValueError(f"{where}: expected a label of 0 to 2^31 - 1, or -1 for unknown, got {label}")
    return label


def _is_number(field: str) -> bool:
    try:
        int(field)
    except ValueError:
        return False
    return True


def _read_fractions(
    fields: dict[str, list[str]], numbers: Sequence[str], where: Sequence[str], path: Path
) -> tuple[np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Fractions and their std, (N, F), and the names of their classes."""
    names = [name for name in numbers if name.startswith("fraction")]
    if alone := [
        name for name in numbers if name not in names and name.replace("std", "fraction", 1) not in names
    ]:
        raise ValueError(
            f"{path}: the column {alone[0]} has no {alone[0].replace('std', 'fraction', 1)} beside it"
        )
    if not names:
        return None, None, ()
    fractions = [_parse_shares(fields[name], name, where) for name in names]
    stds = [
        _parse_shares(fields[of], of, where)
        if (of := name.replace("fraction", "std", 1)) in fields
        else np.full(len(where), np.nan)
        for name in names
    ]
    classes = tuple(name.partition("_")[2] for name in names)
    return np.stack(fractions, axis=1), np.stack(stds, axis=1), classes


def _parse_shares(column: Sequence[str], name: str, where: Sequence[str]) -> np.ndarray:
    values = np.full(len(column), np.nan)
    for index, field in enumerate(column):
        if not field:
            continue
        try:
            values[index] = float(field)
        except ValueError:
            values[index] = np.nan
        if not 0 <= values[index] <= 1:
            raise ValueError(f"{where[index]}: expected a {name} in [0, 1], or nothing for unknown, got {field!r}")
    return values


def _read_splits(column: Sequence[str], where: Sequence[str]) -> list[str]:
    for place, field in zip(where, column, strict=True):
        if field not in SPLITS:
            raise ValueError(f"{place}: expected a split of {', '.join(SPLITS)}, got {field!r}")
    return list(column)
