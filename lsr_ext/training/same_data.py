"""A run keeps to its data: a folder is not continued, nor scored, on other blocks or labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from lsr_ext.config import METHODS, RunConfig
from lsr_ext.data.digests import digest
from lsr_ext.files import write_atomically
from lsr_ext.sources import TrainingData

_NAME = "data.json"
_DECIMALS = 6  # of a count distribution: sums differ in the last digits from processor to processor
_TRUE_MASKS = ("all", "limited")


def keep_to_data(config: RunConfig, data: TrainingData) -> None:
    """Note the data of a run at its start; later, refuse others.

    Raises:
        ValueError: the training blocks, those to validate on, the count distribution or the masks have changed.
    """
    found = _describe(config, data)
    if data.validation is not None:
        found["the validation blocks"] = data.validation.without_masks().digest()
    _compare(config.output, found)
    before = read_data_digests(config.output)
    write_atomically(config.output / _NAME, json.dumps(before | found, indent=2).encode())


def check_same_data(config: RunConfig, data: TrainingData) -> None:
    """Refuse data other than those that a run was trained on. Held-out blocks may be others.

    Raises:
        ValueError: the training blocks, the count distribution or the masks have changed.
    """
    _compare(config.output, _describe(config, data))


def read_data_digests(output: Path) -> dict[str, str]:
    """The digest of each part of a run's data; nothing where none was noted."""
    path = output / _NAME
    return json.loads(path.read_bytes()) if path.is_file() else {}


def _compare(output: Path, found: dict[str, str]) -> None:
    before = read_data_digests(output)
    changed = [part for part, now in found.items() if before.get(part, now) != now]
    if changed:
        raise ValueError(
            f"{output} is of a run on other data ({' and '.join(changed)} have changed since): choose another "
            "output folder"
        )


def _describe(config: RunConfig, data: TrainingData) -> dict[str, str]:
    blocks = data.train.without_masks()
    if getattr(config.data, "classifier", None) is not None:
        # A classifier's labels follow from the rest, and near an edge from the device.
        parts = {"the training blocks": replace(blocks, labels=np.full_like(blocks.labels, -1)).digest()}
    else:
        table = data.distribution
        numbers = [values.double().numpy().round(_DECIMALS) for values in (table.mean, table.std)]
        found = digest(list(table.classes), list(table.labels), *numbers)
        parts = {"the training blocks": blocks.digest(), "the count distribution": found}
    if data.train.masks is not None and any(METHODS[name].pixels in _TRUE_MASKS for name in config.methods):
        parts["the training masks"] = data.train.digest()
    return parts
