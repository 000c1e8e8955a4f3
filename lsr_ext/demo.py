"""The end of the demonstration: its image as a slide, predicted, exported, and ready for `lsr view`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from skimage.measure import find_contours

from lsr_ext.config import RunConfig
from lsr_ext.data.cohort.manifest import make_table, write_table
from lsr_ext.data.pyramids import write_pyramid
from lsr_ext.files import write_atomically
from lsr_ext.inference import load_model, predict_slide
from lsr_ext.inference.exports.ome_tiff import export_ome_tiff
from lsr_ext.sources import TrainingData, prepare_data
from lsr_ext.sources.stained_image import stained_image
from lsr_ext.training.folders import model_folder
from lsr_ext.wsi import open_slide

# The image does not say its resolution; scale bars are right if this is.
ASSUMED_MPP = 0.5
_METHOD = "intra+inter"
_SYMMETRIES = 2  # of 8: the demonstration is to take minutes
_NAME = "immunohistochemistry"


class DemoSlide(NamedTuple):
    """The files of the demonstration's slide."""

    slide: Path
    prediction: Path
    exported: Path
    truth: Path
    blocks: Path

    @property
    def view_command(self) -> str:
        """The command that shows them."""
        options = f"--prediction {self.prediction} --truth {self.truth} --blocks {self.blocks}"
        return f"lsr view {self.slide} {options}"


def demo_slide(output: Path) -> DemoSlide:
    """Where the files of the demonstration's slide lie in the output folder of its run."""
    folder = output / "slide"
    return DemoSlide(
        folder / f"{_NAME}.tif",
        folder / f"{_NAME}.zarr",
        folder / f"{_NAME}.ome.tif",
        folder / f"{_NAME}.geojson",
        folder / "blocks.parquet",
    )


def predict_demo_slide(config: RunConfig) -> DemoSlide:
    """Write the demonstration's image as a slide, predict it by the trained model, and export the label map.

    Args:
        config: the demonstration's run, trained with intra+inter.

    Returns:
        The files, in `<output>/slide`: the slide, its prediction, the label map as OME-TIFF, the true regions as
        GeoJSON and the labelled blocks as a manifest.

    Raises:
        FileNotFoundError: the run is not trained.
    """
    files = demo_slide(config.output)
    image, mask = stained_image()
    model = load_model(model_folder(config.output, _METHOD))
    if not files.slide.exists():  # its prediction stays valid
        write_pyramid(files.slide, image, ASSUMED_MPP)
    how = model.description.prediction.changed({"symmetries": _SYMMETRIES})
    predict_slide(
        model,
        open_slide(files.slide),
        files.prediction.parent,
        mpp=ASSUMED_MPP,
        everywhere=True,
        prediction=how,
    )
    export_ome_tiff(files.prediction, files.exported)
    write_atomically(files.truth, json.dumps(_regions(mask, "stained")).encode())
    _write_blocks(files.blocks, files.slide, prepare_data(config))
    return files


def _regions(mask: np.ndarray, name: str) -> dict:
    """The regions of a mask as GeoJSON, their outlines between the middles of pixels."""
    # A rim of background closes the outlines at the border; the first pixel's middle is at 0.5.
    outlines = [contour[:, ::-1] - 0.5 for contour in find_contours(np.pad(mask, 1), 0.5)]
    area = shapely.build_area(shapely.multilinestrings([shapely.linestrings(outline) for outline in outlines]))
    features = [
        {
            "type": "Feature",
            "geometry": json.loads(shapely.to_geojson(part)),
            "properties": {"objectType": "annotation", "classification": {"name": name}},
        }
        for part in shapely.get_parts(area)
    ]
    return {"type": "FeatureCollection", "features": features}


def _write_blocks(path: Path, slide: Path, data: TrainingData) -> None:
    """Write a manifest of the labelled blocks: those for training that do not overlap, and the held-out ones."""
    found = [
        (block, int(label), split)
        for split, some in (("train", data.train), ("test", data.test))
        for block, label in zip(some.blocks, some.labels, strict=True)
        if split == "test" or (block.x % block.width == 0 and block.y % block.height == 0)
    ]
    blocks = [block for block, _, _ in found]
    count = len(found)
    columns = {
        "slide": [slide.name] * count,
        "patient": [None] * count,
        **{name: [getattr(block, name) for block in blocks] for name in ("x", "y", "width", "height")},
        "mpp": [ASSUMED_MPP] * count,
        "size_px": [block.width for block in blocks],
        "label_source": ["stain"] * count,
        "split": [split for _, _, split in found],
        "tissue_fraction": [1.0] * count,
    }
    labels = np.array([label for _, label, _ in found])
    write_table(make_table(columns, labels), path, data.distribution.labels, [], {})
