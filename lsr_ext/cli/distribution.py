"""`lsr cohort distribution`: the count distribution of a cohort."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

    from lsr_ext import CountDistribution

app = typer.Typer(help="Write the count distribution of a cohort, with a picture.", no_args_is_help=True)

ManifestPath = Annotated[Path, typer.Argument(help="The manifest of a cohort.")]
Output = Annotated[Path, typer.Argument(help="Write this JSON; the picture goes beside it, as PNG.")]
Classes = Annotated[list[str] | None, typer.Option("--class", help="Name of a pixel class, in order. Repeat.")]
Split = Annotated[str, typer.Option(help="Use the blocks of this split.")]
PerLabel = Annotated[int, typer.Option(min=1, help="Number of blocks per label.")]
Seed = Annotated[int, typer.Option(help="Random seed of the draw.")]


@app.command("fractions")
def fractions_command(
    manifest: ManifestPath, output: Output, classes: Classes = None, split: Split = "train"
) -> None:
    """Estimate from the fractions that the manifest keeps: of labels by regions or masks."""
    from lsr_ext.data.cohort import read_manifest
    from lsr_ext.data.cohort.distribution import distribution_of_fractions

    _write(output, *distribution_of_fractions(read_manifest(manifest), classes, split))


@app.command("draw")
def draw_command(
    manifest: ManifestPath,
    folder: Annotated[Path, typer.Argument(help="Write NAME.geojson of the slides into this folder.")],
    blocks: PerLabel = 12,
    split: Split = "train",
    seed: Seed = 0,
) -> None:
    """Pick blocks of each label and write their outlines, to draw the classes in with QuPath."""
    from lsr_ext.data.cohort import read_manifest
    from lsr_ext.data.cohort.distribution import choose_blocks, export_blocks

    read = read_manifest(manifest)
    rows = choose_blocks(read, blocks, seed, split)
    files = export_blocks(read, rows, folder)
    print(f"{folder}: {len(rows)} blocks of {len(files)} slides to draw in; then: lsr cohort distribution drawn")


@app.command("drawn")
def drawn_command(
    manifest: ManifestPath,
    folder: Annotated[Path, typer.Argument(help="Folder of NAME.geojson with the drawn regions.")],
    output: Output,
    classes: Classes = None,
) -> None:
    """Estimate from the regions that were drawn in the outlined blocks; the first class is what is not drawn."""
    from lsr_ext.data.cohort import read_manifest
    from lsr_ext.data.cohort.distribution import distribution_of_drawings

    if not classes or len(classes) < 2:
        raise ValueError("expected --class at least twice: first what is not drawn, then the drawn classes")
    distribution, fractions, labels = distribution_of_drawings(read_manifest(manifest), folder, classes)
    empty = int((fractions[:, 1:].sum(1) == 0).sum())
    print(f"{len(labels)} blocks; nothing is drawn in {empty}, which are taken as {classes[0]!r}")
    _write(output, distribution, fractions, labels)


@app.command("table")
def table_command(
    name: Annotated[str, typer.Argument(help="Table of the paper: table1, table6 or table7.")], output: Output
) -> None:
    """Write a table of the paper."""
    from lsr_ext import CountDistribution

    _write(output, CountDistribution.paper(name))


def _write(
    output: Path,
    distribution: CountDistribution,
    fractions: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> None:
    from lsr_ext.files import write_atomically
    from lsr_ext.report.distribution_figure import draw_distribution
    from lsr_ext.report.png import figure_png

    picture = output.with_suffix(".png")
    distribution.save(output)
    write_atomically(picture, figure_png(draw_distribution(distribution, fractions, labels)))
    for z, label in enumerate(distribution.labels):
        shares = zip(
            distribution.classes, distribution.mean[z].tolist(), distribution.std[z].tolist(), strict=True
        )
        count = "" if labels is None else f", {int((labels == z).sum())} blocks"
        print(f"label {label!r}{count}: " + ", ".join(f"{c} {mean:.3g} ± {std:.2g}" for c, mean, std in shares))
    print(f"{output}\n{picture}")
