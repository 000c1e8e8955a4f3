"""A run keeps to its data: a folder is not continued, nor scored, on other blocks or labels."""

from __future__ import annotations

import json
from pathlib import Path

from lsr_ext.data.digests import digest
from lsr_ext.files import write_atomically
from lsr_ext.sources import TrainingData

_NAME = "data.json"
_DECIMALS = 6  # of a count distribution: sums differ in the last digits from processor to processor


def keep_to_data(output: Path, data: TrainingData) -> None:
    """Note the data of a run at its start; later, refuse others.

    Raises:
        ValueError: as :func:`check_same_data` does.
    """
    check_same_data(output, data)
    write_atomically(output / _NAME, json.dumps(_describe(data), indent=2).encode())


def check_same_data(output: Path, data: TrainingData) -> None:
    """Refuse data other than those that the run in a folder was trained on. Held-out blocks may be others.

    Raises:
        ValueError: the training blocks, those to validate on or the count distribution have changed.
    """
    before, now = read_data_digests(output), _describe(data)
    changed = [part for part, found in now.items() if before.get(part, found) != found]
    if changed:
        raise ValueError(
            f"{output} is of a run on other data ({' and '.join(changed)} have changed since): choose another "
            "output folder"
        )


def read_data_digests(output: Path) -> dict[str, str]:
    """The digest of each part of a run's data; nothing where none was noted."""
    path = output / _NAME
    return json.loads(path.read_bytes()) if path.is_file() else {}


def _describe(data: TrainingData) -> dict[str, str]:
    table = data.distribution
    numbers = [values.double().numpy().round(_DECIMALS) for values in (table.mean, table.std)]
    parts = {
        "the training blocks": data.train.digest(),
        "the count distribution": digest(list(table.classes), list(table.labels), *numbers),
    }
    return parts if data.validation is None else parts | {"the validation blocks": data.validation.digest()}
