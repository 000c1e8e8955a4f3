"""Write simulated fields and slides to files, with a note that they are simulated and how to make them again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lsr_ext import __version__
from lsr_ext.data.png import write_png
from lsr_ext.data.pyramids import write_pyramid
from lsr_ext.data.simulate.fields import SimulatedField, simulate_field, simulate_labels
from lsr_ext.data.simulate.options import CLASSES, MARKERS, MPP, FieldOptions
from lsr_ext.data.simulate.slide import simulate_section
from lsr_ext.files import write_atomically
from lsr_ext.progress import track_progress


def write_fields(
    folder: str | Path,
    count: int,
    *,
    size_px: int = 400,
    seed: int = 0,
    options: FieldOptions | None = None,
    count_noise: float = 0.0,
) -> None:
    """Write `simulate_fields` and their labels into a folder.

    images/NAME.png; masks/NAME.png, 8-bit class ids; dots/NAME.csv with x, y, class; labels.csv with image (the
    path images/NAME.png) and a column per marker, 1 = high; simulated.json with all parameters.

    Args:
        folder: output folder; created if missing.
        count: number of fields, at least 1.
        size_px, seed, options: as for `simulate_fields`.
        count_noise: as for `simulate_labels`.

    Raises:
        ValueError: a count below 1, or an error of `simulate_field` or `simulate_labels`.
    """
    if count < 1:
        raise ValueError(f"expected a count of at least 1, got {count}")
    folder, options = Path(folder), options or FieldOptions()
    rows = []
    for index in track_progress(range(count), "simulating"):
        name = f"simulated_{index:05d}"
        field = simulate_field(size_px, (seed, index), options)
        write_png(folder / "images" / f"{name}.png", field.image)
        _write_truth(field, folder / "masks" / f"{name}.png", folder / "dots" / f"{name}.csv")
        # Each field has its own noise, independent of the count.
        labels = simulate_labels(
            [field], least_per_mm2=options.high_per_mm2, count_noise=count_noise, seed=(seed, index)
        )
        rows.append([f"images/{name}.png", *labels[0].tolist()])
    write_atomically(folder / "labels.csv", _csv(("image", *MARKERS), rows))
    note = {"count": count, "size_px": size_px, "seed": seed, "count_noise": count_noise}
    write_atomically(folder / "simulated.json", _note("fields", options, note))


def simulate_slide(
    path: str | Path, size_px: int = 2048, seed: int = 0, options: FieldOptions | None = None
) -> SimulatedField:
    """Simulate a slide: a section of tissue on glass whose regions of 400 um hold different cells.

    Writes NAME.tif, a pyramid of JPEG tiles (quality 85) at 1 um per pixel that `lsr_ext.wsi.open_slide` reads,
    and beside it NAME_mask.png, NAME_dots.csv and NAME_simulated.json. Memory: about 80 bytes per pixel.

    Args:
        path: path of the slide, ending in .tif or .tiff.
        size_px, seed, options: as for `simulate_field`; `options.jpeg_quality` is not used.

    Returns:
        The section; its image is not yet compressed.

    Raises:
        ValueError: another suffix, or a size out of range.
    """
    path, options = Path(path), options or FieldOptions()
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"expected a path ending in .tif or .tiff, got {path}")
    section = simulate_section(size_px, seed, options)
    write_pyramid(path, section.image, MPP, description="simulated")
    beside = path.with_suffix("").as_posix()
    _write_truth(section, Path(f"{beside}_mask.png"), Path(f"{beside}_dots.csv"))
    write_atomically(Path(f"{beside}_simulated.json"), _note("slide", options, {"size_px": size_px, "seed": seed}))
    return section


def write_slides(
    folder: str | Path,
    count: int,
    *,
    slides_per_patient: int = 2,
    size_px: int = 2048,
    seed: int = 0,
    options: FieldOptions | None = None,
) -> None:
    """Write simulated slides and their exact truth into a folder, as a cohort to build and to train on.

    slides/NAME.tif, as `simulate_slide` writes it; masks/NAME.png, 8-bit class ids; cells/NAME.png, 1 where any
    cell is; dots/NAME.csv with x, y, class; slides.csv with slide and patient; simulated.json with all parameters.

    Args:
        folder: output folder; created if missing.
        count: number of slides, at least 1.
        slides_per_patient: slides that follow each other and are one patient's, at least 1.
        size_px, seed, options: as for `simulate_slide`.

    Raises:
        ValueError: a number below 1, or an error of `simulate_slide`.
    """
    if count < 1 or slides_per_patient < 1:
        raise ValueError(f"expected counts of at least 1, got {count} and {slides_per_patient}")
    folder, options = Path(folder), options or FieldOptions()
    rows = []
    for index in track_progress(range(count), "simulating"):
        name = f"simulated_{index:05d}"
        section = simulate_section(size_px, (seed, index), options)
        write_pyramid(folder / "slides" / f"{name}.tif", section.image, MPP, description="simulated")
        _write_truth(section, folder / "masks" / f"{name}.png", folder / "dots" / f"{name}.csv")
        write_png(folder / "cells" / f"{name}.png", (section.mask > 0).astype(np.uint8))
        rows.append([f"slides/{name}.tif", f"patient {index // slides_per_patient}"])
    write_atomically(folder / "slides.csv", _csv(("slide", "patient"), rows))
    note = {"count": count, "slides_per_patient": slides_per_patient, "size_px": size_px, "seed": seed}
    write_atomically(folder / "simulated.json", _note("slides", options, note))


def _note(what: str, options: FieldOptions, parameters: Mapping[str, object]) -> bytes:
    note = {
        "simulated": what,
        "note": "Simulated by lsr_ext.data.simulate; not real tissue. Results on it are to be named simulated.",
        "lsr_ext": __version__,
        "classes": CLASSES,
        "mpp": MPP,
        **parameters,
        "options": asdict(options),
    }
    return json.dumps(note, indent=2).encode()


def _write_truth(field: SimulatedField, mask: Path, dots: Path) -> None:
    write_png(mask, field.mask.astype(np.uint8))
    write_atomically(dots, _dots_csv(field))


def _dots_csv(field: SimulatedField) -> bytes:
    # Truncated, not rounded, so that a dot stays in its pixel.
    places = np.floor(field.dots * 1000) / 1000
    names = np.array(field.classes)[field.dot_classes]
    rows = ([f"{x:.3f}", f"{y:.3f}", name] for (x, y), name in zip(places, names, strict=True))
    return _csv(("x", "y", "class"), rows)


def _csv(header: Sequence[str], rows: object) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()
