"""The scores of a run's methods as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from lsr_ext.evaluation.scoring import SCORE_TITLES, score_names


def label_table(metrics: Mapping[str, Mapping[str, object]]) -> Table | None:
    """A row for each label, a column for each method: the fraction errors. None: no block has a label."""
    found = {
        method: scores["fraction_errors"] for method, scores in metrics.items() if "fraction_errors" in scores
    }
    if not found:
        return None
    table = Table("fraction error", *found)
    for label in next(iter(found.values())):
        table.add_row(label, *(f"{errors[label]:.3f}" for errors in found.values()))
    return table


def method_table(metrics: Mapping[str, Mapping[str, float | None]]) -> Table:
    """A row for each method, a column for each score, as `lsr_ext.evaluation.evaluate` returns them."""
    names = score_names(metrics)
    table = Table("method", *(SCORE_TITLES[name] for name in names))
    for method, scores in metrics.items():
        found = (scores.get(name) for name in names)
        table.add_row(method, *("–" if score is None else f"{score:.3f}" for score in found))
    return table
