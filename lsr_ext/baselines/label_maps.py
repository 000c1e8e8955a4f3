"""Class maps and pseudo-labels of folders of images, written as PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lsr_ext.baselines.pseudo_labels import pseudo_labels
from lsr_ext.baselines.stains import StainSet
from lsr_ext.data.images import IMAGE_SUFFIXES, read_image
from lsr_ext.data.label_table import LabelTable, read_label_table
from lsr_ext.data.png import write_png
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.metrics.regions import strip_rows
from lsr_ext.progress import track_progress

IGNORED_ID = 255  # in files; -1 in arrays
Observer = Callable[[str, np.ndarray, np.ndarray], None]


def map_images(
    images: Path,
    make_map: Callable[[np.ndarray], np.ndarray],
    num_classes: int,
    output: Path,
    observe: Observer | None = None,
) -> dict[str, np.ndarray]:
    """Write the class map of each image to OUTPUT/NAME.png.

    Args:
        images: an image (PNG, JPEG, TIFF) or a folder of images.
        make_map: from an image, uint8 (H, W, 3), to its map, uint8 (H, W): 0 = background, 1 to num_classes.
        num_classes: C.
        output: folder of the maps, created if needed.
        observe: called with the name, the image and the map of each, for example to draw an overlay.

    Returns:
        Name -> `class_shares` of its map.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: no readable images, or two of one name.
    """
    shares = {}
    files = pair_files((images, IMAGE_SUFFIXES))
    for name, (path,) in track_progress(list(files.items()), "mapping images", least=2):
        image = read_image(path)
        label_map = make_map(image)
        shares[name] = _write_map(output, name, image, label_map, num_classes, observe)
    return shares


def pseudo_label_images(
    images: Path,
    labels: Path,
    stains: StainSet,
    output: Path,
    *,
    share: tuple[float, float] = (0.0025, 0.005),
    background_share: float = 0.005,
    observe: Observer | None = None,
) -> dict[str, np.ndarray]:
    """Write the pseudo-labels of blocks to OUTPUT/NAME.png: 0 = background, 1 to C = the classes, 255 = ignored.

    Args:
        images: folder of images, each a block.
        labels: CSV with the columns image, then each class of `stains` (or `label`, if there is one class):
            1 = high, 0 = low, -1 = unknown.
        stains: their standard colours, C classes.
        output: folder, created if needed.
        share, background_share: as for `pseudo_labels`.
        observe: called with the name, the image and the labels of each.

    Returns:
        Name -> `class_shares` of its labels, ignored pixels left out.

    Raises:
        FileNotFoundError: a missing file.
        ValueError: other columns or labels, unreadable images, or images of one name; the file is named.
    """
    table = read_label_table(labels)
    names = [Path(name).stem for name in table.images]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{labels}: expected images of different names, got two of {min(repeated)!r}")
    rows = table.labels.reshape(len(table.images), -1)[:, _class_columns(labels, table, stains.classes)]
    shares = {}
    blocks = list(zip(names, table.images, rows, strict=True))
    for name, file, row in track_progress(blocks, "labelling images", least=2):
        image = read_image(images / file)
        try:
            marked = pseudo_labels(image, row, stains, share, background_share)
        except ValueError as error:
            raise ValueError(f"{labels}, {file}: {error}") from None
        marked[marked < 0] = IGNORED_ID
        shares[name] = _write_map(output, name, image, marked.astype(np.uint8), len(stains.classes), observe)
    return shares


def class_shares(label_map: Any, num_classes: int) -> np.ndarray:
    """Share of a map's pixels that are background and that are of each class.

    Args:
        label_map: uint8 (H, W), sliced by strips of rows, so that it may be a zarr array.
        num_classes: C.

    Returns:
        float64 (C + 1,) in [0, 1]; ids above C count as pixels of no class.

    Example:
        >>> class_shares(np.array([[0, 1], [1, 2]], np.uint8), num_classes=2).tolist()
        [0.25, 0.5, 0.25]
    """
    counts = np.zeros(256, np.int64)
    rows = strip_rows(label_map)
    for top in range(0, label_map.shape[0], rows):
        counts += np.bincount(np.asarray(label_map[top : top + rows]).ravel(), minlength=256)
    return counts[: num_classes + 1] / counts.sum()


def _write_map(
    output: Path, name: str, image: np.ndarray, label_map: np.ndarray, num_classes: int, observe: Observer | None
) -> np.ndarray:
    write_png(output / f"{name}.png", label_map)
    if observe:
        observe(name, image, label_map)
    return class_shares(label_map, num_classes)


def _class_columns(path: Path, table: LabelTable, classes: Sequence[str]) -> list[int]:
    """The column of each class in the table's labels; that of a single class may be called label."""
    if table.classes is None and len(classes) == 1:
        return [0]
    if table.classes is None or set(table.classes) != set(classes):
        found = "label" if table.classes is None else ",".join(table.classes)
        raise ValueError(f"{path}: expected the columns image,{','.join(classes)}, got image,{found}")
    return [table.classes.index(name) for name in classes]
