"""Class maps of slides by colour, written as zarr arrays strip by strip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zarr

from lsr_ext.baselines.colour_separation import l2_map
from lsr_ext.baselines.label_maps import class_shares
from lsr_ext.baselines.slide_rows import SlideRows
from lsr_ext.baselines.stains import StainSet
from lsr_ext.data.cohort.slides import SUFFIXES
from lsr_ext.files import written_whole
from lsr_ext.metrics.pairing import pair_files
from lsr_ext.progress import track_progress
from lsr_ext.wsi import open_slide

_CHUNK_PX = 1024


def map_slides(
    slides: Path, stains: StainSet, mpp: float, output: Path, max_distance: float | None = None
) -> dict[str, np.ndarray]:
    """Write the `l2_map` of each slide to OUTPUT/NAME.zarr, uint8 (H, W).

    Args:
        slides: a slide or a folder of slides, of known resolution.
        stains: their standard colours.
        mpp: microns per pixel of the maps.
        output: folder, created if needed.
        max_distance: as for `l2_map`.

    Returns:
        Name -> `class_shares` of its map.

    Raises:
        FileNotFoundError: no such file or folder.
        MissingResolutionError: a slide's own resolution is unknown.
        ValueError: no slides, or an mpp or max_distance out of range.
    """
    shares = {}
    files = pair_files((slides, SUFFIXES))
    for name, (path,) in track_progress(list(files.items()), "mapping slides", least=2):
        rows = SlideRows(open_slide(path), mpp)
        shape = rows.shape[:2]
        chunks = tuple(min(_CHUNK_PX, side) for side in shape)
        with written_whole(output / f"{name}.zarr") as temporary:
            label_map = zarr.open(str(temporary), mode="w", shape=shape, chunks=chunks, dtype=np.uint8)
            l2_map(rows, stains, max_distance, label_map)
            shares[name] = class_shares(label_map, len(stains.classes))
    return shares
