"""The command line of the colour baselines: class maps and pseudo-labels from stains."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from lsr_ext.data import read_image, read_label_table
from lsr_ext.data.images import IMAGE_SUFFIXES
from lsr_ext.files import write_atomically
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.metrics.regions import strip_rows
from lsr_ext.progress import track_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lsr_ext.baselines import StainSet

app = typer.Typer(help="Colour baselines: maps and pixel labels from stains.", no_args_is_help=True)

Images = Annotated[Path, typer.Argument(help="An image (PNG, JPEG, TIFF) or a folder of images.")]
Stains = Annotated[
    str,
    typer.Option(
        metavar="PRESET|FILE", help="multiplex, multiplex-haematoxylin, h-dab, or a YAML file of name: [r, g, b]."
    ),
]
Output = Annotated[Path, typer.Option(help="Folder of the maps: 0 = background, 1, 2, ... = the stains in order.")]
Overlay = Annotated[bool, typer.Option("--overlay", help="Also draw each map on its image: OUTPUT/overlays.")]
_IGNORED_ID = 255
_CHUNK_PX = 1024


@app.command("deconvolve")
def deconvolve_command(
    images: Images,
    stains: Stains = "multiplex",
    threshold: Annotated[float | None, typer.Option(help="Of all stains; Otsu's of each if not given.")] = None,
    output: Output = Path("deconvolution"),
    overlay: Overlay = False,
) -> None:
    """Colour deconvolution, three stains at a time: the strongest stain above its threshold."""
    from lsr_ext.baselines import deconvolution_map

    chosen, shares = _stains(stains), {}
    for name, path in _listed(images, IMAGE_SUFFIXES, "deconvolving"):
        image = read_image(path)
        label_map = deconvolution_map(image, chosen, threshold)
        shares[name] = _save_map(output, name, image, label_map, chosen.classes, overlay)
    _print_shares(shares, chosen.classes, output)


@app.command("separate")
def separate_command(
    images: Annotated[Path, typer.Argument(help="Images, or with --mpp slides: a file or a folder.")],
    stains: Stains = "multiplex",
    max_distance: Annotated[
        float | None, typer.Option(help="Colours farther from all stains, in grey levels, are background.")
    ] = None,
    mpp: Annotated[float | None, typer.Option(help="Read slides, at these microns per pixel.")] = None,
    output: Output = Path("separation"),
    overlay: Overlay = False,
) -> None:
    """L2 colour separation: the nearest stain; of slides, by strips into OUTPUT/NAME.zarr."""
    from lsr_ext.baselines import l2_map

    chosen, shares = _stains(stains), {}
    if mpp is not None:
        if overlay:
            raise ValueError("--overlay goes with images, not with slides")
        _separate_slides(images, chosen, max_distance, mpp, output)
        return
    for name, path in _listed(images, IMAGE_SUFFIXES, "separating"):
        image = read_image(path)
        label_map = l2_map(image, chosen, max_distance)
        shares[name] = _save_map(output, name, image, label_map, chosen.classes, overlay)
    _print_shares(shares, chosen.classes, output)


@app.command("pseudo-labels")
def pseudo_labels_command(
    images: Annotated[Path, typer.Argument(help="Folder of images, each a block.")],
    labels: Annotated[Path, typer.Argument(help="CSV: image,STAIN,STAIN,... of 1 = high, 0 = low, -1 = unknown.")],
    stains: Stains = "multiplex",
    least: Annotated[float, typer.Option(help="Least share of a block's pixels for a high stain.")] = 0.0025,
    most: Annotated[float, typer.Option(help="Greatest share.")] = 0.005,
    background: Annotated[float, typer.Option(help="Share for each colour that is no class.")] = 0.005,
    output: Output = Path("pseudo-labels"),
    overlay: Overlay = False,
) -> None:
    """Label the surest pixels of blocks labelled high: PNG of class ids, 255 = ignored."""
    from lsr_ext.baselines import pseudo_labels

    chosen, shares = _stains(stains), {}
    table = read_label_table(labels)
    columns = _columns(labels, table.classes, chosen.classes)
    rows = table.labels.reshape(len(table.images), -1)[:, columns]
    for name, row in track_progress(list(zip(table.images, rows, strict=True)), "labelling", least=2):
        image = read_image(images / name)
        try:
            marked = pseudo_labels(image, row, chosen, (least, most), background)
        except ValueError as error:
            raise ValueError(f"{labels}, {name}: {error}") from None
        marked[marked < 0] = _IGNORED_ID
        stem = Path(name).stem
        if stem in shares:
            raise ValueError(f"{labels}: expected images of different names, got two of {stem!r}")
        shares[stem] = _save_map(output, stem, image, marked.astype(np.uint8), chosen.classes, overlay)
    _print_shares(shares, chosen.classes, output)


def _stains(text: str) -> StainSet:
    from lsr_ext.baselines.stains import PRESETS, StainSet

    if text in PRESETS:
        return StainSet.preset(text)
    if not Path(text).is_file():
        raise FileNotFoundError(f"--stains: expected {', '.join(PRESETS)} or a file, found none at {text}")
    return StainSet.load(text)


def _listed(path: Path, suffixes: Sequence[str], what: str) -> Iterator[tuple[str, Path]]:
    files = pair_files((path, suffixes))
    for name, (file,) in track_progress(list(files.items()), what, least=2):
        yield name, file


def _columns(path: Path, given: Sequence[str] | None, classes: Sequence[str]) -> list[int]:
    """Where each class stands among the columns of labels; of one class, the column may be named label."""
    if given is None and len(classes) == 1:
        return [0]
    if given is None or set(given) != set(classes):
        found = "label" if given is None else ",".join(given)
        raise ValueError(f"{path}: expected the columns image,{','.join(classes)}, got image,{found}")
    return [given.index(name) for name in classes]


def _separate_slides(slides: Path, stains: StainSet, max_distance: float | None, mpp: float, output: Path) -> None:
    from lsr_ext.baselines import l2_map
    from lsr_ext.baselines.slide_rows import SlideRows
    from lsr_ext.data.cohort.slides import SUFFIXES
    from lsr_ext.wsi import open_slide

    shares = {}
    for name, path in _listed(slides, SUFFIXES, "separating slides"):
        rows = SlideRows(open_slide(path), mpp)
        with _new_zarr(output / f"{name}.zarr", rows.shape[:2]) as label_map:
            l2_map(rows, stains, max_distance, label_map)
            shares[name] = _shares(label_map, len(stains.classes))
    _print_shares(shares, stains.classes, output)


@contextmanager
def _new_zarr(path: Path, shape: tuple[int, ...]) -> Iterator[Any]:
    """A zarr array, uint8, that takes the place of what is at `path` when it is complete."""
    import zarr

    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        part = Path(folder) / path.name
        chunks = tuple(min(_CHUNK_PX, side) for side in shape)
        yield zarr.open(str(part), mode="w", shape=shape, chunks=chunks, dtype=np.uint8)
        if path.exists():
            shutil.move(path, Path(folder) / "old")
        part.replace(path)


def _save_map(
    output: Path, name: str, image: np.ndarray, label_map: np.ndarray, classes: Sequence[str], overlay: bool
) -> np.ndarray:
    """Write OUTPUT/NAME.png and, if wanted, its overlay; the shares of its ids."""
    buffer = io.BytesIO()
    Image.fromarray(label_map).save(buffer, format="png")
    write_atomically(output / f"{name}.png", buffer.getvalue())
    if overlay:
        from lsr_ext.report.overlays import draw_map

        figure, buffer = draw_map(image, label_map, {c: k for k, c in enumerate(classes, 1)}), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=150)
        write_atomically(output / "overlays" / f"{name}.png", buffer.getvalue())
    return _shares(label_map, len(classes))


def _shares(label_map: Any, num_classes: int) -> np.ndarray:
    """Share of the pixels of the background and of each class, (num_classes + 1,)."""
    counts = np.zeros(256, np.int64)
    rows = strip_rows(label_map)
    for top in range(0, label_map.shape[0], rows):
        counts += np.bincount(np.asarray(label_map[top : top + rows]).ravel(), minlength=256)
    return counts[: num_classes + 1] / counts.sum()


def _print_shares(shares: dict[str, np.ndarray], classes: Sequence[str], output: Path) -> None:
    table = Table("image", "background", *classes, title="share of the pixels, %")
    for name, row in shares.items():
        table.add_row(name, *(f"{100 * share:.2f}" for share in row))
    Console().print(table)
    print(output)
