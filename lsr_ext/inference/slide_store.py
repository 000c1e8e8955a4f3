"""The prediction of a slide on disk: zarr arrays that are written block by block and resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from lsr_ext.files import remove_unfinished, write_atomically
from lsr_ext.inference.window_grid import Rectangle

CHUNK_PX = 1024
NOT_PREDICTED = 255  # the class of pixels outside the tissue
_ADDED = {"slide_digest"}
_UNFINISHED, _DONE, _ABOUT = ".unfinished", "done", "about.json"


def check_finished(path: Path, about: Mapping[str, Any]) -> None:
    """Refuse a finished prediction of something else.

    Raises:
        ValueError: the folder is no prediction, or depends on something else than `about`.
    """
    try:
        found = dict(zarr.open_group(path, mode="r").attrs)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is in the way and not a prediction ({error})") from error
    if differing := _differing(found, about):
        raise ValueError(f"{path} is a prediction of another {', '.join(differing)}: choose another output folder")


def _differing(found: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ; a key that earlier versions did not write is missing from theirs."""
    keys = (found.keys() | about.keys()) - (_ADDED - found.keys())
    return sorted(key for key in keys if found.get(key) != about.get(key))


def _read_about(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError:  # damaged: of nothing that is known
        return {}


class PredictionStore:
    """Arrays of one slide's prediction, in a folder that gets its name when all blocks are written.

    `classes`, uint8 (H, W): the class of every pixel, 255 where nothing was predicted. `probabilities`, uint8
    (L, H, W): 255 times the probability, rounded, 0 where nothing was predicted. The attributes say what they are
    of.

    Args:
        path: the final folder, `<name>.zarr`.
        shape: (L, H, W).
        about: what the prediction depends on, as JSON holds it; it becomes the arrays' attributes.

    Raises:
        ValueError: an unfinished prediction of something else is in the way.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], about: Mapping[str, Any]) -> None:
        self.path, self.shape = path, shape
        self._folder = path.with_name(f"{path.name}{_UNFINISHED}")
        self._claim(about)
        remove_unfinished(self._folder / _DONE)
        for left in self._folder.rglob("*.partial"):  # chunks that zarr was writing when it was killed
            left.unlink()
        chunks = tuple(min(CHUNK_PX, side) for side in shape[1:])
        compressors = [ZstdCodec(level=1), Crc32cCodec()]
        group = zarr.open_group(self._folder, mode="a", attributes=dict(about))
        sizes = {"classes": (shape[1:], chunks, NOT_PREDICTED), "probabilities": (shape, (1, *chunks), 0)}
        self._arrays = {
            name: group[name]
            if name in group
            else group.create_array(
                name, shape=size, chunks=pieces, dtype="uint8", fill_value=fill, compressors=compressors
            )
            for name, (size, pieces, fill) in sizes.items()
        }

    def is_done(self, block: Rectangle) -> bool:
        """Whether a block was written before."""
        return self._mark(block).exists()

    def write(self, block: Rectangle, classes: np.ndarray, probabilities: np.ndarray) -> None:
        """Write a block whose corners lie on those of chunks, and mark it as done."""
        place = slice(block.top, block.top + block.height), slice(block.left, block.left + block.width)
        self._arrays["probabilities"][(slice(None), *place)] = probabilities
        self._arrays["classes"][place] = classes
        write_atomically(self._mark(block), b"")

    def finish(self) -> Path:
        """Give the folder its name.

        Returns:
            `path`.
        """
        for mark in (self._folder / _DONE).glob("*"):
            mark.unlink()
        (self._folder / _DONE).rmdir()
        self._folder.replace(self.path)
        return self.path

    def _claim(self, about: Mapping[str, Any]) -> None:
        path = self._folder / _ABOUT
        content = json.dumps(dict(about), sort_keys=True).encode()
        if path.exists() and _differing(_read_about(path), json.loads(content)):
            raise ValueError(
                f"{self._folder} is an unfinished prediction by another model, slide or setting: remove it, or "
                "choose another output folder"
            )
        write_atomically(path, content)
        (self._folder / _DONE).mkdir(exist_ok=True)

    def _mark(self, block: Rectangle) -> Path:
        return self._folder / _DONE / f"{block.top}_{block.left}"
