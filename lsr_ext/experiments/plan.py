"""Plan the runs that fill a table: one for each row and seed; equal runs are done once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lsr_ext.config import RunConfig, load_config
from lsr_ext.experiments.tables import Row, Table


@dataclass(frozen=True)
class Run:
    """One training: a configuration with a single method, whose output is the run's own folder.

    `has_own_data`: the row changes the data or their distribution, so the baselines that are scored with it are
    not those of the original configuration.
    """

    config: RunConfig
    has_own_data: bool

    @property
    def folder(self) -> Path:
        """The folder of all its results."""
        return self.config.output

    @property
    def name(self) -> str:
        """Method, changes and seed."""
        return "/".join(self.folder.parts[-2:])


@dataclass(frozen=True)
class Plan:
    """The runs of a table.

    Attributes:
        table: the table with the rows that this data can give.
        config: the configuration, without the changes of the rows.
        seeds: the seeds, in order.
        left_out: row -> why the data cannot give it.
    """

    table: Table
    config: RunConfig
    seeds: tuple[int, ...]
    left_out: Mapping[str, str]
    by_row: Mapping[tuple[str, int], Run]

    @property
    def runs(self) -> list[Run]:
        """Every run once, seed by seed, so that an interrupted table has all of its rows."""
        return list({run.folder: run for run in self.by_row.values()}.values())

    def sources(self, row: Row, seed: int) -> list[Run]:
        """Return the runs that contain this row's scores for a seed; any finished one of them will do."""
        if not row.is_baseline:
            return [self.by_row[row.name, seed]]
        return [run for run in self.runs if run.config.seed == seed and not run.has_own_data]


def plan_runs(table: Table, path: Path, overrides: Mapping[str, Any], seeds: int) -> Plan:
    """Load the configuration of every row and seed.

    Rows that the configuration cannot give, such as full supervision without masks, are left out.

    Args:
        table: the rows.
        path: path of the configuration; its methods are ignored. Scores on the validation split go to a separate
            folder in its output.
        overrides: dotted keys and values for all runs, as on the command line.
        seeds: number of seeds; the first is that of the configuration.

    Raises:
        FileNotFoundError, ValueError: an invalid configuration, or one that gives no row to train.
    """
    config = load_config(path, overrides)
    shared = config.shared or config.output / "shared"
    if config.evaluation.split != "test":
        config = config.model_copy(update={"output": config.output / config.evaluation.split})
    plain = config.model_dump(mode="json")
    by_row, left_out = {}, {}
    all_seeds = tuple(range(config.seed, config.seed + seeds))
    for seed in all_seeds:
        for row in table.rows:
            if row.is_baseline or row.name in left_out:
                continue
            # A run is named only by what differs from the configuration, so that rows and tables share equal runs.
            changes = {key: value for key, value in row.overrides.items() if _get(plain, key) != value}
            folder = config.output / "runs" / _folder_name(row.method, changes) / f"seed{seed}"
            own = {"methods": [row.method], "seed": seed, "output": folder, "shared": shared / f"seed{seed}"}
            try:
                run_config = load_config(path, {**overrides, **changes, **own})
            except ValueError as error:
                left_out[row.name] = str(error).replace(f"{path}: ", "").replace("\n", "; ")
                continue
            by_row[row.name, seed] = Run(run_config, any(key.startswith("data.") for key in changes))
    if not by_row:
        reason = next(iter(left_out.values()), "baselines are scored beside a trained one")
        raise ValueError(f"{path}: no row of {table.name} to train: {reason}")
    kept = tuple(row for row in table.rows if row.name not in left_out)
    return Plan(replace(table, rows=kept), config, all_seeds, left_out, by_row)


def _get(content: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return None
        content = content[part]
    return content


def _folder_name(method: str, changes: Mapping[str, Any]) -> str:
    parts = [method, *(f"{key.rpartition('.')[2]}={value}" for key, value in sorted(changes.items()))]
    return re.sub(r"[^\w.+=,-]", "_", ",".join(parts))
