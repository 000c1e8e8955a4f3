"""A slide's prediction as SpatialData (OME-Zarr), which napari and LazySlide open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from lsr_ext.files import remove_unfinished, written_whole
from lsr_ext.inference.exports.outlines import outline_regions
from lsr_ext.inference.prediction import Prediction, open_prediction
from lsr_ext.inference.slide_store import NOT_PREDICTED

_SMALLEST_PX = 1024  # the longer side of the coarsest level


def export_spatialdata(
    prediction: str | Path,
    output: str | Path,
    *,
    tolerance_px: float = 1.0,
    min_area_um2: float = 0.0,
    classes: Sequence[str] | None = None,
) -> Path:
    """Write a prediction as SpatialData, in level-0 pixels ("global").

    The labels element `classes` holds the label map, a pyramid: 0 where nothing was predicted, otherwise 1 + the
    class's id. The shapes element `regions` holds the polygons of `export_geojson`, with their class, area_um2
    and mean_probability; the attribute `lsr_ext` names the classes and all that the prediction depends on. The map
    is read and written in chunks; the polygons are held in memory.

    Args:
        prediction: `NAME.zarr`, as `predict_slide` writes it.
        output: the folder, `.zarr`.
        tolerance_px, min_area_um2, classes: of the polygons, as for `export_geojson`.

    Returns:
        `output`.

    Raises:
        ModuleNotFoundError: spatialdata is not installed; it is in the extra `lsr_ext[spatialdata]`.
        FileNotFoundError: there is no such prediction.
        ValueError: an unknown class, or a number below 0.
    """
    try:
        import dask.array as da
        from spatialdata import SpatialData
        from spatialdata.models import Labels2DModel
        from spatialdata.transformations import Scale
    except ModuleNotFoundError as error:
        message = f"the module {error.name!r} is missing: pip install lsr_ext[spatialdata]"
        raise ModuleNotFoundError(message, name=error.name) from error
    opened, output = open_prediction(prediction), Path(output)
    if output.suffix.lower() != ".zarr":
        raise ValueError(f"{output}: expected a folder ending in .zarr")
    labels = da.from_zarr(opened.labels).map_blocks(_numbered, dtype=np.uint8)
    halvings = max(int(np.ceil(np.log2(max(labels.shape) / _SMALLEST_PX))), 0)
    image = Labels2DModel.parse(
        labels,
        dims=("y", "x"),
        scale_factors=[2] * halvings or None,
        transformations={"global": Scale(list(opened.step), axes=("x", "y"))},
    )
    shapes = _shapes(opened, tolerance_px, min_area_um2, set(opened.class_ids(classes)))
    content = SpatialData(labels={"classes": image}, shapes=shapes, attrs={"lsr_ext": opened.about})
    remove_unfinished(output.parent, f"{output.name}.")
    with written_whole(output) as temporary:
        content.write(temporary)
    return output


def _numbered(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == NOT_PREDICTED, 0, labels + 1).astype(np.uint8)


def _shapes(prediction: Prediction, tolerance_px: float, min_area_um2: float, wanted: set[int]) -> dict:
    """The shapes element, or nothing if there is no region: SpatialData holds no empty one."""
    import geopandas
    from spatialdata.models import ShapesModel
    from spatialdata.transformations import Identity

    pixel_um2, step = prediction.mpp**2, np.array(prediction.step)
    options = {"tolerance_px": tolerance_px, "min_area_px": min_area_um2 / pixel_um2, "wanted": wanted}
    rows = [
        {
            "geometry": shapely.Polygon(region.rings[0] * step, [ring * step for ring in region.rings[1:]]),
            "class": prediction.classes[region.class_id],
            "area_um2": region.area_px * pixel_um2,
            "mean_probability": region.total / region.area_px / 255,
        }
        for region in outline_regions(prediction.labels, values=prediction.likelihood, **options)
    ]
    if not rows:
        return {}
    frame = geopandas.GeoDataFrame(rows, geometry="geometry")
    return {"regions": ShapesModel.parse(frame, transformations={"global": Identity()})}
