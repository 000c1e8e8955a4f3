"""The source `masks`: folders of images with masks of classes or of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.config.data import MaskFolders
from lsr_ext.data import read_mask_pairs, read_resize_list
from lsr_ext.sources.cell_classes import classify_cells
from lsr_ext.sources.pixel_truth import PixelTruth

if TYPE_CHECKING:
    from lsr_ext.metrics import DotSet


def read_mask_folders(data: MaskFolders) -> PixelTruth:
    """Images and masks of all folders.

    Raises:
        FileNotFoundError, ValueError: a folder or file is missing or faulty.
    """
    images, masks, names = [], [], []
    dots: dict[int, DotSet] = {}
    for image_folder, mask_folder in zip(data.images, data.masks or data.images, strict=True):
        folder = data.root / image_folder
        found_images, found_masks, found_names = read_mask_pairs(
            folder,
            data.root / mask_folder,
            image_suffix=data.image_suffix,
            mask_suffix=data.mask_suffix,
            mask_page=data.mask_page,
            mask_colours=_colour_ids(data),
            colour_tolerance=data.colour_tolerance,
            instance_masks=data.instance_masks and data.cells_suffix is None,
            resize=read_resize_list(folder / data.resize_list) if data.resize_list else None,
            downscale=data.downscale,
        )
        if data.cells_suffix is not None:
            found_masks, cells = classify_cells(data, data.root / mask_folder, found_names, found_masks)
            dots |= dict(enumerate(cells, start=len(images)))
        images += found_images
        masks += found_masks
        names += [(image_folder / name).as_posix() for name in found_names]
    return PixelTruth(images, masks, names, data.classes, dots)


def _colour_ids(data: MaskFolders) -> dict[int, list[list[int]]] | None:
    if data.mask_colours is None:
        return None
    return {data.classes.index(name): colours for name, colours in data.mask_colours.items()}
