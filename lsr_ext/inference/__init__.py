"""A trained model that stands alone, and prediction by it: images and slides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.lazy import lazy_names

if TYPE_CHECKING:
    from lsr_ext.inference.devices import choose_device
    from lsr_ext.inference.model import TrainedModel, load_model
    from lsr_ext.inference.model_file import ModelDescription, PredictionDescription
    from lsr_ext.inference.rectangles import predict_rectangles
    from lsr_ext.inference.slide import predict_slide
    from lsr_ext.inference.slides import predict_slides

__all__ = [
    "ModelDescription",
    "PredictionDescription",
    "TrainedModel",
    "choose_device",
    "load_model",
    "predict_rectangles",
    "predict_slide",
    "predict_slides",
]

# Those of slides need the extra [wsi], the others do not.
_HOMES = {
    "devices": ["choose_device"],
    "model": ["TrainedModel", "load_model"],
    "model_file": ["ModelDescription", "PredictionDescription"],
    "rectangles": ["predict_rectangles"],
    "slide": ["predict_slide"],
    "slides": ["predict_slides"],
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
