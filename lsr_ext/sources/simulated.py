"""The source `simulated`: fields of multiplex immunohistochemistry with exact truth."""

from __future__ import annotations

from lsr_ext.config.data import SimulatedFields
from lsr_ext.sources.pixel_truth import PixelTruth


def simulate_truth(data: SimulatedFields) -> PixelTruth:
    """Simulated fields with their exact masks and dots."""
    from lsr_ext.data.simulate import FieldOptions, simulate_fields
    from lsr_ext.metrics import DotSet

    options = FieldOptions().scaled(data.difficulty)
    fields = simulate_fields(data.count, data.field_px, data.field_seed, options)
    classes = fields[0].classes
    dots = {i: DotSet(found.dots, [classes[c] for c in found.dot_classes]) for i, found in enumerate(fields)}
    names = [f"simulated_{i:04d}" for i in range(len(fields))]
    images, masks = [found.image for found in fields], [found.mask for found in fields]
    return PixelTruth(images, masks, names, list(classes), dots)
