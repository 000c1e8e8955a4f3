"""Simulated multiplex IHC: fields and small slides with exact masks, dots and labels. Not real data."""

from lsr_ext.data.simulate.fields import (
    STAIN_VECTORS,
    SimulatedField,
    simulate_field,
    simulate_fields,
    simulate_labels,
)
from lsr_ext.data.simulate.files import simulate_slide, write_fields, write_slides
from lsr_ext.data.simulate.optics import beer_lambert, optical_density
from lsr_ext.data.simulate.options import CLASSES, HAEMATOXYLIN_RGB, MARKERS, STAIN_RGB, FieldOptions
from lsr_ext.data.simulate.slide import simulate_section

__all__ = [
    "CLASSES",
    "HAEMATOXYLIN_RGB",
    "MARKERS",
    "STAIN_RGB",
    "STAIN_VECTORS",
    "FieldOptions",
    "SimulatedField",
    "beer_lambert",
    "optical_density",
    "simulate_field",
    "simulate_fields",
    "simulate_labels",
    "simulate_section",
    "simulate_slide",
    "write_fields",
    "write_slides",
]
