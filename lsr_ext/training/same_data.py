"""A run keeps to its data: a folder is not continued, nor scored, on other blocks or labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from lsr_ext.config import METHODS, RunConfig
from lsr_ext.data.digests import digest
from lsr_ext.files import write_atomically
from lsr_ext.sources import TrainingBlocks, TrainingData

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
        found["the validation blocks"] = _comparable(config, data.validation.without_masks()).digest()
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


def changed_parts(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The parts that both know and that differ, as a text; empty if none does."""
    return " and ".join(part for part, found in now.items() if before.get(part, found) != found)


def _compare(output: Path, found: dict[str, str]) -> None:
    if changed := changed_parts(read_data_digests(output), found):
        raise ValueError(
            f"{output} is of a run on other data ({changed} have changed since): choose another output folder"
        )


def _describe(config: RunConfig, data: TrainingData) -> dict[str, str]:
    parts = {"the training blocks": _comparable(config, data.train.without_masks()).digest()}
    if not _is_labelled_by_classifier(config):
        table = data.distribution
        numbers = [values.double().numpy().round(_DECIMALS) for values in (table.mean, table.std)]
        parts["the count distribution"] = digest(list(table.classes), list(table.labels), *numbers)
    if data.train.masks is not None and any(METHODS[name].pixels in _TRUE_MASKS for name in config.methods):
        parts["the training masks"] = _comparable(config, data.train).digest()
    return parts


def _comparable(config: RunConfig, blocks: TrainingBlocks) -> TrainingBlocks:
    """The blocks without a classifier's labels, which follow from the rest, and near an edge from the device."""
    if not _is_labelled_by_classifier(config):
        return blocks
    return replace(blocks, labels=np.full_like(blocks.labels, -1))


def _is_labelled_by_classifier(config: RunConfig) -> bool:
    return getattr(config.data, "classifier", None) is not None
