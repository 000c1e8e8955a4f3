"""Prediction of a whole slide by a trained model."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from lsr_ext.inference.model import TrainedModel
from lsr_ext.inference.model_file import PredictionDescription
from lsr_ext.inference.slide_store import CHUNK_PX, NOT_PREDICTED, PredictionStore, check_finished
from lsr_ext.inference.symmetries import predict_symmetric
from lsr_ext.inference.window_grid import Rectangle, WindowGrid, blend_windows, bounds
from lsr_ext.progress import track_progress
from lsr_ext.wsi import Slide, tissue_mask
from lsr_ext.wsi.tissue import TissueMask
from lsr_ext.wsi.versions import sample_digest

BLOCK_PX = 4 * CHUNK_PX  # the side of what is predicted at once; larger blocks predict fewer windows twice
_logger = logging.getLogger(__name__)


class _View(NamedTuple):
    """A slide at the resolution that it is predicted at: microns per pixel, level-0 pixels per pixel, and size."""

    slide: Slide
    mpp: float
    step: tuple[float, float]
    height: int
    width: int


def predict_slide(
    model: TrainedModel,
    slide: Slide,
    output: str | Path,
    *,
    mpp: float | None = None,
    tissue: TissueMask | None = None,
    everywhere: bool = False,
    prediction: PredictionDescription | None = None,
    batch_size: int = 8,
    autocast: bool = False,
) -> Path:
    """Predict a slide's tissue into `<output>/<name of the slide>.zarr`; call it again to resume.

    The slide is read at the model's resolution and predicted by overlapping windows, each averaged over the
    symmetries. Blocks of 4096 px are read, predicted and written one after the other; the next one is read and the
    last one written meanwhile, so memory does not grow with the slide.

    Args:
        model: predicts it.
        slide: of known resolution.
        output: folder, created if needed.
        mpp: microns per pixel to predict at; None: the model's own.
        tissue: where to predict; None: where `tissue_mask` finds tissue.
        everywhere: predict the whole slide, without looking for tissue.
        prediction: window, overlap and symmetries in place of the model's own.
        batch_size: windows at once.
        autocast: run the network in bfloat16 where PyTorch holds it safe.

    Returns:
        The folder of the prediction; see `PredictionStore` for what it holds.

    Raises:
        MissingResolutionError: the slide's resolution is unknown.
        ValueError: no resolution for the model, or one out of range; a model that is not for colour images, or
            whose probabilities are not finite; a prediction of something else is in the way, or another process
            writes it.
    """
    view = _view(slide, checked_mpp(model, mpp))
    how = prediction or model.description.prediction
    path = Path(output) / f"{slide.path.stem}.zarr"
    about = _about(model, view, how) | {"tissue": _describe_tissue(tissue, everywhere), "autocast": autocast}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=0):
            if path.exists():
                check_finished(path, about)
                return path
            store = PredictionStore(path, (len(model.classes), view.height, view.width), about)
            mask = None if everywhere else tissue or tissue_mask(slide)
            with torch.autocast(model.device.type, torch.bfloat16, enabled=autocast):
                _predict_into(store, model, view, mask, how, batch_size)
            return store.finish()
    except Timeout as error:
        raise ValueError(f"another process is predicting {path}") from error


def checked_mpp(model: TrainedModel, mpp: float | None) -> float:
    """The resolution to predict slides at, in microns per pixel.

    Raises:
        ValueError: neither given nor known to the model, not above 0, or a model that does not take colour images.
    """
    if model.description.input.channels != 3:
        raise ValueError(f"slides have 3 channels, the model takes {model.description.input.channels}")
    found = model.mpp if mpp is None else mpp
    if found is None:
        raise ValueError("the model does not know its resolution: give mpp, in microns per pixel")
    if not 0 < found < float("inf"):
        raise ValueError(f"expected an mpp above 0, got {found}")
    return found


def _view(slide: Slide, mpp: float) -> _View:
    own = slide.known_mpp()
    step = mpp / own[0], mpp / own[1]
    height, width = int(slide.size[1] / step[1]), int(slide.size[0] / step[0])
    if not (height and width):
        raise ValueError(f"{slide.path}: expected an mpp that leaves at least one pixel, got {mpp}")
    return _View(slide, mpp, step, height, width)


def _predict_into(
    store: PredictionStore,
    model: TrainedModel,
    view: _View,
    mask: TissueMask | None,
    how: PredictionDescription,
    batch_size: int,
) -> None:
    """Predict the blocks with tissue that are not yet in the store."""
    wanted = _windows_of_blocks(WindowGrid(view.height, view.width, how.window_px, how.overlap), mask, view.step)
    if not wanted:
        _logger.warning("%s: no tissue was found, so nothing is predicted", view.slide.path.name)
    todo = [(block, windows) for block, windows in wanted if not store.is_done(block)]
    steps = track_progress(_read_ahead(view, todo), view.slide.path.name, total=len(todo), least=2)
    start, computing = perf_counter(), 0.0
    with ThreadPoolExecutor(1) as writer:
        writing = None
        for block, windows, pixels, corner in steps:
            begun = perf_counter()
            found, outside = _predict_block(model, block, windows, pixels, corner, how.symmetries, batch_size)
            computing += perf_counter() - begun
            classes, levels = _encode(model, found, outside)
            if writing is not None:
                writing.result()
            writing = writer.submit(store.write, block, classes, levels)
        if writing is not None:
            writing.result()
    _log_speed(view, todo, perf_counter() - start, computing)


def _log_speed(
    view: _View, todo: list[tuple[Rectangle, list[Rectangle]]], seconds: float, computing: float
) -> None:
    if todo:
        windows = sum(len(over) for _, over in todo)
        megapixels = sum(block.height * block.width for block, _ in todo) / 1e6
        _logger.info(
            "%s: %d windows in %.0f s, %.1f windows/s, %.1f Mpx/s; the device waited %.0f %% of the time",
            view.slide.path.name,
            windows,
            seconds,
            windows / seconds,
            megapixels / seconds,
            100 * (1 - computing / seconds),
        )


def _windows_of_blocks(
    grid: WindowGrid, mask: TissueMask | None, step: tuple[float, float]
) -> list[tuple[Rectangle, list[Rectangle]]]:
    """The blocks of the image, row by row, each with the windows over it that have any tissue; at least one."""
    found = []
    for top in range(0, grid.height, BLOCK_PX):
        for left in range(0, grid.width, BLOCK_PX):
            block = Rectangle(top, left, min(BLOCK_PX, grid.height - top), min(BLOCK_PX, grid.width - left))
            windows = grid.windows_over(block)
            if mask is not None:
                level_0 = [
                    (w.left * step[0], w.top * step[1], w.width * step[0], w.height * step[1]) for w in windows
                ]
                shares = mask.fractions(level_0)
                windows = [window for window, share in zip(windows, shares, strict=True) if share > 0]
            if windows:
                found.append((block, windows))
    return found


def _read_ahead(
    view: _View, todo: list[tuple[Rectangle, list[Rectangle]]]
) -> Iterator[tuple[Rectangle, list[Rectangle], np.ndarray, tuple[int, int]]]:
    """Blocks with their windows, the pixels of these and the pixels' corner, one read while one is predicted."""

    def read(windows: list[Rectangle]) -> tuple[np.ndarray, tuple[int, int]]:
        area = bounds(windows)
        x, y = area.left * view.step[0], area.top * view.step[1]
        return view.slide.read(x, y, area.width, area.height, mpp=view.mpp), (area.top, area.left)

    with ThreadPoolExecutor(1) as reader:
        ahead = [reader.submit(read, windows) for _, windows in todo[:1]]
        for number, (block, windows) in enumerate(todo):
            ahead += [reader.submit(read, following) for _, following in todo[number + 1 : number + 2]]
            yield (block, windows, *ahead.pop(0).result())


