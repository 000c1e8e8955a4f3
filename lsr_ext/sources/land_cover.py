"""Land cover: patches whose every pixel has a low-resolution label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lsr_ext.config.run import RunConfig
from lsr_ext.data import BlockCollection, cut_blocks
from lsr_ext.data.land_cover import (
    LandCoverPatch,
    low_resolution_map,
    read_land_cover_patch,
    read_land_cover_tables,
)
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.prepared import PreparedData, foreground_index


def prepare_land_cover(config: RunConfig) -> PreparedData:
    """Read the patches of both sides and the published table.

    Raises:
        FileNotFoundError, ValueError: a folder or file is missing or faulty.
    """
    data = config.data
    tables = data.root / data.tables
    distribution = read_land_cover_tables(tables)
    train, test = (_read_patches(data.root / folder, tables) for folder in (data.train, data.test))
    for name, patch in test.items():
        if patch.mask.min() < 0:
            raise ValueError(f"{data.root / data.test / name}: expected a class for every pixel that is scored")
    return PreparedData(
        _crops(train, data.block_size_px, distribution),
        _crops(test, data.block_size_px, distribution),
        distribution,
        foreground_index(data.foreground, distribution.classes),
        patches=list(train.values()),
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
