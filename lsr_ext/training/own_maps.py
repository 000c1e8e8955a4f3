"""Pixel labels for a second network: what a first one, trained by the loss alone, paints of the same images."""

from __future__ import annotations

import io
import logging

import numpy as np

from lsr_ext.config.methods import METHODS
from lsr_ext.config.run import RunConfig
from lsr_ext.files import write_atomically
from lsr_ext.inference.decoding import decode
from lsr_ext.inference.rectangles import fit_decoding, load_module, predict_regions
from lsr_ext.inference.stitching import regions_of
from lsr_ext.sources.prepared import PreparedData
from lsr_ext.training.building import method_folder
from lsr_ext.training.objective import IGNORED

_MAPS_NAME = "own_maps.npz"
_logger = logging.getLogger(__name__)


def own_maps(config: RunConfig, method: str, data: PreparedData) -> list[np.ndarray]:
    """A map of class ids for each image, int64 (H, W); -1 outside the rectangle that its training blocks fill.

    They are predicted as held-out images are, and kept in the method's folder, from where a run that was cut short
    reads them again.

    Raises:
        FileNotFoundError, ValueError: the method's teacher is not trained to the end.
    """
    regions = regions_of(data.train.blocks)
    path = method_folder(config, method) / _MAPS_NAME
    if not path.is_file():
        teacher = METHODS[method].teacher
        _logger.info("%s: %d training images are painted by %s", method, len(regions), teacher)
        module = load_module(config, teacher, data)
        shift = fit_decoding(config, module, data)
        predicted = predict_regions(config, module, data.train, list(regions.values()))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, *(decode(probabilities, shift) for probabilities in predicted))
        write_atomically(path, buffer.getvalue())
    maps = [np.full(image.shape[:2], IGNORED, np.int64) for image in data.train.images]
    with np.load(path) as content:
        for region, classes in zip(regions.values(), content.values(), strict=True):
            region.cut(maps[region.image])[:] = classes
    return maps
