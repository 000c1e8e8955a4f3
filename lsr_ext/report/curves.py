"""Read training curves from TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_curves(folder: Path) -> dict[str, np.ndarray]:
    """Read the scalars that were logged in a folder: name -> (K, 2) steps and values.

    If a resumed run logged a step twice, the later value is used.
    """
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for name in events.Tags()["scalars"]:
        # Files of the same second are sorted by name, where 10 comes before 9.
        in_time = sorted(events.Scalars(name), key=lambda event: event.wall_time)
        by_step = {event.step: event.value for event in in_time}
        curves[name] = np.array(sorted(by_step.items()))
    return curves
