"""Carry out an experiment: plan a table's runs, do those that are missing, and update the tables meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock, Timeout

from lsr_ext.experiments.figure import draw_results
from lsr_ext.experiments.markdown import write_markdown
from lsr_ext.experiments.plan import Plan, plan_runs
from lsr_ext.experiments.runs import Execute, Unscored, execute_run, load_record
from lsr_ext.experiments.summary import Results, collect_results
from lsr_ext.experiments.tables import Table
from lsr_ext.experiments.workers import carry_out
from lsr_ext.files import write_atomically
from lsr_ext.progress import track_progress
from lsr_ext.report.png import write_figure
from lsr_ext.training.same_data import changed_parts


def run_experiment(
    table: Table,
    config: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    seeds: int = 5,
    workers: int = 2,
    execute: Execute = execute_run,
) -> Results:
    """Fill a table; call it again to do what is missing.

    Runs lie in `<output>/runs/<method and changes>/seed<k>/`, with their configuration, log, checkpoint, scores
    and record. `<output>/<table>.md`, `.json` and `.png` are written again after each run. A run that fails, or
    whose loss the data give nothing to learn from, is reported there; the others continue.

    Args:
        table: one of `TABLES`, or rows selected from it.
        config: a run's configuration; its `methods` are ignored.
        overrides: dotted keys and values that replace its own, such as {"training.steps": 100}.
        seeds: number of runs per row; seeds count up from that of the configuration.
        workers: number of runs at a time; each is a process with its share of the threads.
        execute: function from a run to its scores.

    Raises:
        FileNotFoundError, ValueError: an invalid configuration; another experiment is running in this output
            folder; or the data give none of the table's scores (raised after the first run).
    """
    plan = plan_runs(table, Path(config), overrides or {}, seeds)
    output = plan.config.output
    output.mkdir(parents=True, exist_ok=True)
    try:
        # Rows of different tables share runs; two experiments must not write the same run.
        with FileLock(output / ".experiment.lock", timeout=0):
            return _carry_out(plan, workers, execute)
    except Timeout as error:
        raise ValueError(f"another experiment is running in {output}") from error


def _carry_out(plan: Plan, workers: int, execute: Execute) -> Results:
    todo = [run for run in plan.runs if load_record(run) is None]
    without: dict[str, Unscored] = {}
    results = _collect(plan, without)
    total, done = len(plan.runs), len(plan.runs) - len(todo)
    with closing(carry_out(todo, workers, execute)) as outcomes:
        for run, unscored in track_progress(outcomes, plan.table.name, total=total, done=done, least=1):
            if unscored is not None:
                without[run.name] = unscored
                what = "is left out" if unscored.is_left_out else "failed"
                print(f"{run.name} {what}: {unscored.reason}", file=sys.stderr)
            results = _collect(plan, without)
            _write(results)
    _write(results)
    return results


def _collect(plan: Plan, without: Mapping[str, Unscored]) -> Results:
    results = collect_results(plan, without)
    _check_scores(results)
    _check_same_data(results)
    return results


def _check_same_data(results: Results) -> None:
    """Rows can be compared only where they saw the same blocks, labels and distribution."""
    first: dict[bytes, tuple[str, Mapping[str, str]]] = {}
    for name, record in results.records.items():
        config, found = record["config"], record.get("data")
        if not found:  # of an older run
            continue
        key = orjson.dumps([config["seed"], config["data"]])
        other, expected = first.setdefault(key, (name, found))
        if changed := changed_parts(expected, found):
            raise ValueError(
                f"the data changed between the runs {other} and {name} ({changed}): remove the runs on the older "
                "data, or choose another output folder"
            )


def _check_scores(results: Results) -> None:
    if results.records and not results.scores:
        wanted = ", ".join(results.plan.table.scores)
        raise ValueError(
            f"{results.plan.table.name} scores {wanted}, but the data give none of these: are there masks or dots?"
        )


def _write(results: Results) -> None:
    table, output = results.plan.table, results.plan.config.output
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_atomically(output / f"{table.name}.json", orjson.dumps(results.as_json(), option=options))
    write_atomically(output / f"{table.name}.md", write_markdown(results).encode())
    if results.records:
        write_figure(output / f"{table.name}.png", draw_results(results))
