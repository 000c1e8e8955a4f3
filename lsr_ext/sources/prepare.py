"""From the configured source to training blocks, held-out blocks and the count distribution."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from skimage import data as skimage_data
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu

from lsr_ext.config.data import (
    Data,
    LabelledImages,
    LandCover,
    MaskFolders,
    SimulatedFields,
    StainedImage,
)
from lsr_ext.config.run import RunConfig
from lsr_ext.data import (
    Block,
    BlockCollection,
    block_fractions,
    cut_blocks,
    read_mask,
    read_mask_pairs,
    read_resize_list,
    split_by_image,
    split_by_position,
)
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.cell_classes import classify_cells
from lsr_ext.sources.labelling import (
    Labels,
    draw_annotated,
    estimate_distribution,
    guessed,
    label_by_bins,
    label_high_low,
)
from lsr_ext.sources.land_cover import prepare_land_cover
from lsr_ext.sources.prepared import PreparedData, foreground_index

if TYPE_CHECKING:
    from lsr_ext.baselines import StainSet
    from lsr_ext.metrics import DotSet

TRUTH, SECOND_RATER = "truth", "second rater"


def prepare_data(config: RunConfig) -> PreparedData:
    """Read the source, cut, label and split it.

    Raises:
        FileNotFoundError, ValueError: a file is missing or faulty, or the split leaves a side or label empty.
    """
    data = config.data
    prepared = _PREPARERS[type(data)](config)
    if data.stains is None:
        return prepared
    return replace(prepared, stains=_read_stains(data).in_order(prepared.train.classes[1:]))


def stained_image() -> tuple[np.ndarray, np.ndarray]:
    """scikit-image's IHC image, uint8 (512, 512, 3), and where it is brown, int64 (512, 512) of 0 and 1.

    DAB by colour deconvolution, smoothed over about a pixel against noise, above Otsu's threshold.
    """
    image = skimage_data.immunohistochemistry()
    dab = gaussian(rgb2hed(image)[..., 2], sigma=1)
    return image, (dab > threshold_otsu(dab)).astype(np.int64)


@dataclass(frozen=True)
class _Truth:
    """Images with their pixel truth, whatever they come from."""

    images: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    names: Sequence[str]
    classes: Sequence[str]
    dots: Mapping[int, DotSet] = field(default_factory=dict)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [image.shape[:2] for image in self.images]


def _prepare_stained(config: RunConfig) -> PreparedData:
    image, mask = stained_image()
    return _prepare_truth(config, _Truth([image], [mask], ["immunohistochemistry"], ["background", "stained"]))


def _prepare_folders(config: RunConfig) -> PreparedData:
    data = config.data
    images, masks, names = [], [], []
    dots: dict[int, DotSet] = {}
    for image_folder, mask_folder in zip(data.images, data.masks or data.images, strict=True):
        folder = data.root / image_folder
        found_images, found_masks, found_names = read_mask_pairs(
            folder,
            data.root / mask_folder,
            image_suffix=data.image_suffix,
            mask_suffix=data.mask_suffix,
            mask_page=data.mask_page,
            mask_colours=_colour_ids(data),
            colour_tolerance=data.colour_tolerance,
            instance_masks=data.instance_masks and data.cells_suffix is None,
            resize=read_resize_list(folder / data.resize_list) if data.resize_list else None,
            downscale=data.downscale,
        )
        if data.cells_suffix is not None:
            found_masks, cells = classify_cells(data, data.root / mask_folder, found_names, found_masks)
            dots |= dict(enumerate(cells, start=len(images)))
        images += found_images
        masks += found_masks
        names += [(image_folder / name).as_posix() for name in found_names]
    return _prepare_truth(config, _Truth(images, masks, names, data.classes, dots))


def _colour_ids(data: MaskFolders) -> dict[int, list[list[int]]] | None:
    if data.mask_colours is None:
        return None
    return {data.classes.index(name): colours for name, colours in data.mask_colours.items()}


def _prepare_simulated(config: RunConfig) -> PreparedData:
    from lsr_ext.data.simulate import FieldOptions, simulate_fields
    from lsr_ext.metrics import DotSet

    data = config.data
    options = FieldOptions().scaled(data.difficulty)
    fields = simulate_fields(data.count, data.field_px, data.field_seed, options)
    classes = fields[0].classes
    dots = {i: DotSet(found.dots, [classes[c] for c in found.dot_classes]) for i, found in enumerate(fields)}
    names = [f"simulated_{i:04d}" for i in range(len(fields))]
    images, masks = [found.image for found in fields], [found.mask for found in fields]
    return _prepare_truth(config, _Truth(images, masks, names, list(classes), dots))


def _prepare_truth(config: RunConfig, truth: _Truth) -> PreparedData:
    data, seed = config.data, config.seed
    foreground = foreground_index(data.foreground, truth.classes)
    blocks = [cut_blocks(truth.sizes, data.block_size_px, stride) for stride in (data.stride_px, None)]
    train_blocks = [blocks[0][i] for i in _split(config, blocks[0], truth.sizes, truth.names)[0]]
    test_blocks = [blocks[1][i] for i in _split(config, blocks[1], truth.sizes, truth.names)[1]]
    labels, low_resolution = _label(config, truth, train_blocks, test_blocks, foreground)
    train, test = (
        BlockCollection(
            list(truth.images),
            side,
            values,
            list(truth.classes),
            list(truth.masks),
            list(truth.names),
            labels.names,
        )
        for side, values in ((train_blocks, labels.train), (test_blocks, labels.test))
    )
    annotated = draw_annotated(train, data.distribution_blocks, seed)
    distribution = estimate_distribution(train, annotated, data.distribution_noise_std, seed)
    dots = {TRUTH: truth.dots or _dots_of_masks(test)} if data.cells else {}
    return PreparedData(train, test, distribution, foreground, annotated, dots, low_resolution=low_resolution)


def _label(
    config: RunConfig, truth: _Truth, train: list[Block], test: list[Block], foreground: int
) -> tuple[Labels, Mapping[int, np.ndarray] | None]:
    """Labels of both sides and, where a classifier gave them, its map of each held-out image."""
    data = config.data
    if data.classifier is not None:
        from lsr_ext.sources.classifier_labels import label_by_classifier

        return label_by_classifier(
            config, truth.images, truth.masks, _groups(config, truth.names), train, test, foreground
        )
    rng = np.random.default_rng(config.seed)
    fractions = [
        guessed(block_fractions(truth.masks, side, len(truth.classes)), data.noise_std, rng)
        for side in (train, test)
    ]
    if data.high_share is not None:
        return label_high_low(*fractions, data.high_share), None
    return label_by_bins(*(side[:, foreground] for side in fractions), data.edges, data.bins), None


def _dots_of_masks(test: BlockCollection) -> dict[int, DotSet]:
    from lsr_ext.metrics import dots_from_masks

    return {
        index: dots_from_masks(test.masks[index], test.classes) for index in {block.image for block in test.blocks}
    }


def _prepare_labelled(config: RunConfig) -> PreparedData:
    data = config.data
    distribution = _read_distribution(data)
    collection = BlockCollection.from_label_table(
        data.root / data.images,
        data.root / data.labels,
        distribution.classes,
        data.block_size_px,
        distribution.labels,
    )
    sizes = [image.shape[:2] for image in collection.images]
    train, test = _split(config, collection.blocks, sizes, collection.names)
    held_out = collection.subset(test)
    if data.masks is not None:
        held_out = replace(held_out, masks=_read_held_out_masks(data, held_out))
    raters = {TRUTH: data.dots, SECOND_RATER: data.second_dots}
    dots = {rater: _read_held_out_dots(data.root / folder, held_out) for rater, folder in raters.items() if folder}
    foreground = foreground_index(data.foreground, distribution.classes)
    return PreparedData(collection.subset(train), held_out, distribution, foreground, dots=dots)


def _read_distribution(data: LabelledImages) -> CountDistribution:
    if isinstance(data.distribution, str):
        return CountDistribution.paper(data.distribution)
    path = data.root / data.distribution
    if not path.is_file():
        raise FileNotFoundError(f"expected a count distribution (data.distribution), found none at {path}")
    if path.suffix.lower() == ".csv":
        return CountDistribution.from_fractions(path)
    return CountDistribution.load(path)


def _read_held_out_masks(data: LabelledImages, held_out: BlockCollection) -> list[np.ndarray]:
    """Masks of the held-out images; the others, which stay unused, are zero."""
    masks = [np.zeros(image.shape[:2], dtype=np.int64) for image in held_out.images]
    for index in {block.image for block in held_out.blocks}:
        name = Path(held_out.names[index])
        masks[index] = read_mask(data.root / data.masks / f"{name.stem}{data.mask_suffix}.png")
    return masks


def _read_held_out_dots(folder: Path, held_out: BlockCollection) -> dict[int, DotSet]:
    from lsr_ext.metrics import read_dots

    dots = {}
    for index in sorted({block.image for block in held_out.blocks}):
        stem = Path(held_out.names[index]).stem
        found = [path for suffix in (".csv", ".tsv", ".geojson") if (path := folder / f"{stem}{suffix}").is_file()]
        if not found:
            raise FileNotFoundError(f"expected dots of {stem} in {folder} (.csv, .tsv or .geojson), found none")
        dots[index] = read_dots(found[0])
    return dots


def _read_stains(data: Data) -> StainSet:
    from lsr_ext.baselines import StainSet

    if not isinstance(data.stains, str):
        return StainSet.from_mapping(data.stains)
    named = Path(data.stains)
    return StainSet.load(data.root / named) if named.suffix else StainSet.preset(data.stains)


def _split(
    config: RunConfig, blocks: Sequence[Block], sizes: Sequence[tuple[int, int]], names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training blocks and of those of the held-out part that is scored."""
    data = config.data
    seed = config.seed if data.split_seed is None else data.split_seed
    if len(sizes) == 1:
        if data.validation_fraction:
            raise ValueError("data.validation_fraction needs several images, got one")
        return split_by_position(blocks, sizes[0], data.test_fraction)
    groups = _groups(config, names)
    rest, test = split_by_image(blocks, data.test_fraction, seed, groups)
    if not data.validation_fraction:
        return rest, test
    share = data.validation_fraction / (1 - data.test_fraction)
    train, validation = split_by_image([blocks[i] for i in rest], share, seed, groups)
    return rest[train], test if config.evaluation.split == "test" else rest[validation]


def _groups(config: RunConfig, names: Sequence[str]) -> list[str]:
    """What stays on one side of a split: each image's patient, or the image itself."""
    pattern = config.data.patient
    return list(names) if pattern is None else [_patient(name, pattern) for name in names]


def _patient(name: str, pattern: str) -> str:
    found = re.search(pattern, name)
    if not found:
        raise ValueError(f"data.patient: {pattern!r} is nowhere in the name {name!r}")
    return found.group()


_PREPARERS = {
    StainedImage: _prepare_stained,
    MaskFolders: _prepare_folders,
    SimulatedFields: _prepare_simulated,
    LandCover: prepare_land_cover,
    LabelledImages: _prepare_labelled,
}
