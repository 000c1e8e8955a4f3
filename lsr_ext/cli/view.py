"""`lsr view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view_command(
    slide: Annotated[
        Path,
        typer.Argument(help="The slide, or a CSV that lists one: slide[,mpp][,image][,channels][,display_range]."),
    ],
    prediction: Annotated[
        Path | None, typer.Option(help="Its prediction: NAME.zarr of lsr predict, or the folder of it.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="Annotated regions and dots, GeoJSON.")] = None,
    blocks: Annotated[Path | None, typer.Option(help="Labelled blocks, manifest of lsr cohort build.")] = None,
    mpp: Annotated[
        float | None, typer.Option(min=0, help="Microns per level-0 pixel. Default: the slide's.")
    ] = None,
    qupath_bounds: Annotated[
        str,
        typer.Option(
            help="The truth counts from the corner of the slide's bounds, as in QuPath: auto (if any), on, off."
        ),
    ] = "auto",
    host: Annotated[str, typer.Option(help="Listen on this address. Default: this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Listen on this port. Default: a free one.")] = 0,
    in_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show a slide, its prediction and annotations in the browser, until Ctrl+C. Nothing leaves this machine."""
    from lsr_ext.viewer import View, serve_view

    serve_view(
        View.open(slide, prediction, truth, blocks, mpp, qupath_bounds),
        host,
        port,
        announce=lambda address: print(f"{address}\nPress Ctrl+C to stop.", flush=True),
        in_browser=in_browser,
    )
