"""Read training curves from TensorBoard's event files, or from the tables of the logger csv."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_curves(folder: Path) -> dict[str, np.ndarray]:
    """Read the scalars that were logged in a method's folder: name -> (K, 2) steps and values.

    If a resumed run logged a step twice, the later value is used. Empty if no logger wrote into the folder.
    """
    return _read_events(folder) or _read_tables(folder)


def _read_events(folder: Path) -> dict[str, np.ndarray]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for name in events.Tags()["scalars"]:
        # Files of the same second are sorted by name, where 10 comes before 9.
        in_time = sorted(events.Scalars(name), key=lambda event: event.wall_time)
        by_step = {event.step: event.value for event in in_time}
        curves[name] = np.array(sorted(by_step.items()))
    return curves


def _read_tables(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, dict[int, float]] = {}
    for path in sorted(folder.glob("curves/*/metrics.csv")):  # in the order in which the run was started
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name in row.keys() - {"step"}:
                    if row[name]:
                        found.setdefault(name, {})[int(row["step"])] = float(row[name])
    return {name: np.array(sorted(by_step.items())) for name, by_step in found.items()}
