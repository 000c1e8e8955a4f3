"""`lsr train` and `lsr demo`."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from rich.console import Console

from lsr_ext.cli.logs import silence_lightning
from lsr_ext.cli.run_options import ConfigPath, DataFolder, OutputFolder, Seed, load_run

if TYPE_CHECKING:
    from lsr_ext.config import RunConfig


def train_command(
    config: ConfigPath, data: DataFolder = None, output: OutputFolder = None, seed: Seed = None
) -> None:
    """Train the methods of a configuration. An interrupted run resumes."""
    from lsr_ext.training import train

    silence_lightning()
    train(load_run(config, data, output, seed))


def demo_command(output: OutputFolder = None, seed: Seed = None) -> None:
    """Train, evaluate, report and predict on scikit-image's sample of stained tissue: minutes on two cores."""
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
    _show_slide(run)


def _show_slide(run: RunConfig) -> None:
    """Predict the demonstration's slide, where slides can be read."""
    try:
        from lsr_ext.demo import predict_demo_slide
    except ImportError as error:
        print(f"Without the slide: {error}")
        return
    shown = predict_demo_slide(run)
    print(f"{shown.exported}: the label map for QuPath")
    print(f"The slide in the browser:\n{shown.view_command}")
