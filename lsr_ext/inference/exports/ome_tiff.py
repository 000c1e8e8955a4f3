"""A slide's label map, or the probability of a class, as a pyramidal OME-TIFF."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import tifffile
import zarr
from PIL import ImageColor

from lsr_ext.files import remove_unfinished, written_whole
from lsr_ext.inference.prediction import open_prediction
from lsr_ext.inference.slide_store import NOT_PREDICTED

_TILE_PX = 512
_STRIP_PX = 4096


def export_ome_tiff(prediction: str | Path, output: str | Path, probability_of: str | None = None) -> Path:
    """Write a prediction as a pyramid of tiles with its resolution, read and written strip by strip.

    The label map has the classes' colours as its palette, and 255 where nothing was predicted; a coarser level
    takes every second pixel of the finer one, for the mean of two classes is none. A probability is grey, 255 for
    1; a coarser level is the mean of four pixels.

    Args:
        prediction: `NAME.zarr`, as `predict_slide` writes it.
        output: the file, `.ome.tif`.
        probability_of: the name of a class; None: the label map.

    Returns:
        `output`.

    Raises:
        FileNotFoundError: there is no such prediction.
        ValueError: it is no prediction, or no class of that name.
    """
    opened, output = open_prediction(prediction), Path(output)
    about, is_map = opened.about, probability_of is None
    level = opened.labels if is_map else opened.class_map(opened.class_ids([probability_of])[0])
    remove_unfinished(output.parent, f"{output.name}.")
    with written_whole(output) as temporary:
        _write(temporary, _pyramid(level, temporary.parent, is_map), about, probability_of)
    return output


def _pyramid(level: Any, folder: Path, is_map: bool) -> list[Any]:
    """The level and coarser ones, each half as large, down to one tile."""
    levels = [level]
    while max(levels[-1].shape) > _TILE_PX:
        finer = levels[-1]
        shape = tuple(-(-side // 2) for side in finer.shape)
        coarser = zarr.create_array(
            folder / f"{len(levels)}.zarr", shape=shape, chunks=(_TILE_PX, _TILE_PX), dtype="uint8"
        )
        for top in range(0, shape[0], _STRIP_PX):
            rows = slice(2 * top, min(2 * (top + _STRIP_PX), finer.shape[0]))
            coarser[top : top + _STRIP_PX] = _halved(np.asarray(finer[rows, :]), is_map)
        levels.append(coarser)
    return levels


def _halved(pixels: np.ndarray, is_map: bool) -> np.ndarray:
    if is_map:
        return pixels[::2, ::2]
    height, width = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge").astype(np.uint16)
    return ((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2) // 4).astype(np.uint8)


def _tiles(level: Any) -> Iterator[np.ndarray]:
    """The tiles of a level, row by row, those at the edges filled up with zeros."""
    height, width = level.shape
    for top in range(0, height, _TILE_PX):
        strip = np.asarray(level[top : top + _TILE_PX, :])
        padded = np.zeros((_TILE_PX, -(-width // _TILE_PX) * _TILE_PX), np.uint8)
        padded[: len(strip), :width] = strip
        yield from (padded[:, left : left + _TILE_PX] for left in range(0, width, _TILE_PX))


def _write(path: Path, levels: list[Any], about: dict[str, Any], probability_of: str | None) -> None:
    mpp, is_map = about["mpp"], probability_of is None
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mpp,
        "PhysicalSizeYUnit": "µm",
        "Name": about["slide"],
        # The same prediction gives the same file.
        "UUID": str(uuid5(NAMESPACE_OID, json.dumps([about, probability_of], sort_keys=True))),
        "Description": ", ".join(f"{index}: {name}" for index, name in enumerate(about["classes"])),
    }
    options: dict[str, Any] = {"tile": (_TILE_PX, _TILE_PX), "dtype": np.uint8, "compression": "deflate"}
    if is_map:
        options |= {"photometric": "palette", "colormap": _palette(about["colours"])}
    else:
        options |= {"photometric": "minisblack"}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as tiff:
        for number, level in enumerate(levels):
            scale = 1e4 / (mpp * 2**number)
            tiff.write(
                _tiles(level),
                shape=level.shape,
                subifds=len(levels) - 1 if number == 0 else None,
                subfiletype=min(number, 1),
                resolution=(scale, scale),
                resolutionunit="CENTIMETER",
                metadata=metadata if number == 0 else None,
                **options,
            )


def _palette(colours: list[str]) -> np.ndarray:
    """Colours by class id, uint16 (3, 256); white where nothing was predicted."""
    palette = np.zeros((3, 256), np.uint16)
    for index, colour in enumerate(colours):
        palette[:, index] = np.array(ImageColor.getrgb(colour)) * 257
    palette[:, NOT_PREDICTED] = 65535
    return palette
