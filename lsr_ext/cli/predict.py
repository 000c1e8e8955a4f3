"""`lsr predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict_command(
    slides: Annotated[
        list[Path], typer.Argument(metavar="SLIDE...", help="Slides, folders of slides, or CSV: slide[,mpp].")
    ],
    model: Annotated[Path, typer.Option(help="Folder of the trained model, RUN/METHOD/model.")],
    output: Annotated[Path, typer.Option("--out", help="Write each prediction to OUT/NAME.zarr.")],
    mpp: Annotated[
        float | None, typer.Option(min=0, help="Predict at these microns per pixel. Default: the model's.")
    ] = None,
    tissue: Annotated[
        bool, typer.Option("--tissue/--no-tissue", help="Predict tissue only, or the whole slide.")
    ] = True,
    window_px: Annotated[int | None, typer.Option(min=1, help="Side of a window. Default: the model's.")] = None,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=0.95, help="Share of a window in the next one. Default: the model's."),
    ] = None,
    symmetries: Annotated[
        int | None, typer.Option(help="Average over 1, 2, 4 or 8 turns and mirror images. Default: the model's.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows at once.")] = 16,
    device: Annotated[str, typer.Option(help="auto, cpu, gpu, cuda or mps.")] = "auto",
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Also import the model's network from this package. Repeat."),
    ] = None,
) -> None:
    """Predict slides by a trained model. An interrupted prediction resumes; failed slides are reported."""
    from lsr_ext.inference import choose_device, load_model, predict_slides
    from lsr_ext.inference.slides import REPORT_NAME, collect_slides

    trained = load_model(model, choose_device(device), trust or ())
    given = {"window_px": window_px, "overlap": overlap, "symmetries": symmetries}
    prediction = trained.description.prediction.changed(given)
    listed = collect_slides(slides)
    failures = predict_slides(
        trained, listed, output, mpp=mpp, everywhere=not tissue, prediction=prediction, batch_size=batch_size
    )
    print(f"{output}: {len(listed) - len(failures)} slides predicted, {len(failures)} failed")
    if failures:
        print(output / REPORT_NAME)
        raise typer.Exit(1)
