"""Prediction of a whole slide by a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lsr_ext.inference.model import TrainedModel
from lsr_ext.inference.model_file import PredictionDescription
from lsr_ext.inference.slide_store import CHUNK_PX, NOT_PREDICTED, PredictionStore, check_finished
from lsr_ext.inference.symmetries import predict_symmetric
from lsr_ext.inference.window_grid import Rectangle, WindowGrid, blend_windows, bounds
from lsr_ext.progress import track_progress
from lsr_ext.wsi import Slide, tissue_mask
from lsr_ext.wsi.tissue import TissueMask

BLOCK_PX = 4 * CHUNK_PX  # what is predicted at once: larger repeats fewer windows, and takes more memory


def predict_slide(
    model: TrainedModel,
    slide: Slide,
    output: str | Path,
    *,
    mpp: float | None = None,
    tissue: TissueMask | None = None,
    everywhere: bool = False,
    prediction: PredictionDescription | None = None,
    batch_size: int = 16,
) -> Path:
    """Predict a slide's tissue into `<output>/<name of the slide>.zarr`; call it again to resume.

    The slide is read at the model's resolution and predicted by overlapping windows, as `TrainedModel.predict`
    does with an image. Blocks of 4096 px are read, predicted and written one after the other, the next one read
    and the last one written meanwhile, so memory does not grow with the slide.

    Args:
        model: predicts it.
        slide: of known resolution.
        output: folder, created if needed.
        mpp: microns per pixel to predict at; None: the model's own.
        tissue: where to predict; None: where `tissue_mask` finds tissue.
        everywhere: predict the whole slide, without looking for tissue.
        prediction: window, overlap and symmetries in place of the model's own.
        batch_size: windows at once.

    Returns:
        The folder of the prediction; see `PredictionStore` for what it holds.

    Raises:
        MissingResolutionError: the slide's resolution is unknown.
        ValueError: neither the model nor `mpp` gives a resolution, the model is not for colour images, or a
            prediction of something else is in the way.
    """
    how = prediction or model.description.prediction
    mpp = mpp or model.mpp
    if mpp is None:
        raise ValueError("the model does not know its resolution: give mpp, in microns per pixel")
    if model.description.input.channels != 3:
        raise ValueError(f"slides have 3 channels, the model takes {model.description.input.channels}")
    own = slide.known_mpp()
    step = mpp / own[0], mpp / own[1]
    height, width = int(slide.size[1] / step[1]), int(slide.size[0] / step[0])
    path = Path(output) / f"{slide.path.stem}.zarr"
    about = _about(model, slide, mpp, how)
    if path.exists():
        check_finished(path, about)
        return path
    grid = WindowGrid(height, width, how.window_px, how.overlap)
    store = PredictionStore(path, (len(model.classes), height, width), about)
    mask = None if everywhere else tissue or tissue_mask(slide)
    todo = [
        (block, windows)
        for block in _blocks(height, width)
        if not store.is_done(block) and (windows := _on_tissue(grid.windows_over(block), mask, step))
    ]
    with ThreadPoolExecutor(1) as writer:
        writing = None
        for block, windows, pixels, corner in track_progress(
            _read_ahead(slide, todo, step, mpp), slide.path.name, total=len(todo), least=2
        ):
            found = _predict_block(model, block, windows, pixels, corner, how.symmetries, batch_size)
            classes, levels = _encode(model, found)
            if writing is not None:
                writing.result()
            writing = writer.submit(store.write, block, classes, levels)
        if writing is not None:
            writing.result()
    return store.finish()


def _blocks(height: int, width: int) -> list[Rectangle]:
    """The image in blocks, row by row."""
    return [
        Rectangle(top, left, min(BLOCK_PX, height - top), min(BLOCK_PX, width - left))
        for top in range(0, height, BLOCK_PX)
        for left in range(0, width, BLOCK_PX)
    ]


def _on_tissue(windows: list[Rectangle], mask: TissueMask | None, step: tuple[float, float]) -> list[Rectangle]:
    """The windows with any tissue."""
    if mask is None:
        return windows
    rectangles = [(w.left * step[0], w.top * step[1], w.width * step[0], w.height * step[1]) for w in windows]
    return [window for window, share in zip(windows, mask.fractions(rectangles), strict=True) if share > 0]


def _read_ahead(
    slide: Slide, todo: list[tuple[Rectangle, list[Rectangle]]], step: tuple[float, float], mpp: float
) -> Iterator[tuple[Rectangle, list[Rectangle], np.ndarray, tuple[int, int]]]:
    """Blocks with their windows, the pixels of these and the pixels' corner, one read while one is predicted."""

    def read(windows: list[Rectangle]) -> tuple[np.ndarray, tuple[int, int]]:
        area = bounds(windows)
        pixels = slide.read(area.left * step[0], area.top * step[1], area.width, area.height, mpp=mpp)
        return pixels, (area.top, area.left)

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
) -> Tensor:
    """Probabilities of a block, float32 (L, height, width), NaN where there is no window."""

    def predict(batch: list[Rectangle]) -> Tensor:
        tops, lefts = ([window[axis] - corner[axis] for window in batch] for axis in range(2))
        cut = [
            pixels[top : top + window.height, left : left + window.width]
            for window, top, left in zip(batch, tops, lefts, strict=True)
        ]
        return predict_symmetric(model.to_input(np.stack(cut)), model.probabilities, symmetries)

    return blend_windows(block, windows, predict, batch_size)


def _encode(model: TrainedModel, found: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Classes and probabilities in uint8; outside the windows 255 and 0."""
    probabilities = found.cpu().numpy()
    outside = np.isnan(probabilities[0])
    probabilities[:, outside] = 0
    classes = model.decode(probabilities)
    classes[outside] = NOT_PREDICTED
    return classes, np.rint(probabilities * 255).astype(np.uint8)


def _about(model: TrainedModel, slide: Slide, mpp: float, how: PredictionDescription) -> dict[str, Any]:
    """What a prediction depends on, for its attributes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return {
        "slide": slide.path.name,
        "slide_size": list(slide.size),
        "slide_mpp": list(slide.known_mpp()),
        "mpp": mpp,
        "classes": model.classes,
        "colours": [model.colours[name] for name in model.classes],
        "prediction": how.model_dump(),
        "decoding": model.description.decoding.model_dump(),
        "model_sha256": digest.hexdigest(),
        "trained_on": model.description.trained_on,
    }
