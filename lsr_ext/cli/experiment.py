"""The command line of the experiments: the paper's tables and the ablations on one's own data."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.markdown import Markdown

from lsr_ext import experiments
from lsr_ext.config import HeldOutSplit

PartName = Enum("PartName", {name: name for name in get_args(HeldOutSplit)}, type=str)
TableName = Enum("TableName", {name: name for name in experiments.TABLES}, type=str)


def experiment_command(
    table: Annotated[TableName, typer.Argument(help="A table of the paper, or the ablations.")],
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration in YAML; not its methods.")],
    data: Annotated[Path | None, typer.Option(help="Folder of the data, in place of data.root.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of the results, in place of output.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs per row; they count up from seed.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 2,
    steps: Annotated[int | None, typer.Option(help="In place of training.steps.")] = None,
    part: Annotated[
        PartName | None, typer.Option(help="Held-out part to score: to choose among settings, take validation.")
    ] = None,
    vary_split: Annotated[
        bool, typer.Option("--vary-split", help="Each seed holds out other images: intervals speak of them too.")
    ] = False,
    rows: Annotated[
        list[str] | None, typer.Option("--row", metavar="NAME", help="Only this row or family; repeat it.")
    ] = None,
) -> None:
    """Fill a table with several seeds: OUTPUT/TABLE.md, .json and .png; run again, it goes on."""
    chosen = experiments.TABLES[table.value]
    if rows:
        chosen = chosen.select(rows)
    given: dict[str, Any] = {
        "data.root": data,
        "output": output,
        "training.steps": steps,
        "evaluation.split": part and part.value,
    }
    overrides = {key: value for key, value in given.items() if value is not None}
    if vary_split:
        overrides["data.split_seed"] = None  # the run's own seed
    results = experiments.run_experiment(chosen, config, overrides, seeds=seeds, workers=workers)
    page = results.plan.config.output / f"{chosen.name}.md"
    Console().print(Markdown(page.read_text(encoding="utf-8")))
    print(page)
    if results.failures:
        raise typer.Exit(1)
