"""Patch probabilities of slides and images in the CSV that `lsr cohort build --probabilities` reads."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.baselines.patch_classifier import PatchClassifier, classify_patches, predict_probabilities
from lsr_ext.data import list_images, read_image
from lsr_ext.data.cohort import CohortSlide, QuarantineLimitError, Recipe
from lsr_ext.data.cohort.grid import Grid
from lsr_ext.data.cohort.quarantine import DEFAULT_LIMIT
from lsr_ext.files import write_atomically
from lsr_ext.progress import track_progress
from lsr_ext.wsi import Slide, SlideError
from lsr_ext.wsi.handles import in_threads
from lsr_ext.wsi.versions import slide_version

_HEADER = ("slide", "x", "y", "probability")
_VERSION = 1  # version of the content of a part; a part of another version is made again
_READ_AT_ONCE = 256  # patches, each input_px on a side
_logger = logging.getLogger(__name__)


def predict_slide(model: PatchClassifier, slide: Slide, patch_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the probability of every whole patch of a slide, read at the classifier's `input_px`.

    Args:
        model: the classifier, on the device to compute on.
        slide: a slide with a known resolution.
        patch_px: the side of a patch in pixels at 40x: 2000 px are 1000 level-0 pixels of a 20x slide.

    Returns:
        int64 (P, 4) of x, y, width, height in level-0 pixels, row by row; float32 (P,) in [0, 1].

    Raises:
        SlideError: the slide cannot be read, or its resolution is unknown.
    """
    input_px = model.settings.input_px
    recipe = Recipe(patch_px, merge=1, size_px=input_px, edges=(0.5,))
    rectangles = Grid.over(slide.size, recipe.patch_side(slide.known_mpp())).rectangles()
    probabilities = [np.empty(0, np.float32)]
    for start in range(0, len(rectangles), _READ_AT_ONCE):
        chosen = rectangles[start : start + _READ_AT_ONCE].tolist()
        patches = in_threads(lambda rectangle: slide.read_resized(*rectangle, (input_px, input_px)), chosen)
        probabilities.append(classify_patches(model, patches))
    return rectangles, np.concatenate(probabilities)


def predict_slides(
    model: PatchClassifier,
    slides: Sequence[CohortSlide],
    output: str | Path,
    *,
    patch_px: int | None = None,
    limit: float = DEFAULT_LIMIT,
) -> dict[str, str]:
    """Write the probabilities of all patches of slides: slide, x, y, probability; x and y are level-0 pixels.

    Each slide's rows are stored in OUTPUT.parts/. Rows of the same slide, weights and patches are used again, so
    an interrupted run continues. A slide that cannot be read is tried again once with a new handle, then left out.

    Args:
        model: the classifier, on the device to compute on.
        slides: see `list_slides`.
        output: the CSV.
        patch_px: side of a patch in pixels at 40x; None: that of the classifier.
        limit: the largest share of slides that may be left out, in [0, 1].

    Returns:
        The slides that were left out, with the reason.

    Raises:
        QuarantineLimitError: more were left out than `limit` allows.
    """
    output = Path(output)
    patch_px = model.settings.patch_px if patch_px is None else patch_px
    made_by = [_VERSION, model.digest(), patch_px]
    parts, left_out = [], {}
    for slide in track_progress(slides, "slides", least=2):
        try:
            parts.append(_part(model, slide, patch_px, made_by, output.with_name(f"{output.name}.parts")))
        except (SlideError, OSError) as error:
            left_out[str(slide.path)] = f"{type(error).__name__}: {error}"
            _logger.warning("%s: left out: %s", slide.path, error)
        if len(left_out) > limit * len(slides):
            raise QuarantineLimitError(
                f"{len(left_out)} of {len(slides)} slides left out, more than the limit of {limit:.2%}; the last: "
                f"{list(left_out.values())[-1]}"
            )
    write_atomically(output, _lines([_HEADER]) + b"".join(part.read_bytes() for part in parts))
    return left_out


def predict_images(
    model: PatchClassifier, folder: str | Path, output: str | Path, *, patch_px: int | None = None
) -> list[np.ndarray]:
    """Write the probabilities of all patches of a folder of images, in the form of `predict_slides`.

    Args:
        model: on the device that is to compute.
        folder: of PNG, JPEG or TIFF files.
        output: the CSV.
        patch_px: side of a patch in the images' pixels; None: the classifier's own.

    Returns:
        Per image, in the order of names, what `predict_probabilities` returns.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no images, or an image smaller than a patch.
    """
    patch_px = model.settings.patch_px if patch_px is None else patch_px
    paths = list_images(folder)
    probabilities = predict_probabilities(model, map(read_image, paths), patch_px)
    write_probabilities(output, [path.name for path in paths], probabilities, patch_px)
    return probabilities


def write_probabilities(
    output: str | Path, names: Sequence[str], probabilities: Sequence[np.ndarray], patch_px: int
) -> None:
    """Write the probabilities of images, from `predict_probabilities`, in the same form.

    Args:
        output: the CSV.
        names: names of the images; they must differ.
        probabilities: (rows, columns) for each image; NaN = unknown gets no row.
        patch_px: the side of a patch.

    Raises:
        ValueError: names that repeat, or a number of names that differs from the number of images.
    """
    if len(set(names)) != len(probabilities):
        raise ValueError(f"expected {len(probabilities)} distinct names, got {list(names)}")
    rows = [
        (name, column * patch_px, row * patch_px, f"{grid[row, column]:.9g}")
        for name, grid in zip(names, probabilities, strict=True)
        for row, column in np.argwhere(~np.isnan(grid)).tolist()
    ]
    write_atomically(Path(output), _lines([_HEADER, *rows]))


def _part(model: PatchClassifier, slide: CohortSlide, patch_px: int, made_by: list[object], folder: Path) -> Path:
    facts = [*made_by, str(slide.path), *slide_version(slide.path), slide.mpp, *slide.view.given().items()]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    part = folder / f"{slide.path.stem}-{digest}.csv"
    if part.exists():
        return part
    rectangles, probabilities = _predict_twice(model, slide, patch_px)
    rows = [
        (f"{slide.label}{slide.path.suffix}", x, y, f"{probability:.9g}")
        for (x, y), probability in zip(rectangles[:, :2].tolist(), probabilities.tolist(), strict=True)
    ]
    write_atomically(part, _lines(rows))
    return part


def _predict_twice(model: PatchClassifier, slide: CohortSlide, patch_px: int) -> tuple[np.ndarray, np.ndarray]:
    opened = slide.open()
    try:
        return predict_slide(model, opened, patch_px)
    except (SlideError, OSError):
        opened.forget()
    return predict_slide(model, opened, patch_px)


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