@torch.inference_mode()
def _predict_block(
    model: TrainedModel,
    block: Rectangle,
    windows: list[Rectangle],
    pixels: np.ndarray,
    corner: tuple[int, int],
    symmetries: int,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a block, float32 (L, height, width), and where no window is, bool (height, width)."""

    def predict(batch: list[Rectangle]) -> Tensor:
        tops, lefts = ([window[axis] - corner[axis] for window in batch] for axis in range(2))
        cut = [
            pixels[top : top + window.height, left : left + window.width]
            for window, top, left in zip(batch, tops, lefts, strict=True)
        ]
        return predict_symmetric(model.to_input(np.stack(cut)), model.probabilities, symmetries)

    found, weight = blend_windows(block, windows, predict, batch_size)
    return found.cpu().numpy(), (weight == 0).cpu().numpy()


def _encode(model: TrainedModel, probabilities: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes and probabilities in uint8; outside the windows 255 and 0. The probabilities are overwritten."""
    classes = model.decode(probabilities)
    classes[outside] = NOT_PREDICTED
    levels = torch.from_numpy(probabilities).mul_(255).round_().byte()  # on all cores, as NumPy is not
    return classes, levels.numpy()


def _describe_tissue(tissue: TissueMask | None, everywhere: bool) -> str:
    """Where a slide is predicted, for the attributes."""
    if everywhere:
        return "everywhere"
    return "found" if tissue is None else hashlib.sha256(np.packbits(tissue.mask).tobytes()).hexdigest()


def _about(model: TrainedModel, view: _View, how: PredictionDescription) -> dict[str, Any]:
    """What a prediction depends on, for its attributes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    path, shown = view.slide.path, view.slide.view.given()
    return ({"slide_view": shown} if shown else {}) | {
        "slide": path.name,
        "slide_bytes": path.stat().st_size,
        "slide_digest": sample_digest(path),
        "slide_size": list(view.slide.size),
        "slide_mpp": list(view.slide.known_mpp()),
        "slide_bounds": view.slide.bounds and list(view.slide.bounds),
        "mpp": view.mpp,
        "classes": model.classes,
        "colours": [model.colours[name] for name in model.classes],
        "prediction": how.model_dump(),
        "decoding": model.description.decoding.model_dump(),
        "model_sha256": digest.hexdigest(),
        "trained_on": model.description.trained_on,
    }
