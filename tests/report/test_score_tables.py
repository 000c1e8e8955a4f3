"""Rows of scores, on the terminal and in files."""

import csv
import io

import numpy as np
import orjson
from rich.console import Console

from lsr_ext.metrics.raters import DotScores
from lsr_ext.report.score_tables import ALL_IMAGES, merge_rows, score_rows, scores_table, write_scores

IMAGES = {
    "one": DotScores(("t", "b", "none"), np.array([2, 0, 0]), np.array([0, 1, 0]), np.array([2, 0, 0])),
    "two": DotScores(("t", "b", "none"), np.array([1, 0, 0]), np.array([0, 1, 0]), np.array([1, 2, 0])),
}
F1 = {"f1": lambda scores: scores.f1}


def rows_of(images=IMAGES):
    return score_rows(images, F1, ("t", "b", "none"), resamples=200, seed=0, counts=("tp",))


def test_images_then_the_set_with_means_and_sums():
    rows = rows_of()
    keys = [(row["image"], row["class"]) for row in rows]
    assert keys == [
        *[(image, name) for image in ("one", "two") for name in ("t", "b", "none")],
        *[(ALL_IMAGES, name) for name in ("t", "b", "none", "macro", "pooled")],
    ]
    values = {key: row["f1"] for key, row in zip(keys, rows, strict=True)}
    assert values["one", "t"] == 2 / 3
    assert np.isnan(values["one", "none"])
    assert values[ALL_IMAGES, "t"] == 2 / 3
    assert values[ALL_IMAGES, "b"] == 0
    assert values[ALL_IMAGES, "macro"] == 1 / 3  # a class that is nowhere takes no part
    assert values[ALL_IMAGES, "pooled"] == 6 / (6 + 2 + 5)
    assert [row.get("tp") for row in rows[-5:]] == [3, 0, 0, None, 3]
    assert rows[-5]["f1_low"] == rows[-5]["f1_high"] == 2 / 3
    assert "f1_low" not in rows[0]


def test_files_and_table(tmp_path):
    rows = rows_of()
    write_scores(tmp_path / "new", rows, {"radius": 5.0, "truth": tmp_path})
    content = orjson.loads((tmp_path / "new" / "scores.json").read_bytes())
    assert content["settings"] == {"radius": 5.0, "truth": str(tmp_path)}
    assert content["scores"][0] == {"image": "one", "class": "t", "tp": 2, "f1": 2 / 3}
    assert content["scores"][2]["f1"] is None
    with (tmp_path / "new" / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows)
    assert (table[0]["f1"], table[2]["f1"], table[0]["f1_low"]) == (str(2 / 3), "", "")
    assert float(table[-1]["f1_low"]) <= float(table[-1]["f1"]) <= float(table[-1]["f1_high"])
    assert not [path for path in (tmp_path / "new").iterdir() if path.name.startswith(".")]
    text = render(scores_table(rows, "title"))
    assert "0.667" in text and "0.67–0.67" in text
    assert "pooled" in text and "one" not in text.replace("none", "")


def test_one_image_has_no_intervals():
    text = render(scores_table(rows_of({"one": IMAGES["one"]}), "title"))
    assert "0.667" in text and "0.67–" not in text


def test_tables_side_by_side():
    both = merge_rows(rows_of(), score_rows(IMAGES, {"recall": lambda s: s.recall}, ("t", "b", "none"), 10, 0))
    assert both[0]["f1"] == 2 / 3 and both[0]["recall"] == 0.5


def render(table):
    console = Console(file=io.StringIO(), width=120)
    console.print(table)
    return console.file.getvalue()
