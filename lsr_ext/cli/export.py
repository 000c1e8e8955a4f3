"""`lsr export`: predictions of slides as files that other programs open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Prediction = Annotated[Path, typer.Argument(help="Prediction of a slide, NAME.zarr of lsr predict.")]
Classes = Annotated[
    list[str] | None, typer.Option("--class", metavar="NAME", help="Export this class. Repeat. Default: all.")
]
Bounds = Annotated[
    str,
    typer.Option(
        "--qupath-bounds",
        help="Count pixels from the corner of the slide's bounds, as QuPath does: auto (if it has any), on, off.",
    ),
]
MinArea = Annotated[float, typer.Option("--min-area-um2", min=0, help="Leave out smaller regions.")]

Tolerance = Annotated[
    float,
    typer.Option(min=0, help="Let outlines move by up to this many pixels of the prediction. 0: not at all."),
]

app = typer.Typer(help="Export predictions of slides to files for other programs.", no_args_is_help=True)


@app.command("ome-tiff")
def ome_tiff_command(
    prediction: Prediction,
    output: Annotated[Path, typer.Argument(help="Write this file, .ome.tif.")],
    probability: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Export the probability of this class, not the label map.")
    ] = None,
) -> None:
    """Write a pyramidal OME-TIFF of the label map or of a class's probability."""
    from lsr_ext.inference.exports.ome_tiff import export_ome_tiff

    print(export_ome_tiff(prediction, output, probability))


@app.command("geojson")
def geojson_command(
    prediction: Prediction,
    output: Annotated[Path, typer.Argument(help="Write this file, .geojson or .geojson.gz.")],
    tolerance_px: Tolerance = 1.0,
    min_area_um2: MinArea = 0.0,
    classes: Classes = None,
    qupath_bounds: Bounds = "auto",
    object_type: Annotated[
        str, typer.Option(help="What QuPath makes of a polygon: annotation, detection, tile or cell.")
    ] = "annotation",
) -> None:
    """Write the regions of the label map as polygons for QuPath."""
    from lsr_ext.inference.exports.geojson import export_geojson

    count = export_geojson(
        prediction,
        output,
        tolerance_px=tolerance_px,
        min_area_um2=min_area_um2,
        classes=classes,
        qupath_bounds=qupath_bounds,
        object_type=object_type,
    )
    print(f"{output}: {count} polygon{'s' if count != 1 else ''}")


@app.command("cells")
def cells_command(
    prediction: Prediction,
    output: Annotated[Path, typer.Argument(help="Write this file, .csv, .parquet, .geojson or .geojson.gz.")],
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", metavar="NAME", help="Class of cells. Repeat. Default: all but background and other."
        ),
    ] = None,
    min_area_um2: MinArea = 0.0,
    qupath_bounds: Bounds = "auto",
) -> None:
    """Write a row for each cell, a connected region of a class: centre, class, mean probability and area."""
    from lsr_ext.inference.exports.cells import export_cells

    options = {"classes": classes, "min_area_um2": min_area_um2, "qupath_bounds": qupath_bounds}
    print(f"{output}: {export_cells(prediction, output, **options)} cells")


@app.command("fractions")
def fractions_command(
    prediction: Prediction,
    output: Annotated[Path, typer.Argument(help="Write this file, .csv or .parquet.")],
    regions: Annotated[
        Path | None, typer.Option(help="GeoJSON of areas; the class of an area is its label.")
    ] = None,
    blocks: Annotated[
        Path | None, typer.Option(help="Manifest of a cohort: this slide's blocks and their labels.")
    ] = None,
    grid_um: Annotated[
        float | None, typer.Option("--grid-um", min=0, help="Side of the cells of a grid over the slide.")
    ] = None,
    distribution: Annotated[
        Path | None, typer.Option(help="Distribution of the labels, JSON: adds what each label lets expect.")
    ] = None,
    qupath_bounds: Bounds = "auto",
) -> None:
    """Write the class fractions of annotated regions, of labelled blocks, or of the cells of a grid."""
    from lsr_ext.distributions import CountDistribution
    from lsr_ext.inference.exports.fractions import export_fractions

    count = export_fractions(
        prediction,
        output,
        regions=regions,
        blocks=blocks,
        grid_um=grid_um,
        distribution=None if distribution is None else CountDistribution.load(distribution),
        qupath_bounds=qupath_bounds,
    )
    print(f"{output}: {count} areas")


@app.command("spatialdata")
def spatialdata_command(
    prediction: Prediction,
    output: Annotated[Path, typer.Argument(help="Write this folder, .zarr.")],
    tolerance_px: Tolerance = 1.0,
    min_area_um2: MinArea = 0.0,
    classes: Classes = None,
) -> None:
    """Write the label map and its regions as SpatialData (OME-Zarr). Needs the extra spatialdata."""
    from lsr_ext.inference.exports.spatialdata import export_spatialdata

    options = {"tolerance_px": tolerance_px, "min_area_um2": min_area_um2, "classes": classes}
    print(export_spatialdata(prediction, output, **options))
