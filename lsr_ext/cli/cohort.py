"""`lsr cohort`: build a manifest of labelled blocks of slides, and cut the blocks into a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lsr_ext.cli import distribution

if TYPE_CHECKING:
    from lsr_ext.data.cohort import LabelSource, Recipe

app = typer.Typer(help="Label the blocks of a cohort of slides, and cut them into a store.", no_args_is_help=True)
app.add_typer(distribution.app, name="distribution")

Limit = Annotated[float, typer.Option("--limit", help="Fail if more than this share is unreadable.")]


@app.command("build")
def build_command(
    slides: Annotated[
        Path,
        typer.Argument(
            help="Folder of slides, or CSV: slide[,patient][,mpp][,split][,image][,channels][,display_range]."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Write this manifest, Parquet.")],
    probabilities: Annotated[
        Path | None, typer.Option(help="Label by patch probabilities, CSV: slide,x,y,probability.")
    ] = None,
    heat_maps: Annotated[
        Path | None, typer.Option(help="Label by heat maps: folder of NAME.npy or NAME.png.")
    ] = None,
    regions: Annotated[
        Path | None, typer.Option(help="Label by outlined regions: folder of NAME.geojson or NAME.xml.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Label by masks of class ids: folder of NAME.png.")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Name of a class of the regions or masks. Repeat.")
    ] = None,
    qupath_bounds: Annotated[
        str,
        typer.Option(
            help="Count pixels of regions from the bounds of slides that have some, as QuPath does: on, off, or "
            "auto: for GeoJSON, not for XML."
        ),
    ] = "auto",
    mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of slides for which neither CSV nor file says it.")
    ] = None,
    tissue_masks: Annotated[
        Path | None, typer.Option(help="Take tissue from this folder of masks NAME.png, not 0 for tissue.")
    ] = None,
    tissue_threshold: Annotated[
        float | None, typer.Option(help="Saturation above which a pixel is tissue, from 0 to 1.")
    ] = None,
    keep_pen: Annotated[bool, typer.Option("--keep-pen", help="Count pen marks as tissue.")] = False,
    preset: Annotated[
        str, typer.Option(help="Recipe to start from; the options below change it.")
    ] = "breast-cancer",
    patch_px: Annotated[int | None, typer.Option(help="Side of a patch, in pixels at 40x.")] = None,
    merge: Annotated[int | None, typer.Option(help="Number of patches per block, across and down.")] = None,
    merge_by: Annotated[
        str | None,
        typer.Option(
            help="Value of a block by its patches: maximum or area. Default: area for regions and masks."
        ),
    ] = None,
    stride_px: Annotated[
        int | None, typer.Option(help="Distance between blocks, in pixels at 40x. Default: their side.")
    ] = None,
    offset_px: Annotated[
        tuple[int, int] | None, typer.Option(help="Corner of the first block, in pixels at 40x. Default: 0 0.")
    ] = None,
    rectangles: Annotated[
        Path | None,
        typer.Option(help="Take these blocks: CSV slide,x,y,width,height, or folder of NAME.csv. Level-0 pixels."),
    ] = None,
    size_px: Annotated[int | None, typer.Option(help="Read blocks resized to this side, in pixels.")] = None,
    edge: Annotated[
        list[float] | None, typer.Option(help="Inner edge between two bins of labels. Repeat.")
    ] = None,
    min_tissue: Annotated[
        float | None, typer.Option(help="Leave out blocks with less tissue than this share.")
    ] = None,
    share: Annotated[
        list[str] | None, typer.Option(metavar="SPLIT=SHARE", help="Share of a split, such as train=0.8. Repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the splits.")] = 0,
    limit: Limit = 0.05,
    workers: Annotated[int, typer.Option(help="Number of processes.")] = 1,
) -> None:
    """Write the manifest of a cohort: labelled blocks of slides. An interrupted run resumes."""
    from lsr_ext.data import cohort
    from lsr_ext.files import write_atomically

    given = {"patch_px": patch_px, "merge": merge, "size_px": size_px, "min_tissue": min_tissue}
    given |= {"merge_by": merge_by, "stride_px": stride_px, "offset_px": offset_px}
    recipe = _recipe(preset, given | {"edges": tuple(edge) if edge else None})
    source = _source(probabilities, heat_maps, regions, masks, classes or (), qupath_bounds)
    shares = _shares(share)
    listing = cohort.scan_slides(slides)
    listed = cohort.with_mpp(listing.slides, mpp)
    tissue = cohort.TissueFinder(tissue_masks, tissue_threshold, keep_pen)
    places = None if rectangles is None else cohort.Rectangles(rectangles)
    checks = cohort.check_cohort(listed, source, recipe, tissue, workers, places)
    write_atomically(Path(f"{output}.checks.csv"), cohort.checks_as_csv(checks).encode())
    print("\n".join([*listing.describe_skipped(), cohort.format_checks(checks)]))
    options = {"shares": shares, "seed": seed, "limit": limit, "workers": workers, "tissue": tissue}
    cohort.build_cohort(listed, source, recipe, output, rectangles=places, **options)
    manifest = cohort.read_manifest(output)
    left_out = len(cohort.read_report(f"{output}.report.jsonl"))
    used = len(manifest.slides()[0])
    without = len(listed) - left_out - used
    print(
        f"{output}: {len(manifest)} blocks of {used} slides, {left_out} slides left out, {without} without a "
        "labelled block on tissue"
    )


@app.command("cut")
def cut_command(
    manifest: Annotated[Path, typer.Argument(help="The manifest of a cohort.")],
    store: Annotated[Path, typer.Argument(help="Write the store into this folder.")],
    shard_blocks: Annotated[int, typer.Option(help="Number of blocks per file.")] = 256,
    limit: Limit = 0.05,
) -> None:
    """Cut the blocks of a cohort into a store, for fast training. An interrupted run resumes."""
    from lsr_ext.data import cohort

    total = len(cohort.read_manifest(manifest))
    cohort.cut_cohort(manifest, store, shard_blocks=shard_blocks, limit=limit)
    kept = len(cohort.StoredBlocks(store).manifest)
    print(f"{store}: {kept} blocks, {total - kept} left out")


def _recipe(preset: str, given: dict[str, object]) -> Recipe:
    from lsr_ext.data.cohort import PRESETS

    if preset not in PRESETS:
        raise ValueError(f"expected one of the presets {', '.join(PRESETS)}, got {preset!r}")
    return replace(PRESETS[preset], **{name: value for name, value in given.items() if value is not None})


def _source(
    probabilities: Path | None,
    heat_maps: Path | None,
    regions: Path | None,
    masks: Path | None,
    classes: Sequence[str],
    qupath_bounds: str,
) -> LabelSource:
    from lsr_ext.data.cohort import HeatMaps, Masks, PatchProbabilities, Regions

    given = [path for path in (probabilities, heat_maps, regions, masks) if path is not None]
    if len(given) != 1:
        raise ValueError(f"expected one of --probabilities, --heat-maps, --regions, --masks, got {len(given)}")
    if probabilities:
        return PatchProbabilities(probabilities)
    if heat_maps:
        return HeatMaps(heat_maps)
    return Regions(regions, classes, qupath_bounds) if regions else Masks(given[0], classes)


def _shares(given: Sequence[str] | None) -> dict[str, float] | None:
    if given is None:
        return None
    shares = [_share(text) for text in given]
    if len(dict(shares)) < len(shares):
        raise ValueError(f"expected one share for each split, got {', '.join(given)}")
    return dict(shares)


def _share(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise ValueError(f"expected a split and its share, such as train=0.8, got {text!r}") from None
