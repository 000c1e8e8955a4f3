"""`lsr baseline`: class maps and pseudo-labels from the colours of stains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    import numpy as np

    from lsr_ext.baselines import StainSet

app = typer.Typer(help="Make class maps and pseudo-labels from the colours of stains.", no_args_is_help=True)

Images = Annotated[Path, typer.Argument(help="An image (PNG, JPEG, TIFF) or a folder of images.")]
Stains = Annotated[
    str,
    typer.Option(
        metavar="PRESET|FILE", help="multiplex, multiplex-haematoxylin, h-dab, or a YAML file of name: [r, g, b]."
    ),
]
Output = Annotated[
    Path, typer.Option(help="Write the maps into this folder: 0 = background, 1, 2, ... = the stains in order.")
]
Overlay = Annotated[bool, typer.Option("--overlay", help="Also draw each map on its image: OUTPUT/overlays.")]


@app.command("deconvolve")
def deconvolve_command(
    images: Images,
    stains: Stains = "multiplex",
    threshold: Annotated[
        float | None, typer.Option(help="Least amount of a stain. Default: Otsu's threshold of each stain.")
    ] = None,
    output: Output = Path("deconvolution"),
    overlay: Overlay = False,
) -> None:
    """Map images by colour deconvolution: each pixel has its strongest stain above the threshold."""
    from lsr_ext.baselines import StainSet, deconvolution_map
    from lsr_ext.baselines.label_maps import map_images

    found = StainSet.find(stains)
    make_map = partial(deconvolution_map, stains=found, threshold=threshold)
    shares = map_images(images, make_map, len(found.classes), output, _drawer(overlay, output, found))
    _print_shares(shares, found, output)


@app.command("separate")
def separate_command(
    images: Annotated[Path, typer.Argument(help="An image or, with --mpp, a slide; or a folder of them.")],
    stains: Stains = "multiplex",
    max_distance: Annotated[
        float | None,
        typer.Option(help="Map colours farther than this from all stains to background, in grey levels."),
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="Read slides, at this many microns per pixel.")] = None,
    output: Output = Path("separation"),
    overlay: Overlay = False,
) -> None:
    """Map images by the nearest stain in colour (L2). Maps of slides are written to OUTPUT/NAME.zarr."""
    from lsr_ext.baselines import StainSet, l2_map

    found = StainSet.find(stains)
    if mpp is None:
        from lsr_ext.baselines.label_maps import map_images

        make_map = partial(l2_map, stains=found, max_distance=max_distance)
        shares = map_images(images, make_map, len(found.classes), output, _drawer(overlay, output, found))
    elif overlay:
        raise ValueError("--overlay goes with images, not with slides")
    else:
        from lsr_ext.baselines.slide_maps import map_slides

        shares = map_slides(images, found, mpp, output, max_distance)
    _print_shares(shares, found, output)


@app.command("pseudo-labels")
def pseudo_labels_command(
    images: Annotated[Path, typer.Argument(help="Folder of images, each a block.")],
    labels: Annotated[Path, typer.Argument(help="CSV: image,STAIN,STAIN,... of 1 = high, 0 = low, -1 = unknown.")],
    stains: Stains = "multiplex",
    least: Annotated[
        float, typer.Option(help="Least share of a block's pixels to label as a stain that is high.")
    ] = 0.0025,
    most: Annotated[
        float, typer.Option(help="Largest share of a block's pixels to label as such a stain.")
    ] = 0.005,
    background: Annotated[
        float, typer.Option(help="Share of a block's pixels to label as each colour that is no class.")
    ] = 0.005,
    output: Output = Path("pseudo-labels"),
    overlay: Overlay = False,
) -> None:
    """Label the surest pixels of blocks labelled high. Maps of class ids, 255 = ignored."""
    from lsr_ext.baselines import StainSet
    from lsr_ext.baselines.label_maps import pseudo_label_images

    found = StainSet.find(stains)
    shares = pseudo_label_images(
        images,
        labels,
        found,
        output,
        share=(least, most),
        background_share=background,
        observe=_drawer(overlay, output, found),
    )
    _print_shares(shares, found, output)


def _drawer(overlay: bool, output: Path, stains: StainSet) -> Callable[[str, np.ndarray, np.ndarray], None] | None:
    """What draws each map into OUTPUT/overlays, if asked for."""
    if not overlay:
        return None
    from lsr_ext.report.overlays import draw_map
    from lsr_ext.report.png import write_figure

    ids = {name: k for k, name in enumerate(stains.classes, 1)}

    def draw(name: str, image: np.ndarray, label_map: np.ndarray) -> None:
        write_figure(output / "overlays" / f"{name}.png", draw_map(image, label_map, ids), 150)

    return draw


def _print_shares(shares: Mapping[str, np.ndarray], stains: StainSet, output: Path) -> None:
    table = Table("image", "background", *stains.classes, title="share of the pixels, %")
    for name, row in shares.items():
        table.add_row(name, *(f"{100 * share:.2f}" for share in row))
    Console().print(table)
    print(output)
