"""Prediction of many slides, one after the other; those that fail are reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from lsr_ext.data.cohort.slides import CohortSlide, list_slides
from lsr_ext.files import write_atomically
from lsr_ext.inference.model import TrainedModel
from lsr_ext.inference.model_file import PredictionDescription
from lsr_ext.inference.slide import checked_mpp, predict_slide
from lsr_ext.wsi import SlideError, open_slide

REPORT_NAME = "failed.jsonl"
_logger = logging.getLogger(__name__)


def predict_slides(
    model: TrainedModel,
    slides: Sequence[CohortSlide],
    output: str | Path,
    *,
    mpp: float | None = None,
    everywhere: bool = False,
    prediction: PredictionDescription | None = None,
    batch_size: int = 16,
) -> list[dict[str, str]]:
    """Predict slides into `<output>/<name>.zarr`; call it again to resume.

    A slide that cannot be read does not stop the others; it is listed with its reason in `<output>/failed.jsonl`.

    Args:
        model: predicts them.
        slides: see `collect_slides`.
        output: folder, created if needed.
        mpp, everywhere, prediction, batch_size: as for `predict_slide`.

    Returns:
        The slides that failed: {"slide", "reason"} each.

    Raises:
        ValueError: the model cannot predict slides, or no resolution is known. Errors of a single slide are
            reported.
    """
    checked_mpp(model, mpp)
    output, failures = Path(output), []
    for number, slide in enumerate(slides, start=1):
        _logger.info("%d of %d: %s", number, len(slides), slide.path.name)
        options = {"mpp": mpp, "everywhere": everywhere, "prediction": prediction, "batch_size": batch_size}
        try:
            predict_slide(model, open_slide(slide.path, mpp=slide.mpp), output, **options)
        except (SlideError, OSError, ValueError) as error:
            failures.append({"slide": str(slide.path), "reason": f"{type(error).__name__}: {error}"})
            _logger.warning("%s failed: %s", slide.path.name, error)
        write_atomically(output / REPORT_NAME, "".join(json.dumps(one) + "\n" for one in failures).encode())
    return failures


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
