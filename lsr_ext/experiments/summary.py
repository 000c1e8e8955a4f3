"""Collect the finished runs of a table: scores by row and seed, and statistics of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from lsr_ext.experiments.plan import Plan
from lsr_ext.experiments.runs import Unscored, load_record
from lsr_ext.experiments.statistics import (
    CONFIDENCE,
    PairedDifference,
    Summary,
    gap_closed,
    paired_difference,
    summarise,
)
from lsr_ext.experiments.tables import BASELINES, Row

BySeed = dict[int, float]


@dataclass(frozen=True)
class Results:
    """The scores of the finished runs of a plan.

    Attributes:
        plan: the plan of the runs.
        records: folder's name ("method/seed0") -> the record of the finished run.
        without: the same names -> why the run has no scores.
    """

    plan: Plan
    records: Mapping[str, Mapping[str, Any]]
    without: Mapping[str, Unscored]

    @cached_property
    def scores(self) -> list[str]:
        """The keys of the table's scores that some row has, with "per_class/<class>/<score>" after them."""
        table = self.plan.table
        keys = list(table.scores)
        if table.per_class:
            classes = {
                name: None
                for record in self.records.values()
                for scores in record["scores"].values()
                for name in scores.get("per_class", {})
            }
            keys += [f"per_class/{name}/{table.per_class}" for name in classes]
        return [key for key in keys if any(self.values(row, key) for row in table.rows)]

    def values(self, row: Row, key: str) -> BySeed:
        """Return seed -> score of the row, for the seeds that have it."""
        values = {}
        for seed in self.plan.seeds:
            done = [run.name for run in self.plan.sources(row, seed) if run.name in self.records]
            value = _get(self.records[done[0]]["scores"].get(row.method), key) if done else None
            if value is not None:
                values[seed] = value
        return values

    def summary(self, row: Row, key: str) -> Summary:
        """Compute mean and spread over seeds."""
        return summarise(list(self.values(row, key).values()))

    def difference(self, row: Row, key: str) -> PairedDifference | None:
        """Compute the reference row minus this row; None for the reference itself or if the table has none."""
        reference = self.row(self.plan.table.reference)
        if reference is None or row == reference:
            return None
        return paired_difference(self.values(reference, key), self.values(row, key))

    def gap_closed(self, row: Row, key: str) -> float | None:
        """Compute the share of the gap from the low-resolution model to full supervision that is closed."""
        low, full = self.row(self.plan.table.low), self.row(self.plan.table.full)
        if low is None or full is None or row in (low, full):
            return None
        return gap_closed(*(self.values(one, key) for one in (row, low, full)))

    def row(self, name: str | None) -> Row | None:
        """Return the row of this name, or None."""
        return next((row for row in self.plan.table.rows if row.name == name), None)

    @property
    def left_out(self) -> dict[str, str]:
        """Row, or row and seed -> why this data cannot give it."""
        missing = {
            row.name: f"the scores of this data hold none (it takes {BASELINES[row.method]})"
            for row in self.plan.table.rows
            if row.is_baseline and self.records and not any(self.values(row, key) for key in self.scores)
        }
        return {**self.plan.left_out, **missing, **self._without_targets()}

    @property
    def failures(self) -> dict[str, str]:
        """Run -> why it failed."""
        return {name: one.reason for name, one in self.without.items() if not one.is_left_out}

    def _without_targets(self) -> dict[str, str]:
        left_out = {name for name, one in self.without.items() if one.is_left_out}
        found = {}
        for row in self.plan.table.rows:
            runs = {seed: run.name for (name, seed), run in self.plan.by_row.items() if name == row.name}
            reasons = {seed: self.without[run].reason for seed, run in runs.items() if run in left_out}
            if reasons and len(reasons) == len(runs):
                found[row.name] = next(iter(reasons.values()))
            else:
                found |= {f"{row.name}, seed {seed}": reason for seed, reason in reasons.items()}
        return found

    @property
    def pending(self) -> list[str]:
        """Runs that are neither done nor failed."""
        return [run.name for run in self.plan.runs if run.name not in self.records.keys() | self.without.keys()]

    def as_json(self) -> dict[str, Any]:
        """Return everything for a file: scores of each seed, statistics, and how the runs were made."""
        table = self.plan.table
        return {
            "table": table.name,
            "title": table.title,
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seeds": list(self.plan.seeds),
            "confidence": CONFIDENCE,
            "reference": table.reference,
            "rows": [self._row_as_json(row) for row in table.rows],
            "left_out": self.left_out,
            "failed": dict(self.failures),
            "pending": self.pending,
            "config": self.plan.config.model_dump(mode="json"),
            "environments": _distinct([record["environment"] for record in self.records.values()]),
        }

    def _row_as_json(self, row: Row) -> dict[str, Any]:
        runs = {str(seed): run.name for (name, seed), run in self.plan.by_row.items() if name == row.name}
        seconds = {seed: self.records[run]["seconds"] for seed, run in runs.items() if run in self.records}
        return {
            "name": row.name,
            "method": row.method,
            "overrides": dict(row.overrides),
            "family": row.family,
            "value": row.value,
            "runs": runs,
            "seconds": seconds,
            "scores": {key: self._score_as_json(row, key) for key in self.scores},
        }

    def _score_as_json(self, row: Row, key: str) -> dict[str, Any]:
        difference = self.difference(row, key)
        return {
            "seeds": {str(seed): value for seed, value in self.values(row, key).items()},
            **asdict(self.summary(row, key)),
            "paper": row.paper.get(key),
            "reference_minus_row": None if difference is None else asdict(difference),
            "gap_closed": self.gap_closed(row, key),
        }


def collect_results(plan: Plan, without: Mapping[str, Unscored] | None = None) -> Results:
    """Read the records of the plan's finished runs."""
    found = {run.name: load_record(run) for run in plan.runs}
    return Results(plan, {name: record for name, record in found.items() if record}, dict(without or {}))


def _get(scores: Any, key: str) -> float | None:
    for part in key.split("/"):
        scores = scores.get(part) if isinstance(scores, Mapping) else None
    return scores


def _distinct(items: Sequence[Any]) -> list[Any]:
    return [item for index, item in enumerate(items) if item not in items[:index]]
