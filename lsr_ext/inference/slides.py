"""Prediction of many slides, one after the other or over devices; those that fail are reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lsr_ext.data.cohort.slides import CohortSlide, list_slides
from lsr_ext.files import write_atomically
from lsr_ext.inference.device_queue import predict_on_devices
from lsr_ext.inference.exports.kinds import check_exports, export_beside
from lsr_ext.inference.model import TrainedModel
from lsr_ext.inference.model_file import PredictionDescription
from lsr_ext.inference.slide import checked_mpp, predict_slide
from lsr_ext.inference.tissue_files import read_tissue
from lsr_ext.progress import track_progress
from lsr_ext.wsi import SlideError

REPORT_NAME = "failed.jsonl"
_logger = logging.getLogger(__name__)


def predict_slides(
    model: TrainedModel,
    slides: Sequence[CohortSlide],
    output: str | Path,
    *,
    mpp: float | None = None,
    everywhere: bool = False,
    tissue: str | Path | None = None,
    prediction: PredictionDescription | None = None,
    batch_size: int = 8,
    autocast: bool = False,
    exports: Sequence[str] = (),
    devices: Sequence[torch.device] = (),
) -> list[dict[str, str]]:
    """Predict slides into `<output>/<name>.zarr`; call it again to resume.

    A slide that cannot be read does not stop the others; it is listed with its reason in `<output>/failed.jsonl`.

    Args:
        model: predicts them.
        slides: see `collect_slides`.
        output: folder, created if needed.
        tissue: where to predict: a folder, or a file for one slide, as for `read_tissue`; None: where tissue is
            found.
        mpp, everywhere, prediction, batch_size, autocast: as for `predict_slide`.
        exports: names of `EXPORTS`, written with their defaults beside each prediction.
        devices: predict on these, a process and a slide at a time each; none: on the model's, in this process.

    Returns:
        The slides that failed: {"slide", "reason"} each.

    Raises:
        FileNotFoundError: there is no such tissue file.
        ValueError: the model cannot predict slides, no resolution is known, no export has such a name, or a file
            of tissue for several slides. Errors of a single slide are reported.
    """
    checked_mpp(model, mpp)
    check_exports(exports)
    if tissue is not None and not Path(tissue).exists():
        raise FileNotFoundError(f"expected a file or folder of tissue, found none at {tissue}")
    if tissue is not None and len(slides) > 1 and not Path(tissue).is_dir():
        raise ValueError(
            f"expected a folder with the tissue of each of {len(slides)} slides, got the file {tissue}"
        )
    output, failures = Path(output), []
    options = {"output": output, "mpp": mpp, "everywhere": everywhere, "tissue": tissue, "prediction": prediction}
    options |= {"batch_size": batch_size, "autocast": autocast, "exports": tuple(exports)}
    if devices:
        done = predict_on_devices(predict_one, model, devices, slides, options)
    else:
        done = ((slide, predict_one(model, slide, **options)) for slide in slides)
    write_atomically(output / REPORT_NAME, b"")  # what failed before is tried again
    for number, (slide, reason) in enumerate(track_progress(done, "slides", total=len(slides), least=2), start=1):
        if reason is None:
            _logger.info("%d of %d: %s", number, len(slides), slide.path.name)
        else:
            failures.append({"slide": str(slide.path), "reason": reason})
            _logger.warning("%d of %d: %s failed: %s", number, len(slides), slide.path.name, reason)
        write_atomically(output / REPORT_NAME, "".join(json.dumps(one) + "\n" for one in failures).encode())
    return failures


def predict_one(
    model: TrainedModel,
    slide: CohortSlide,
    *,
    output: Path,
    tissue: str | Path | None,
    exports: Sequence[str],
    **options: Any,
) -> str | None:
    """Predict and export one slide; return why that failed, or None."""
    path = output / f"{slide.path.stem}.zarr"
    try:
        opened = slide.open()
        mask = None if tissue is None else read_tissue(tissue, opened)
        predict_slide(model, opened, output, tissue=mask, **options)
        for name in exports:
            export_beside(path, name)
    except torch.OutOfMemoryError as error:
        return f"the device has too little memory for a batch of its windows, give a smaller batch_size: {error}"
    except (SlideError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def collect_slides(sources: Sequence[str | Path]) -> list[CohortSlide]:
    """The slides that are named: files, folders of slides, and CSV files as of `list_slides`.

    Raises:
        FileNotFoundError: nothing of that name.
        ValueError: no slide, or two of one name, whose predictions would be one.
    """
    found: list[CohortSlide] = []
    for source in map(Path, sources):
        if source.is_dir() or source.suffix.lower() == ".csv":
            found += list_slides(source)
        elif source.is_file():
            found.append(CohortSlide(source))
        else:
            raise FileNotFoundError(
                f"expected a slide, a folder of slides or a CSV of them, found none at {source}"
            )
    names: dict[str, Path] = {}
    for slide in found:
        if slide.path.stem in names:
            raise ValueError(f"two slides of one name: {names[slide.path.stem]} and {slide.path}")
        names[slide.path.stem] = slide.path
    return found
