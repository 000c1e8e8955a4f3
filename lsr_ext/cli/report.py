"""`lsr report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lsr_ext.cli.run_options import DataFolder, OutputFolder, Seed, load_run


def report_command(
    source: Annotated[
        Path,
        typer.Argument(
            help="Configuration of a run, YAML; manifest of a cohort, .parquet; or folder of predictions."
        ),
    ],
    data: DataFolder = None,
    output: OutputFolder = None,
    seed: Seed = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Predictions of the cohort's slides, the folder of lsr predict.")
    ] = None,
    slides: Annotated[
        Path | None,
        typer.Option(
            help="Slides of a folder of predictions: a folder, or CSV: "
            "slide[,mpp][,image][,channels][,display_range]."
        ),
    ] = None,
    distribution: Annotated[
        Path | None,
        typer.Option(help="Class fractions by label, JSON or a model's folder: compare blocks with labels."),
    ] = None,
) -> None:
    """Write a page on a run, a cohort or predictions of slides: OUTPUT/report.html, with all pictures in it."""
    if source.is_dir() or source.suffix == ".parquet":
        from lsr_ext.report import write_slides_report

        if data is not None or seed is not None:
            raise typer.BadParameter("--data and --seed are of runs")
        page = write_slides_report(
            source, predictions=predictions, slides=slides, distribution=distribution, output=output
        )
    else:
        from lsr_ext.report import write_report

        if predictions or slides or distribution:
            raise typer.BadParameter("--predictions, --slides and --distribution are of slides")
        page = write_report(load_run(source, data, output, seed))
    print(page)
