"""Write the scores of a set of images as a table, by image and class: to the terminal, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lsr_ext.files import write_atomically
from lsr_ext.metrics import bootstrap_interval, macro

ALL_IMAGES = "all images"
Statistics = Mapping[str, Callable[[Any], np.ndarray]]
Row = dict[str, Any]


@dataclass(frozen=True)
class ScoreSheet:
    """Rows of scores, and the table that shows them on a terminal."""

    rows: Sequence[Row]
    table: Table


def score_rows(
    images: Mapping[str, Any],
    statistics: Statistics,
    classes: Sequence[str],
    resamples: int,
    seed: int,
    counts: Sequence[str] = (),
) -> list[Row]:
    """Make a row for each image and class, and for the set: each class, their mean ("macro") and sum ("pooled").

    Args:
        images: name -> scores, all of one kind and of the same classes.
        statistics: name -> function from scores to (..., L).
        classes: names (L,).
        resamples, seed: number of resamples and random seed of the bootstrap over images; rows of the set have its
            95 % limits as "<name>_low" and "<name>_high".
        counts: attributes of the scores (L,) that the rows also contain, summed for "pooled".

    Returns:
        Rows: {"image", "class", and the value of each statistic, NaN if undefined}.
    """
    names = [*classes, "macro", "pooled"]
    total = reduce(add, images.values())
    rows = []
    for image, scores in [*images.items(), (ALL_IMAGES, total)]:
        values = {name: _with_means(statistic)(scores) for name, statistic in statistics.items()}
        pooled = scores.pooled()
        for k, label in enumerate(names if image == ALL_IMAGES else classes):
            counted = pooled if label == "pooled" else scores
            row: Row = {"image": image, "class": label}
            if label != "macro":
                row |= {name: int(getattr(counted, name)[k if counted is scores else 0]) for name in counts}
            rows.append(row | {name: float(value[k]) for name, value in values.items()})
    for name, statistic in statistics.items():
        limits = bootstrap_interval(list(images.values()), _with_means(statistic), resamples=resamples, seed=seed)
        for row, low, high in zip(rows[-len(names) :], *limits, strict=True):
            row |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return rows


def merge_rows(*tables: Sequence[Row]) -> list[Row]:
    """Join tables of the same images and classes side by side."""
    return [reduce(lambda one, other: one | other, rows) for rows in zip(*tables, strict=True)]


def scores_table(rows: Sequence[Row], title: str) -> Table:
    """Show the rows of the whole set as columns, one for each class, with intervals below the values."""
    shown = [row for row in rows if row["image"] == ALL_IMAGES]
    has_intervals = any(
        name.endswith("_low") and not _is_nan(value) for row in shown for name, value in row.items()
    )
    caption = "below a value: its 95 % interval over images" if has_intervals else None
    table = Table("", title=title, caption=caption, box=SIMPLE_HEAD)
    for row in shown:
        table.add_column(row["class"], justify="right", no_wrap=True)
    names = dict.fromkeys(name for row in shown for name in row)
    for name in names:
        if name not in ("image", "class") and not name.endswith(("_low", "_high")):
            table.add_row(name.replace("_", " "), *(_cell(row, name) for row in shown))
    return table


def write_scores(folder: Path, rows: Sequence[Row], settings: Mapping[str, Any]) -> None:
    """Write `scores.csv` and `scores.json`; a missing value is an empty field and null.

    The JSON is {"settings": ..., "scores": rows}.
    """
    fields = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fields)
    writer.writeheader()
    writer.writerows({name: "" if _is_nan(value) else value for name, value in row.items()} for row in rows)
    write_atomically(folder / "scores.csv", text.getvalue().encode())
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    content = {"settings": dict(settings), "scores": list(rows)}  # orjson writes NaN as null
    write_atomically(folder / "scores.json", orjson.dumps(content, default=str, option=options))


def _with_means(statistic: Callable[[Any], np.ndarray]) -> Callable[[Any], np.ndarray]:
    """Extend a statistic: of every class, then the mean over classes, then of all classes together."""

    def values(scores: Any) -> np.ndarray:
        by_class = statistic(scores)
        return np.concatenate([by_class, macro(by_class)[..., None], statistic(scores.pooled())], axis=-1)

    return values


def _cell(row: Row, name: str) -> str:
    if name not in row or _is_nan(row[name]):
        return "–"
    if isinstance(row[name], int):
        return str(row[name])
    low = row.get(f"{name}_low", math.nan)
    interval = "" if _is_nan(low) else f"\n{low:.2f}–{row[f'{name}_high']:.2f}"
    return f"{row[name]:.3f}{interval}"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
