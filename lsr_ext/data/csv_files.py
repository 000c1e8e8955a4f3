"""Read CSV files that people make with spreadsheets; errors name the file and the row."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from lsr_ext.data.geojson import read_text


def read_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] | None = None
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield for each row where it stands, for messages, and its fields without the spaces around them.

    Args:
        path: the file, in UTF-8.
        required: columns that must be there.
        optional: columns that may be there, and no others; None: any.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another encoding, a missing or unknown column, or a row with more or fewer fields.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    header = [name.strip() for name in next(reader, [])]
    unknown = set() if optional is None else set(header) - {*required, *optional}
    if not set(required) <= set(header) or unknown or len(set(header)) < len(header):
        others = "".join(f"[,{name}]" for name in optional or ())
        raise ValueError(f"{path}: expected columns {','.join(required)}{others}, got {','.join(header)}")
    for fields in reader:
        where = f"{path}, row {reader.line_num}"
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            raise ValueError(f"{where}: expected {len(header)} fields, got {len(fields)}")
        yield where, {name: field.strip() for name, field in zip(header, fields, strict=True)}


def clean(text: str) -> str:
    """Return a name without spaces around it, runs of spaces as one, and accents in one way of writing."""
    return " ".join(unicodedata.normalize("NFC", text).split())
