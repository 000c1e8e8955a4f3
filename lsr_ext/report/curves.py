"""Training curves, read back from TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def read_curves(folder: Path) -> dict[str, np.ndarray]:
    """The scalars logged into a folder: name -> (K, 2) steps and values.

    Where a resumed run logged a step a second time, the later value counts.
    """
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curves = {}
    for name in events.Tags()["scalars"]:
        # Files of one second come in the order of their names, in which 10 is before 9.
        in_time = sorted(events.Scalars(name), key=lambda event: event.wall_time)
        by_step = {event.step: event.value for event in in_time}
        curves[name] = np.array(sorted(by_step.items()))
    return curves
