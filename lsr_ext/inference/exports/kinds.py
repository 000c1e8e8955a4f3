"""The exports that are written beside a prediction, with their defaults."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

# Name -> the suffix of its file, and its function.
EXPORTS = {
    "ome-tiff": (".ome.tif", "ome_tiff.export_ome_tiff"),
    "geojson": (".geojson.gz", "geojson.export_geojson"),
    "cells": (".cells.csv", "cells.export_cells"),
    "spatialdata": (".spatialdata.zarr", "spatialdata.export_spatialdata"),
}


def check_exports(names: Sequence[str]) -> None:
    """Refuse names of no export.

    Raises:
        ValueError: the first of them.
    """
    for name in names:
        if name not in EXPORTS:
            raise ValueError(f"expected an export of {', '.join(EXPORTS)}, got {name!r}")


def export_beside(prediction: Path, name: str) -> Path:
    """Write an export as `NAME<suffix>` beside `NAME.zarr`, unless this prediction has it already.

    Args:
        prediction: `NAME.zarr`.
        name: of `EXPORTS`.
    """
    suffix, function = EXPORTS[name]
    output = prediction.with_name(prediction.stem + suffix)
    # Older than the prediction, it is of one that was there before.
    begun = (prediction / "zarr.json").stat().st_mtime_ns
    if not output.exists() or output.stat().st_mtime_ns < begun:
        module, _, called = function.partition(".")
        getattr(importlib.import_module(f"lsr_ext.inference.exports.{module}"), called)(prediction, output)
    return output
