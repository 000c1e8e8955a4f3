"""Prediction of rectangles of images in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lsr_ext.data import Block
from lsr_ext.inference.model import TrainedModel
from lsr_ext.inference.model_file import PredictionDescription
from lsr_ext.progress import track_progress


def predict_rectangles(
    model: TrainedModel,
    images: Sequence[np.ndarray],
    rectangles: Sequence[Block],
    prediction: PredictionDescription | None = None,
) -> Iterator[np.ndarray]:
    """Class probabilities of rectangles, one by one, each float32 (L, H, W).

    Args:
        model: predicts them.
        images: M arrays (H, W, C).
        rectangles: `Block.image` is an index into `images`.
        prediction: window, overlap and symmetries in place of the model's own.
    """
    for rectangle in track_progress(rectangles, "predicting"):
        yield model.predict(rectangle.cut(images[rectangle.image]), prediction)
