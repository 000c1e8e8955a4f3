"""From a configuration to training blocks, held-out blocks and the count distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lsr_ext.config import RunConfig
from lsr_ext.config.data import (
    Cohort,
    Data,
    DottedImages,
    LabelledImages,
    LandCover,
    MaskFolders,
    SimulatedFields,
    StainedImage,
)
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.dots import prepare_dotted_images
from lsr_ext.sources.labelled_images import prepare_labelled_images
from lsr_ext.sources.land_cover import prepare_land_cover
from lsr_ext.sources.masks import prepare_mask_folders
from lsr_ext.sources.simulated import simulate_truth
from lsr_ext.sources.stained_image import read_stained_image
from lsr_ext.sources.training_data import TrainingData
from lsr_ext.sources.truth_to_blocks import from_truth

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet


def _prepare_cohort(data: Cohort, context: RunContext) -> TrainingData:
    # It needs the extra [wsi], which the other sources do not.
    from lsr_ext.sources.cohort import prepare_cohort

    return prepare_cohort(data, context)


SOURCES: dict[type, Callable[[Data, RunContext], TrainingData]] = {
    StainedImage: from_truth(read_stained_image),
    MaskFolders: prepare_mask_folders,
    SimulatedFields: from_truth(simulate_truth),
    DottedImages: prepare_dotted_images,
    LandCover: prepare_land_cover,
    LabelledImages: prepare_labelled_images,
    Cohort: _prepare_cohort,
}


def prepare_data(config: RunConfig) -> TrainingData:
    """Read the source, cut, label and split it.

    Raises:
        FileNotFoundError, ValueError: a file is missing or faulty, or the split leaves a side or label empty.
    """
    data = config.data
    folder = config.shared or config.output
    validates = config.training.validate_every_steps is not None
    context = RunContext(config.seed, config.evaluation.split, folder, config.training.accelerator, validates)
    prepared = SOURCES[type(data)](data, context)
    prepared = replace(prepared, mpp=prepared.mpp or data.mpp)
    if data.stains is None:
        return prepared
    return replace(prepared, stains=_read_stains(data).in_order(prepared.train.classes[1:]))


def _read_stains(data: Data) -> StainSet:
    from lsr_ext.baselines import StainSet

    if not isinstance(data.stains, str):
        return StainSet.from_mapping(data.stains)
    named = Path(data.stains)
    return StainSet.load(data.root / named) if named.suffix else StainSet.preset(data.stains)
