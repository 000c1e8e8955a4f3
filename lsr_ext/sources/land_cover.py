"""The source `land_cover`: patches whose every pixel has a low-resolution label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.config.data import LandCover
from lsr_ext.data import BlockCollection, cut_blocks
from lsr_ext.data.digests import digest, sample_rows
from lsr_ext.data.land_cover import (
    LandCoverDataset,
    LandCoverPatch,
    collate_blocks,
    low_resolution_map,
    read_land_cover_patch,
    read_land_cover_tables,
)
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.training_data import TrainingData, foreground_index


class LandCoverBlocks:
    """Crops of patches to train on, whose blocks are the pixels of one label: see `LandCoverDataset`.

    Args:
        patches: each at least `crop_px` on a side.
        crop_px: the side of a crop.
        classes: the names of the pixel classes.
    """

    labels = None
    reads_files = False
    targets = None
    collate = staticmethod(collate_blocks)

    def __init__(self, patches: Sequence[LandCoverPatch], crop_px: int, classes: Sequence[str]) -> None:
        self.patches = patches
        self.crop_px = crop_px
        self.classes = list(classes)
        self.channels = patches[0].image.shape[2]
        self.masks = [patch.mask for patch in patches]
        self._crops = cut_blocks([patch.labels.shape for patch in patches], crop_px)

    def __len__(self) -> int:
        return len(self._crops)

    def block_images(self, indices: Iterable[int]) -> list[np.ndarray]:
        """The pixels of crops, (H, W, 4) each."""
        crops = [self._crops[index] for index in indices]
        return [crop.cut(self.patches[crop.image].image) for crop in crops]

    def dataset(self, augment: bool, report: Path | None = None, resumed: bool = False) -> LandCoverDataset:
        """The crops, their blocks and their masks; all are in memory, so none is reported."""
        return LandCoverDataset(self.patches, self.crop_px, augment)

    def digest(self) -> str:
        """A text that changes with the patches, their labels and the crops."""
        arrays = (array for patch in self.patches for array in (patch.image, patch.labels, patch.mask))
        return digest(self.classes, self.crop_px, *map(sample_rows, arrays))

    def without_masks(self) -> LandCoverBlocks:
        """Itself: a crop always comes with its mask, which only a pixel loss looks at."""
        return self

    def expected_area(self, distribution: CountDistribution) -> np.ndarray:
        """The share of each class among all training pixels by their labels, float64 (L,) of sum 1."""
        labels = np.concatenate([patch.labels[patch.labels >= 0] for patch in self.patches])
        fractions = distribution.mean.numpy()[labels].mean(0)
        return fractions / fractions.sum()


def prepare_land_cover(data: LandCover, _: RunContext) -> TrainingData:
    """Read the patches of both splits and the published table.

    Raises:
        FileNotFoundError, ValueError: a folder or file is missing or faulty.
    """
    tables = data.root / data.tables
    distribution = read_land_cover_tables(tables)
    train, test = (_read_patches(data.root / folder, tables) for folder in (data.train, data.test))
    for name, patch in test.items():
        if patch.mask.min() < 0:
            raise ValueError(f"{data.root / data.test / name}: expected a class for every pixel that is scored")
    return TrainingData(
        LandCoverBlocks(list(train.values()), data.block_size_px, distribution.classes),
        _crops(test, data.block_size_px, distribution),
        distribution,
        foreground_index(data.foreground, distribution.classes),
        low_resolution={
            i: low_resolution_map(patch.labels, distribution) for i, patch in enumerate(test.values())
        },
    )


def _read_patches(folder: Path, tables: Path) -> dict[str, LandCoverPatch]:
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"expected land-cover patches (.npz) in {folder}, found none")
    return {path.name: read_land_cover_patch(path, tables) for path in paths}


def _crops(
    patches: Mapping[str, LandCoverPatch], block_size_px: int, distribution: CountDistribution
) -> BlockCollection:
    """The crops of patches, without a label of their own: their pixels have labels."""
    sizes = [patch.labels.shape for patch in patches.values()]
    blocks = cut_blocks(sizes, block_size_px)
    return BlockCollection(
        [patch.image for patch in patches.values()],
        blocks,
        np.full(len(blocks), -1),
        list(distribution.classes),
        [patch.mask for patch in patches.values()],
        list(patches),
        list(distribution.labels),
    )
