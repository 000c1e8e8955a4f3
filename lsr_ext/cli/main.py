"""The command line: cohorts of slides, colour baselines, training, scores and reports, and a demonstration."""

from __future__ import annotations

import logging
import sys
import warnings
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    from rich.console import Console
    from rich.table import Table

    from lsr_ext import config as configuration
    from lsr_ext import evaluation, report, training
    from lsr_ext.cli import baseline, classifier, cohort, evaluate, experiment, simulate
    from lsr_ext.evaluation.scoring import SCORE_TITLES, score_names
except ModuleNotFoundError as error:
    sys.exit(f"lsr: the module {error.name!r} is missing: pip install lsr_ext[all]")

app = typer.Typer(help="Label super-resolution: pixel segmentation from block labels.", no_args_is_help=True)
app.add_typer(classifier.app, name="classifier")
app.add_typer(baseline.app, name="baseline")
app.add_typer(cohort.app, name="cohort")
app.add_typer(evaluate.app, name="evaluate")
app.command("experiment")(experiment.experiment_command)
app.add_typer(simulate.app, name="simulate")

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="Configuration in YAML.")]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of the data, in place of data.root.")]
OutputFolder = Annotated[Path | None, typer.Option("--output", help="Folder of the results, in place of output.")]
Seed = Annotated[int | None, typer.Option("--seed", help="In place of seed.")]


@app.command("train")
def train_command(
    config: ConfigPath, data: DataFolder = None, output: OutputFolder = None, seed: Seed = None
) -> None:
    """Train the methods of a configuration; run again, it resumes."""
    training.train(_load(config, data, output, seed))


@evaluate.app.command("run")
def evaluate_command(
    config: ConfigPath, data: DataFolder = None, output: OutputFolder = None, seed: Seed = None
) -> None:
    """Score the trained methods on held-out blocks: OUTPUT/metrics.json."""
    _print_scores(evaluation.evaluate(_load(config, data, output, seed)))


@app.command("report")
def report_command(
    config: ConfigPath, data: DataFolder = None, output: OutputFolder = None, seed: Seed = None
) -> None:
    """Write scores, pictures and settings into one page: OUTPUT/report.html."""
    print(report.write_report(_load(config, data, output, seed)))


@app.command("demo")
def demo_command(output: OutputFolder = None, seed: Seed = None) -> None:
    """Train, evaluate and report on scikit-image's IHC image, in some minutes on two cores."""
    with as_file(files("lsr_ext.config") / "demo.yaml") as path:
        run = _load(path, None, output, seed)
    training.train(run)
    metrics = evaluation.evaluate(run)
    page = report.write_report(run)
    _print_scores(metrics)
    print(page)


def main() -> None:
    """Run the command line; what the user can mend is told in a line, with exit code 1."""
    try:
        app(prog_name="lsr")
    except (OSError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f"lsr: {error}")


@app.callback()
def _quieten() -> None:
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("lsr_ext").setLevel(logging.INFO)
    # Lightning's advice is for those who write the loop, not for those who run it.
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def _load(config: Path, data: Path | None, output: Path | None, seed: int | None) -> configuration.RunConfig:
    given: dict[str, Any] = {"data.root": data, "output": output, "seed": seed}
    return configuration.load_config(config, {key: value for key, value in given.items() if value is not None})


def _print_scores(metrics: dict[str, dict]) -> None:
    names = score_names(metrics)
    table = Table("method", *(SCORE_TITLES[name] for name in names))
    for method, scores in metrics.items():
        found = (scores.get(name) for name in names)
        table.add_row(method, *("–" if score is None else f"{score:.3f}" for score in found))
    Console().print(table)
