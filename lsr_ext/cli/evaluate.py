"""`lsr evaluate`: scores of a run, and of maps and dots in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from lsr_ext.cli.run_options import ConfigPath, DataFolder, OutputFolder, Seed, load_run

if TYPE_CHECKING:
    from lsr_ext.report.score_tables import ScoreSheet

app = typer.Typer(help="Score the methods of a run, or maps and dots in files.", no_args_is_help=True)

Columns = Annotated[str, typer.Option(help="Names of the CSV's columns of x, y, class and score.")]
Images = Annotated[
    Path | None, typer.Option(help="Draw the result on this image, or on those of this folder. Needs matplotlib.")
]
PixelSize = Annotated[
    float, typer.Option(help="Side of a pixel in the unit of the dots: 1 if they are in pixels.")
]
Output = Annotated[Path, typer.Option(help="Write scores.json, scores.csv and drawings into this folder.")]
Resamples = Annotated[int, typer.Option(min=1, help="Number of bootstrap samples for the 95 % intervals.")]
BootstrapSeed = Annotated[int, typer.Option("--seed", help="Random seed of the bootstrap.")]
Bounds = Annotated[
    str,
    typer.Option(
        "--qupath-bounds",
        help="Truth of slides counts from the corner of the slide's bounds, as in QuPath: auto (if any), on, off.",
    ),
]
_FILES = "A file, or a folder of files that are paired by name."


@app.command("run")
def run_command(
    config: ConfigPath, data: DataFolder = None, output: OutputFolder = None, seed: Seed = None
) -> None:
    """Score the trained methods of a run on held-out blocks: OUTPUT/metrics.json."""
    from lsr_ext.evaluation import evaluate
    from lsr_ext.report.method_table import label_table, method_table

    metrics = evaluate(load_run(config, data, output, seed))
    Console().print(method_table(metrics))
    if (by_label := label_table(metrics)) is not None:
        Console().print(by_label)


@app.command("cells")
def cells_command(
    context: typer.Context,
    maps: Annotated[
        Path, typer.Argument(help="Label maps: PNG, TIFF, npy or zarr; or predictions of lsr predict. " + _FILES)
    ],
    dots: Annotated[Path, typer.Argument(help="Dots: CSV, or points exported by QuPath (txt, GeoJSON).")],
    classes: Annotated[
        list[str],
        typer.Option(
            "--class",
            metavar="NAME=ID",
            help="Class of the dots and its id in the maps. Repeat. Predictions name their own.",
        ),
    ] = ["cell=1"],  # noqa: B006
    min_area_px: Annotated[int, typer.Option(help="Ignore regions of fewer pixels.")] = 1,
    dilation_px: Annotated[float, typer.Option(help="Count a dot as hit up to this far from a region.")] = 0.0,
    pixel_size: PixelSize = 1.0,
    columns: Columns = "x,y,class,score",
    images: Images = None,
    qupath_bounds: Bounds = "auto",
    output: Output = Path("scores/cells"),
    resamples: Resamples = 2000,
    seed: BootstrapSeed = 0,
) -> None:
    """Score label maps against dots: each connected region is a detection (Eq. 12 and 13).

    Dots of predictions of slides are in pixels of level 0.
    """
    from lsr_ext.metrics.map_files import holds_predictions
    from lsr_ext.report.score_cells import score_cell_files

    if holds_predictions(maps):
        from lsr_ext.report.score_slides import score_slide_cells

        _refuse(context, ("classes", "pixel_size", "images"), "label maps, not of predictions")
        options = {"min_area_px": min_area_px, "dilation_px": dilation_px, "columns": columns.split(",")}
        options |= {"qupath_bounds": qupath_bounds, "resamples": resamples, "seed": seed}
        _print(score_slide_cells(maps, dots, output, **options), output)
        return
    _refuse(context, ("qupath_bounds",), "predictions of slides, not of label maps")
    sheet = score_cell_files(
        maps,
        dots,
        _parse_classes(classes),
        output,
        images=images,
        columns=columns.split(","),
        min_area_px=min_area_px,
        dilation_px=dilation_px,
        pixel_size=pixel_size,
        resamples=resamples,
        seed=seed,
    )
    _print(sheet, output)


@app.command("dots")
def dots_command(
    sets: Annotated[
        list[Path],
        typer.Argument(metavar="DOTS...", help="Two sets: detections and truth. More: raters. " + _FILES),
    ],
    radius: Annotated[float, typer.Option(help="Largest distance of matching dots, in their unit.")] = 10.0,
    method: Annotated[
        str,
        typer.Option(help="How dots are matched: closest_first, max_cardinality, optimal or confidence_first."),
    ] = "closest_first",
    pixel_size: PixelSize = 1.0,
    columns: Columns = "x,y,class,score",
    images: Images = None,
    output: Output = Path("scores/dots"),
    resamples: Resamples = 2000,
    seed: BootstrapSeed = 0,
) -> None:
    """Score dots against dots: detections against truth, or each pair of three or more raters."""
    from lsr_ext.report.score_dots import score_dot_files

    sheet = score_dot_files(
        sets,
        output,
        radius=radius,
        method=method,
        images=images,
        columns=columns.split(","),
        pixel_size=pixel_size,
        resamples=resamples,
        seed=seed,
    )
    _print(sheet, output)


@app.command("regions")
def regions_command(
    context: typer.Context,
    pred: Annotated[
        Path,
        typer.Argument(
            help="Predicted label maps: PNG, TIFF, npy or zarr; or predictions of lsr predict. " + _FILES
        ),
    ],
    truth: Annotated[Path, typer.Argument(help="True label maps; for predictions of slides, areas as GeoJSON.")],
    classes: Annotated[str, typer.Option(help="Names of the class ids from 0.")] = "background,foreground",
    distance_px: Annotated[
        float, typer.Option(help="Width of the bands around boundaries, to either side, in pixels.")
    ] = 240.0,
    images: Images = None,
    outside: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class of a slide outside of all true areas. Default: not counted.",
        ),
    ] = None,
    qupath_bounds: Bounds = "auto",
    output: Output = Path("scores/regions"),
    resamples: Resamples = 2000,
    seed: BootstrapSeed = 0,
) -> None:
    """Score label maps against true ones: IoU and Dice, whole and near true boundaries, and Boundary IoU."""
    from lsr_ext.metrics.map_files import holds_predictions
    from lsr_ext.report.score_regions import score_region_files

    if holds_predictions(pred):
        from lsr_ext.report.score_slides import score_slide_regions

        _refuse(context, ("classes", "images"), "label maps, not of predictions")
        options = {"outside": outside, "distance_px": distance_px, "qupath_bounds": qupath_bounds}
        _print(score_slide_regions(pred, truth, output, **options, resamples=resamples, seed=seed), output)
        return
    _refuse(context, ("outside", "qupath_bounds"), "predictions of slides, not of label maps")
    names = [name.strip() for name in classes.split(",")]
    sheet = score_region_files(
        pred, truth, names, output, distance_px=distance_px, images=images, resamples=resamples, seed=seed
    )
    _print(sheet, output)


def _refuse(context: typer.Context, names: Sequence[str], of: str) -> None:
    """Refuse options that were given and would change nothing."""
    for parameter in context.command.params:
        if parameter.name in names and context.get_parameter_source(parameter.name).name == "COMMANDLINE":
            raise typer.BadParameter(f"{parameter.opts[0]} is an option of {of}")


def _parse_classes(options: Sequence[str]) -> dict[str, int]:
    ids = {}
    for option in options:
        name, _, number = option.rpartition("=")
        if not name or not number.isdecimal():
            raise ValueError(f"--class: expected NAME=ID, got {option!r}")
        ids[name] = int(number)
    return ids


def _print(sheet: ScoreSheet, output: Path) -> None:
    Console().print(sheet.table)
    print(output / "scores.csv")
