"""A prediction with exports in small pieces, for a process that is killed; it imports no more than it needs."""

import sys
from multiprocessing.connection import Connection
from pathlib import Path

import lsr_ext.inference.slide as prediction
import lsr_ext.inference.slide_store as stores
from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.inference import load_model, predict_slides
from lsr_ext.inference.exports import outlines


def run(connection: Connection, model: Path, slide: Path, output: Path) -> None:
    """Say when it begins; end with 1 if the slide fails."""
    prediction.BLOCK_PX, stores.CHUNK_PX, outlines.TILE_PX = 128, 64, 96
    loaded = load_model(model)
    connection.send("begin")
    exports = ["geojson", "ome-tiff", "cells"]
    sys.exit(bool(predict_slides(loaded, [CohortSlide(slide)], output, everywhere=True, exports=exports)))
