"""Checkpoints on disk: written whole or not at all, the one before kept, what is damaged not gone on from."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lsr_ext.files import written_whole
from lsr_ext.training.folders import CHECKPOINT_NAME, MODEL_NAME, PREVIOUS_NAME

_logger = logging.getLogger(__name__)


class WholeCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints under a temporary name in their own folder, then renamed.

    A disk that fills, or a kill, leaves the checkpoint before. Of the one to resume from, the one before it is
    kept as well: a file may be damaged later.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        path = Path(path)
        with written_whole(path, durable=True) as temporary:
            torch.save(checkpoint, temporary)
            if path.name == CHECKPOINT_NAME and path.exists():
                link = temporary.with_name(PREVIOUS_NAME)
                os.link(path, link)
                link.replace(path.with_name(PREVIOUS_NAME))


def read_last(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint of a method that can be read, in the last one's place; None where there is none.

    Raises:
        ValueError: there are checkpoints, and none can be read.
    """
    faults = []
    for path in (folder / CHECKPOINT_NAME, folder / PREVIOUS_NAME):
        if not path.exists():
            continue
        content = _read(path)
        if isinstance(content, dict):
            if path.name == PREVIOUS_NAME:
                fault = faults[0] if faults else f"{folder / CHECKPOINT_NAME} is missing"
                _logger.warning("%s; going on from the one before, of step %d", fault, content["global_step"])
                with written_whole(folder / CHECKPOINT_NAME) as temporary:
                    os.link(path, temporary)
            return content
        faults.append(f"{path} is no readable checkpoint ({content})")
    if faults:
        if (folder / MODEL_NAME).exists():
            raise ValueError(f"{'; '.join(faults)}: delete it to keep the trained model, {folder} to train anew")
        raise ValueError(f"{'; '.join(faults)}: delete {folder} to train anew")
    return None


def _read(path: Path) -> dict[str, Any] | str:
    """A checkpoint's content, or what is wrong with it."""
    if path.stat().st_size == 0:
        return "0 bytes"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on damaged bytes, and advises to load them unsafely
        return f"damaged: {type(error).__name__}"
    if not isinstance(content, dict) or not {"global_step", "state_dict"} <= set(content):
        return "not of a training"
    return content
