"""`lsr experiment`: the paper's tables and the ablations, on one's own data."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

# Of `lsr_ext.experiments.TABLES` and `lsr_ext.config.HeldOutSplit`, which help must not import.
TableName = Enum(
    "TableName", {name: name for name in ("table3", "table4", "table5", "table9", "ablation", "peers")}, type=str
)
SplitName = Enum("SplitName", {name: name for name in ("test", "validation")}, type=str)


def experiment_command(
    table: Annotated[
        TableName, typer.Argument(help="Table of the paper, the ablations, or the losses of other methods.")
    ],
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Configuration, YAML; its methods are not used.")
    ],
    data: Annotated[Path | None, typer.Option(help="Read the data here. Default: data.root.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the results here. Default: output.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of runs per row; their seeds count up from seed.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="Number of runs at a time.")] = 2,
    steps: Annotated[int | None, typer.Option(help="Number of training steps. Default: training.steps.")] = None,
    split: Annotated[
        SplitName | None,
        typer.Option(help="Held-out split to score. Use validation to choose among settings."),
    ] = None,
    part: Annotated[SplitName | None, typer.Option("--part", hidden=True)] = None,
    vary_split: Annotated[
        bool,
        typer.Option(
            "--vary-split", help="Hold out other images for each seed, so that intervals cover them too."
        ),
    ] = False,
    rows: Annotated[
        list[str] | None,
        typer.Option("--row", metavar="NAME", help="Run only this row or family of rows. Repeat."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a key of the configuration, such as evaluation.symmetries=1. Repeat.",
        ),
    ] = None,
) -> None:
    """Fill a table with several seeds: OUTPUT/TABLE.md, .json and .png. An interrupted experiment resumes."""
    from rich.markdown import Markdown

    from lsr_ext.experiments import TABLES, run_experiment

    if part:
        typer.echo("lsr: --part is now called --split; the old name will be removed", err=True)
    chosen = TABLES[table.value].select(rows) if rows else TABLES[table.value]
    split = split or part
    given = {
        "data.root": data,
        "output": output,
        "training.steps": steps,
        "evaluation.split": split and split.value,
    }
    overrides = _parse_settings(settings or []) | {key: value for key, value in given.items() if value is not None}
    if vary_split:
        overrides["data.split_seed"] = None  # the run's own seed
    results = run_experiment(chosen, config, overrides, seeds=seeds, workers=workers)
    page = results.plan.config.output / f"{chosen.name}.md"
    Console().print(Markdown(page.read_text(encoding="utf-8")))
    print(page)
    if results.failures:
        raise typer.Exit(1)


def _parse_settings(settings: list[str]) -> dict[str, object]:
    """Dotted keys and their values, read as YAML."""
    import yaml

    parsed = {}
    for setting in settings:
        key, found, value = setting.partition("=")
        if not found or not key.strip():
            raise typer.BadParameter(f"expected KEY=VALUE, got {setting!r}", param_hint="--set")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise typer.BadParameter(f"{setting!r}: {error}", param_hint="--set") from error
    return parsed
