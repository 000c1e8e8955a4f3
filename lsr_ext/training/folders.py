"""Where what comes of a method lies in the output folder of a run."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT_NAME, PREVIOUS_NAME, BEST_NAME = "last.ckpt", "previous.ckpt", "best.ckpt"
MODEL_NAME = "model"


def method_folder(output: Path, method: str) -> Path:
    """Where a method's checkpoint, events, model and predictions lie."""
    return output / method


def model_folder(output: Path, method: str) -> Path:
    """Where a method's trained model lies: see `lsr_ext.inference.load_model`."""
    return method_folder(output, method) / MODEL_NAME
