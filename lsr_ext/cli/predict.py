"""`lsr predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict_command(
    slides: Annotated[
        list[Path],
        typer.Argument(
            metavar="SLIDE...",
            help="Slides, folders of slides, or CSV: slide[,mpp][,image][,channels][,display_range].",
        ),
    ],
    model: Annotated[Path, typer.Option(help="Folder of the trained model, RUN/METHOD/model.")],
    output: Annotated[Path, typer.Option("--out", help="Write each prediction to OUT/NAME.zarr.")],
    mpp: Annotated[
        float | None, typer.Option(min=0, help="Predict at these microns per pixel. Default: the model's.")
    ] = None,
    tissue: Annotated[
        str,
        typer.Option(
            help="Predict: auto, where tissue is found; none, the whole slide; or where a GeoJSON or PNG says so. "
            "For several slides: a folder with one for each, named like it."
        ),
    ] = "auto",
    window_px: Annotated[int | None, typer.Option(min=1, help="Side of a window. Default: the model's.")] = None,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=0.95, help="Share of a window in the next one. Default: the model's."),
    ] = None,
    symmetries: Annotated[
        int | None, typer.Option(help="Average over 1, 2, 4 or 8 turns and mirror images. Default: the model's.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Windows at once.")] = 8,
    autocast: Annotated[bool, typer.Option("--autocast", help="Run the network in bfloat16.")] = False,
    exports: Annotated[
        list[str] | None,
        typer.Option("--export", help="Also write ome-tiff, geojson, cells or spatialdata. Repeat."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, gpu, cuda or mps; or several: all, or cuda:0,cuda:1."),
    ] = "auto",
    trust: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Also import the model's network from this package. Repeat."),
    ] = None,
) -> None:
    """Predict slides by a trained model. An interrupted prediction resumes; failed slides are reported."""
    from lsr_ext.inference import load_model, predict_slides
    from lsr_ext.inference.devices import choose_devices
    from lsr_ext.inference.slides import REPORT_NAME, collect_slides

    devices = choose_devices(device)
    trained = load_model(model, devices[0] if len(devices) == 1 else "cpu", trust or ())
    given = {"window_px": window_px, "overlap": overlap, "symmetries": symmetries}
    listed = collect_slides(slides)
    failures = predict_slides(
        trained,
        listed,
        output,
        mpp=mpp,
        everywhere=tissue == "none",
        tissue=None if tissue in ("auto", "none") else Path(tissue),
        prediction=trained.description.prediction.changed(given),
        batch_size=batch_size,
        autocast=autocast,
        exports=exports or (),
        devices=devices if len(devices) > 1 else (),
    )
    print(f"{output}: {len(listed) - len(failures)} slides predicted, {len(failures)} failed")
    if failures:
        print(output / REPORT_NAME)
        raise typer.Exit(1)
