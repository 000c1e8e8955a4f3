"""The end of a training: its decoding is fitted, and the model is written to stand alone."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from torch import nn

import lsr_ext
from lsr_ext.config import EvaluationConfig
from lsr_ext.distributions import CountDistribution
from lsr_ext.inference import ModelDescription, PredictionDescription, TrainedModel
from lsr_ext.inference.colours import class_colours
from lsr_ext.inference.decoding import fit_shift
from lsr_ext.inference.model_file import (
    ClassDescription,
    DecodingDescription,
    DistributionDescription,
    InputDescription,
    NetworkDescription,
)
from lsr_ext.sources import TrainingBlocks, TrainingData

_BLOCKS_TO_FIT, _BLOCKS_AT_ONCE, _PIXELS_TO_FIT = 200, 16, 2**18


def make_model(
    network: nn.Module,
    described: NetworkDescription,
    data: TrainingData,
    prediction: PredictionDescription,
    decoding: str,
    trained_on: str,
    *,
    seed: int,
    device: torch.device,
) -> TrainedModel:
    """A trained network as a model that stands alone.

    Args:
        network: trained.
        described: its import path, parameters and adapter.
        data: that it was trained on; the decoding is fitted to a sample of its training blocks.
        prediction: how images are predicted.
        decoding: "likeliest" or "expected_fraction".
        trained_on: the data, method and steps, in a line.
        seed: of the sample.
        device: to predict the sample on.
    """
    classes = list(data.train.classes)
    about = ModelDescription(
        network=described,
        classes=[
            ClassDescription(name=name, colour=colour)
            for name, colour in zip(classes, class_colours(classes), strict=True)
        ],
        input=InputDescription(channels=data.train.channels),
        mpp=data.mpp,
        prediction=prediction,
        decoding=DecodingDescription(kind=decoding, shift=[0.0] * len(classes)),
        distribution=_describe_distribution(data.distribution),
        trained_on=trained_on,
        versions=_versions(described.path.partition(".")[0]),
    )
    model = TrainedModel(network, about, device)
    shift = _fit_decoding(model, data.train, data.expected_area, seed)
    fitted = about.model_copy(update={"decoding": DecodingDescription(kind=decoding, shift=shift.tolist())})
    return TrainedModel(network, fitted, device)


def describe_prediction(evaluation: EvaluationConfig, block_size_px: int) -> PredictionDescription:
    """How the configuration has images predicted: by windows of a block's size, if it gives no other."""
    return PredictionDescription(
        window_px=evaluation.window_px or block_size_px,
        overlap=evaluation.overlap,
        symmetries=evaluation.symmetries,
    )


def _fit_decoding(model: TrainedModel, blocks: TrainingBlocks, area: np.ndarray, seed: int) -> np.ndarray:
    """The shift that gives a sample of the training blocks the areas that their labels stand for."""
    rng = np.random.default_rng(seed)
    sample = rng.permutation(len(blocks))[:_BLOCKS_TO_FIT]
    images = blocks.block_images(sample.tolist())
    batches = (images[first : first + _BLOCKS_AT_ONCE] for first in range(0, len(images), _BLOCKS_AT_ONCE))
    pixels = np.concatenate([_predict_pixels(model, np.stack(batch)) for batch in batches])
    chosen = rng.permutation(len(pixels))[:_PIXELS_TO_FIT]
    return fit_shift(pixels[chosen], area)


def _predict_pixels(model: TrainedModel, images: np.ndarray) -> np.ndarray:
    """Class probabilities of all pixels of images (N, H, W, C), float32 (P, L)."""
    found = model.predict(images)
    return np.moveaxis(found, 1, 3).reshape(-1, found.shape[1])


def _describe_distribution(distribution: CountDistribution) -> DistributionDescription:
    return DistributionDescription(
        labels=list(distribution.labels),
        classes=list(distribution.classes),
        exclusive=distribution.exclusive,
        mean=distribution.mean.tolist(),
        std=distribution.std.tolist(),
    )


def _versions(network_package: str) -> dict[str, str]:
    """Of what trained the model, and of the package that the network's class is from."""
    found = {"lsr_ext": lsr_ext.__version__, "torch": torch.__version__, "python": platform.python_version()}
    for name in sorted({"lightning", "monai", "numpy", network_package} - found.keys()):
        with suppress(PackageNotFoundError):  # a module of the user's own has no version
            found[name] = version(name)
    return found
