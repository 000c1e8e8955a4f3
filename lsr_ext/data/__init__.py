"""From images and block labels to batches: blocks, labels, splits, a dataset and a grouped sampler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsr_ext.lazy import lazy_names

if TYPE_CHECKING:
    from lsr_ext.data import cohort as cohort
    from lsr_ext.data import simulate as simulate
    from lsr_ext.data.blocks import Block, block_fractions, cut_blocks
    from lsr_ext.data.cell_tables import classes_of_cells, read_cell_table
    from lsr_ext.data.collection import BlockCollection
    from lsr_ext.data.colour_jitter import jitter_colours
    from lsr_ext.data.dataset import BlockDataset
    from lsr_ext.data.folders import read_mask_pairs, read_resize_list
    from lsr_ext.data.fraction_sampler import FractionBatchSampler
    from lsr_ext.data.grouped_items import GroupedItems, GroupNumbers
    from lsr_ext.data.images import list_images, read_colour_mask, read_image, read_mask
    from lsr_ext.data.label_table import LabelTable, read_label_table
    from lsr_ext.data.labels import add_label_noise, expected_fractions, quantile_edges, quantise_fractions
    from lsr_ext.data.land_cover import (
        LandCoverDataset,
        LandCoverPatch,
        collate_blocks,
        low_resolution_map,
        read_land_cover_patch,
        read_land_cover_tables,
    )
    from lsr_ext.data.resumable_loader import ResumableLoader
    from lsr_ext.data.sampler import GroupedBatchSampler
    from lsr_ext.data.seeded_items import SeededBatches, SeededItems
    from lsr_ext.data.splits import split_by_image, split_by_position
    from lsr_ext.data.targets import Targets

__all__ = [
    "Block",
    "BlockCollection",
    "BlockDataset",
    "FractionBatchSampler",
    "GroupNumbers",
    "GroupedBatchSampler",
    "GroupedItems",
    "LabelTable",
    "LandCoverDataset",
    "LandCoverPatch",
    "ResumableLoader",
    "SeededBatches",
    "SeededItems",
    "Targets",
    "add_label_noise",
    "block_fractions",
    "classes_of_cells",
    "collate_blocks",
    "cut_blocks",
    "expected_fractions",
    "jitter_colours",
    "list_images",
    "low_resolution_map",
    "quantile_edges",
    "quantise_fractions",
    "read_cell_table",
    "read_colour_mask",
    "read_image",
    "read_label_table",
    "read_land_cover_patch",
    "read_land_cover_tables",
    "read_mask",
    "read_mask_pairs",
    "read_resize_list",
    "split_by_image",
    "split_by_position",
]

_HOMES = {
    "blocks": ["Block", "block_fractions", "cut_blocks"],
    "cell_tables": ["classes_of_cells", "read_cell_table"],
    "collection": ["BlockCollection"],
    "colour_jitter": ["jitter_colours"],
    "dataset": ["BlockDataset"],
    "folders": ["read_mask_pairs", "read_resize_list"],
    "fraction_sampler": ["FractionBatchSampler"],
    "grouped_items": ["GroupNumbers", "GroupedItems"],
    "images": ["list_images", "read_colour_mask", "read_image", "read_mask"],
    "label_table": ["LabelTable", "read_label_table"],
    "labels": ["add_label_noise", "expected_fractions", "quantile_edges", "quantise_fractions"],
    "land_cover": [
        "LandCoverDataset",
        "LandCoverPatch",
        "collate_blocks",
        "low_resolution_map",
        "read_land_cover_patch",
        "read_land_cover_tables",
    ],
    "resumable_loader": ["ResumableLoader"],
    "sampler": ["GroupedBatchSampler"],
    "seeded_items": ["SeededBatches", "SeededItems"],
    "splits": ["split_by_image", "split_by_position"],
    "targets": ["Targets"],
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES, ["cohort", "simulate"])
