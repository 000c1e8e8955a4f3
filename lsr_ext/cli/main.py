"""The command line: its commands, and how errors are printed."""

from __future__ import annotations

import sys

from lsr_ext.cli.extras import missing_module_message
from lsr_ext.cli.logs import configure_logging

try:
    import typer

    from lsr_ext.cli import (
        baseline,
        classifier,
        cohort,
        evaluate,
        experiment,
        export,
        predict,
        report,
        simulate,
        train,
        view,
    )
except ModuleNotFoundError as error:
    sys.exit(missing_module_message(error.name))

app = typer.Typer(help="Label super-resolution: pixel segmentation from block labels.", no_args_is_help=True)
app.command("demo")(train.demo_command)
app.command("train")(train.train_command)
app.command("predict")(predict.predict_command)
app.add_typer(export.app, name="export")
app.add_typer(evaluate.app, name="evaluate")
app.command("report")(report.report_command)
app.command("view")(view.view_command)
app.command("experiment")(experiment.experiment_command)
app.add_typer(cohort.app, name="cohort")
app.add_typer(baseline.app, name="baseline")
app.add_typer(classifier.app, name="classifier")
app.add_typer(simulate.app, name="simulate")


def main() -> None:
    """Run the command line. User errors are printed as one line, exit code 1."""
    try:
        app(prog_name="lsr")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lsr_ext"):
            raise  # a fault of this package
        sys.exit(missing_module_message(error.name, "".join(sys.argv[1:2])))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"lsr: {error}")


app.callback()(configure_logging)
