"""From the configured source to training blocks, held-out blocks and the count distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from skimage import data as skimage_data
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu

from lsr_ext.data import (
    Block,
    BlockCollection,
    add_label_noise,
    block_fractions,
    cut_blocks,
    quantile_edges,
    read_mask,
    read_mask_pairs,
    read_resize_list,
    split_by_image,
    split_by_position,
)
from lsr_ext.distributions import CountDistribution
from lsr_ext.training.config import LabelledImages, MaskFolders, RunConfig, StainedImage


@dataclass(frozen=True)
class PreparedData:
    """The blocks of both sides, p(c_l | z), and the class that two-class scores are of.

    Held-out blocks do not overlap. Pixel masks are there for supervision and scoring; the label
    super-resolution losses are not given them.
    """

    train: BlockCollection
    test: BlockCollection
    distribution: CountDistribution
    foreground: int


def prepare_data(config: RunConfig) -> PreparedData:
    """Read the source, cut, label and split it.

    Raises:
        FileNotFoundError, ValueError: a file is missing or faulty, or the split leaves a side or label empty.
    """
    if isinstance(config.data, LabelledImages):
        return _prepare_labelled(config.data, config.seed)
    if isinstance(config.data, StainedImage):
        image, mask = stained_image()
        pixels = [image], [mask], ["immunohistochemistry"]
        return _prepare_quantised(config.data, config.seed, *pixels, ["background", "stained"])
    return _prepare_quantised(config.data, config.seed, *_read_folders(config.data), config.data.classes)


def stained_image() -> tuple[np.ndarray, np.ndarray]:
    """scikit-image's IHC image, uint8 (512, 512, 3), and where it is brown, int64 (512, 512) of 0 and 1.

    DAB by colour deconvolution, smoothed over about a pixel against noise, above Otsu's threshold.
    """
    image = skimage_data.immunohistochemistry()
    dab = gaussian(rgb2hed(image)[..., 2], sigma=1)
    return image, (dab > threshold_otsu(dab)).astype(np.int64)


def _read_folders(data: MaskFolders) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    images, masks, names = [], [], []
    for image_folder, mask_folder in zip(data.images, data.masks or data.images, strict=True):
        folder = data.root / image_folder
        found = read_mask_pairs(
            folder,
            data.root / mask_folder,
            mask_suffix=data.mask_suffix,
            instance_masks=data.instance_masks,
            resize=read_resize_list(folder / data.resize_list) if data.resize_list else None,
            downscale=data.downscale,
        )
        images += found[0]
        masks += found[1]
        names += [(image_folder / name).as_posix() for name in found[2]]
    return images, masks, names


def _prepare_quantised(
    data: StainedImage | MaskFolders,
    seed: int,
    images: list[np.ndarray],
    masks: list[np.ndarray],
    names: list[str],
    classes: list[str],
) -> PreparedData:
    foreground = _foreground(data.foreground, classes)
    sizes = [image.shape[:2] for image in images]
    edges = data.edges
    if edges is None:
        # Quantiles of the training side alone: held-out blocks are labelled by its edges.
        blocks = cut_blocks(sizes, data.block_size_px, data.stride_px)
        train, _ = _split(blocks, sizes, data.test_fraction, seed)
        fractions = block_fractions(masks, [blocks[i] for i in train], len(classes))[:, foreground]
        edges = quantile_edges(add_label_noise(fractions, data.noise_std, np.random.default_rng(seed)), data.bins)
    sides = [
        BlockCollection.from_masks(
            images,
            masks,
            names,
            classes,
            data.block_size_px,
            edges=edges,
            label_class=foreground,
            noise_std=data.noise_std,
            seed=seed,
            stride_px=stride_px,
        )
        for stride_px in (data.stride_px, None)
    ]
    train, _ = _split(sides[0].blocks, sizes, data.test_fraction, seed)
    _, test = _split(sides[1].blocks, sizes, data.test_fraction, seed)
    train, test = sides[0].subset(train), sides[1].subset(test)
    return PreparedData(train, test, estimate_distribution(train, data.distribution_blocks, seed), foreground)


def _prepare_labelled(data: LabelledImages, seed: int) -> PreparedData:
    distribution = _read_distribution(data)
    collection = BlockCollection.from_label_table(
        data.root / data.images,
        data.root / data.labels,
        distribution.classes,
        data.block_size_px,
        distribution.labels,
    )
    sizes = [image.shape[:2] for image in collection.images]
    train, test = _split(collection.blocks, sizes, data.test_fraction, seed)
    held_out = collection.subset(test)
    if data.masks is not None:
        held_out = replace(held_out, masks=_read_held_out_masks(data, held_out))
    foreground = _foreground(data.foreground, distribution.classes)
    return PreparedData(collection.subset(train), held_out, distribution, foreground)


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


def _split(
    blocks: Sequence[Block], sizes: Sequence[tuple[int, int]], test_fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    if len(sizes) == 1:
        return split_by_position(blocks, sizes[0], test_fraction)
    return split_by_image(blocks, test_fraction, seed)


def _foreground(name: str | None, classes: Sequence[str]) -> int:
    if name is None:
        return len(classes) - 1
    if name not in classes:
        raise ValueError(f"data.foreground must be one of the classes {', '.join(classes)}, got {name!r}")
    return list(classes).index(name)


def estimate_distribution(collection: BlockCollection, blocks_per_label: int, seed: int) -> CountDistribution:
    """p(c_l | z) from the masks of a few blocks per label, as an annotator would look at a few.

    Args:
        collection: blocks with masks and one label each.
        blocks_per_label: how many to draw per label; from as many images as there are.
        seed: of the draw.

    Raises:
        ValueError: a label without a block.
    """
    rng = np.random.default_rng(seed)
    chosen = np.concatenate(
        [
            _draw_from_many_images(collection, label, blocks_per_label, rng)
            for label in range(len(collection.label_names))
        ]
    )
    sample = collection.subset(chosen)
    return CountDistribution.from_table(
        sample.fractions(), sample.labels, collection.classes, collection.label_names
    )


def _draw_from_many_images(
    collection: BlockCollection, label: int, count: int, rng: np.random.Generator
) -> np.ndarray:
    members = rng.permutation(np.flatnonzero(collection.labels == label))
    images = np.array([collection.blocks[i].image for i in members])
    # The first block of each image comes first, then the second, and so on.
    turns = np.array([np.count_nonzero(images[:i] == image) for i, image in enumerate(images)])
    return members[np.argsort(turns, kind="stable")[:count]]
