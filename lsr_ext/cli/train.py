"""`lsr train` and `lsr demo`."""

from __future__ import annotations

from importlib.resources import as_file, files

from rich.console import Console

from lsr_ext.cli.logs import silence_lightning
from lsr_ext.cli.run_options import ConfigPath, DataFolder, OutputFolder, Seed, load_run


def train_command(
    config: ConfigPath, data: DataFolder = None, output: OutputFolder = None, seed: Seed = None
) -> None:
    """Train the methods of a configuration. An interrupted run resumes."""
    from lsr_ext.training import train

    silence_lightning()
    train(load_run(config, data, output, seed))


def demo_command(output: OutputFolder = None, seed: Seed = None) -> None:
    """Train, evaluate and report on scikit-image's sample of stained tissue: minutes on two cores."""
    from lsr_ext.evaluation import evaluate
    from lsr_ext.report import write_report
    from lsr_ext.report.method_table import method_table
    from lsr_ext.training import train

    silence_lightning()
    with as_file(files("lsr_ext.config") / "demo.yaml") as path:
        run = load_run(path, None, output, seed)
    train(run)
    metrics = evaluate(run)
    page = write_report(run)
    Console().print(method_table(metrics))
    print(page)
