"""A trained model that stands alone, and prediction by it: windows, symmetries, decoding, stitching."""

from lsr_ext.inference.devices import choose_device
from lsr_ext.inference.model import TrainedModel, load_model
from lsr_ext.inference.model_file import ModelDescription, PredictionDescription
from lsr_ext.inference.rectangles import predict_rectangles

__all__ = [
    "ModelDescription",
    "PredictionDescription",
    "TrainedModel",
    "choose_device",
    "load_model",
    "predict_rectangles",
]
