"""The arguments of commands that work on a run, and the configuration they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lsr_ext.config import RunConfig

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="The run's configuration, YAML.")]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Read the data here. Default: data.root.")]
OutputFolder = Annotated[Path | None, typer.Option("--output", help="Write the results here. Default: output.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Random seed of the run. Default: seed.")]


def load_run(config: Path, data: Path | None, output: Path | None, seed: int | None) -> RunConfig:
    """The configuration, with the options that were given in place of its own values."""
    from lsr_ext.config import load_config

    given = {"data.root": data, "output": output, "seed": seed}
    return load_config(config, {key: value for key, value in given.items() if value is not None})
