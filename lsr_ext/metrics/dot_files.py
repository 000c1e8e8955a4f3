"""Read the dots of an image from a file; errors name the file and the row."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.data.geojson import read_features
from lsr_ext.metrics.dot_set import DEFAULT_CLASS, DotSet

DOT_SUFFIXES = (".csv", ".txt", ".tsv", ".geojson", ".json")
COLUMNS = ("x", "y", "class", "score")
_MAX_FILE_BYTES = 2**30


def read_dots(path: str | Path, columns: Sequence[str] = COLUMNS) -> DotSet:
    """Read the dots of one image.

    - `.csv`: a header, then a row for each dot.
    - `.txt`, `.tsv`: points as QuPath exports them: the same, with tabs between the fields.
    - `.geojson`, `.json`: points as QuPath exports them: features of type Point or MultiPoint, and polygons of
      cells, whose centroids count; see `read_features` for the forms and the class. Polygons of annotations and
      lines are passed over, with a warning. The row is the number of the feature.

    Classes and scores may be missing; a dot without a class gets the class "cell". Other columns are ignored;
    where none is the class, and another holds words, a warning names it.

    Args:
        path: the file.
        columns: the header's names of x, y, the class and the score, upper or lower case; "none" for a class or a
            score that the file has not. Other names have to be there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown suffix, no such columns, a row with a missing field or with coordinates that
            are not finite numbers, other geometry, or a file over 1 GiB. The message names file and row.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp()) / "dots.csv"
        >>> _ = path.write_text("x,y,class\\n3.5,4,CD3\\n")
        >>> dots = read_dots(path)
        >>> dots.xy.tolist(), dots.classes.tolist()
        ([[3.5, 4.0]], ['CD3'])
    """
    if len(columns) != len(COLUMNS):
        raise ValueError(f"expected names of the columns {', '.join(COLUMNS)}, got {', '.join(columns)!r}")
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in DOT_SUFFIXES:
        raise ValueError(f"{path}: expected a file of dots ({', '.join(DOT_SUFFIXES)})")
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of dots, found none at {path}")
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"{path}: expected at most {_MAX_FILE_BYTES} bytes, got {path.stat().st_size}")
    is_geojson = suffix in (".geojson", ".json")
    rows = list(
        _geojson_rows(path) if is_geojson else _table_rows(path, columns, "," if suffix == ".csv" else "\t")
    )
    numbers, xs, ys, classes, scores = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    has_scores = any(score is not None for score in scores)
    if has_scores and None in scores:
        raise ValueError(f"{path}, row {numbers[scores.index(None)]}: expected a score, got none")
    xy = np.array([xs, ys], dtype=np.float64).T
    return DotSet(xy, classes, scores if has_scores else None, source=str(path), rows=numbers)


def _table_rows(path: Path, columns: Sequence[str], separator: str) -> Iterator[tuple]:
    """Yield row number, x, y, class and score of each row; the header is row 1."""
    # utf-8-sig: spreadsheets put a byte-order mark before the first column's name.
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, delimiter=separator)
        try:
            header = [name.strip().lower() for name in next(reader, [])]
            x, y, class_, score = (
                header.index(name.lower()) if name.lower() in header else None for name in columns
            )
            if x is None or y is None:
                raise ValueError(
                    f"{path}: expected columns {columns[0]} and {columns[1]}, got {', '.join(header)!r}"
                )
            _check_named(path, columns, header, (x, y, class_, score))
            is_sought = class_ is None and columns[2].lower() != "none"
            others = set(range(len(header))) - {x, y, score} if is_sought else set()
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                others = _warn_of_words(path, header, fields, others)
                where = f"{path}, row {reader.line_num}"
                if len(fields) <= max(x, y, class_ or 0, score or 0):
                    raise ValueError(f"{where}: expected {len(header)} fields, got {len(fields)}")
                yield (
                    reader.line_num,
                    _number(fields[x], "x", where),
                    _number(fields[y], "y", where),
                    _class_name(None if class_ is None else fields[class_].strip()),
                    None if score is None else _number(fields[score], "score", where),
                )
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}, row {reader.line_num + 1}: not readable as text ({error})") from error


def _check_named(path: Path, columns: Sequence[str], header: Sequence[str], places: Sequence[int | None]) -> None:
    """Raise if a column that somebody named is not there; x, y, class and score are looked for unasked."""
    for name, default, place in zip(columns, COLUMNS, places, strict=True):
        if place is None and name.lower() not in (default, "none"):
            raise ValueError(f"{path}: expected a column {name!r} as {default}, got {', '.join(header)!r}")


def _warn_of_words(path: Path, header: Sequence[str], fields: Sequence[str], others: set[int]) -> set[int]:
    """Warn once, of a column of words that may be the class; the columns that are still to look at."""
    for place in sorted(others):
        if place < len(fields) and re.search(r"[^\W\d_]", fields[place]) and not _is_number(fields[place]):
            warnings.warn(
                f"{path}: no column 'class', so that every dot is of the class {DEFAULT_CLASS!r}; if "
                f"{header[place]!r} ({fields[place].strip()!r}, ...) is the class, name it among the columns",
                stacklevel=2,
            )
            return set()
    return others


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _geojson_rows(path: Path) -> Iterator[tuple]:
    """Yield the same for features, numbered from 1."""
    passed_over: Counter[str] = Counter()
    features, used = read_features(path), 0
    for feature in features:
        where, kind = f"{path}, row {feature.number}", feature.geometry.get("type", "no geometry")
        coordinates = feature.geometry.get("coordinates")
        if kind in ("Point", "MultiPoint"):
            points = [coordinates] if kind == "Point" else coordinates if isinstance(coordinates, list) else [None]
        elif kind in ("Polygon", "MultiPolygon") and feature.kind != "annotation":
            points = [_centroid(coordinates, kind, where)]
        else:
            passed_over[f"{kind} of an {feature.kind}" if feature.kind else kind] += 1
            continue
        used += 1
        for point in points:
            if not isinstance(point, list) or len(point) < 2:
                raise ValueError(f"{where}: expected coordinates [x, y], got {point}")
            name = _class_name(feature.name)
            yield feature.number, _number(point[0], "x", where), _number(point[1], "y", where), name, None
    counts = ", ".join(f"{count} {kind}" for kind, count in passed_over.items())
    if passed_over and not used:
        raise ValueError(f"{path}: expected points, or polygons of cells, got {counts}")
    if passed_over:
        warnings.warn(f"{path}: features that are no dots were passed over: {counts}", stacklevel=2)


def _centroid(coordinates: object, kind: str, where: str) -> list[float]:
    """The centroid of a polygon, or of the first of several; [x, y]."""
    try:
        ring = np.array((coordinates if kind == "Polygon" else coordinates[0])[0], np.float64)[:, :2]
    except (TypeError, ValueError, IndexError, KeyError):
        raise ValueError(f"{where}: expected the outline of a cell, got {str(coordinates)[:80]}") from None
    corner = ring[0].copy()  # products of large coordinates would lose digits
    (x, y), (next_x, next_y) = (ring - corner).T, (np.roll(ring, -1, axis=0) - corner).T
    cross = x * next_y - next_x * y
    if not cross.sum():
        return (ring[:-1] if len(ring) > 1 else ring).mean(axis=0).tolist()
    centre = np.array([(x + next_x) @ cross, (y + next_y) @ cross]) / (3 * cross.sum())
    return (corner + centre).tolist()


def _class_name(name: str | None) -> str:
    # QuPath writes "null" for points without a class.
    return DEFAULT_CLASS if name in (None, "", "null") else name


def _number(field: object, name: str, where: str) -> float:
    try:
        number = float(field)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: expected a finite number as {name}, got {field!r}")
    return number
