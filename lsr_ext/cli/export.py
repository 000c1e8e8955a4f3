"""`lsr export`: predictions of slides as files that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Export predictions of slides to files for other programs.", no_args_is_help=True)


@app.command("ome-tiff")
def ome_tiff_command(
    prediction: Annotated[Path, typer.Argument(help="Prediction of a slide, NAME.zarr of lsr predict.")],
    output: Annotated[Path, typer.Argument(help="Write this file, .ome.tif.")],
    probability: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Export the probability of this class, not the label map.")
    ] = None,
) -> None:
    """Write a pyramidal OME-TIFF of the label map or of a class's probability."""
    from lsr_ext.inference.exports.ome_tiff import export_ome_tiff

    print(export_ome_tiff(prediction, output, probability))
