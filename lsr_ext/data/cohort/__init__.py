"""Cohorts of slides: a manifest of labelled blocks, a dataset over it, and a store of cut blocks."""

try:
    from lsr_ext.data.cohort.block_cache import CachedBlocks
    from lsr_ext.data.cohort.build import build_cohort
    from lsr_ext.data.cohort.dataset import BlockSource, CohortDataset, SlideBlocks
    from lsr_ext.data.cohort.joined import JoinedBlocks, open_blocks
    from lsr_ext.data.cohort.label_sources import HeatMaps, LabelSource, Masks, PatchProbabilities, Regions
    from lsr_ext.data.cohort.manifest import Manifest, read_manifest
    from lsr_ext.data.cohort.masks import SlideMasks
    from lsr_ext.data.cohort.preflight import SlideCheck, check_cohort, checks_as_csv, format_checks
    from lsr_ext.data.cohort.quarantine import Quarantine, QuarantineLimitError, read_report
    from lsr_ext.data.cohort.recipe import PRESETS, Recipe
    from lsr_ext.data.cohort.rectangles import Rectangles
    from lsr_ext.data.cohort.slides import (
        CohortSlide,
        SlideListing,
        assign_splits,
        list_slides,
        scan_slides,
        with_mpp,
    )
    from lsr_ext.data.cohort.store import StoredBlocks, cut_cohort, verify_store
    from lsr_ext.data.cohort.tissue import TissueFinder
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"lsr_ext.data.cohort needs the module {error.name!r}: pip install lsr_ext[wsi]", name=error.name
    ) from error

__all__ = [
    "PRESETS",
    "BlockSource",
    "CachedBlocks",
    "CohortDataset",
    "CohortSlide",
    "HeatMaps",
    "JoinedBlocks",
    "LabelSource",
    "Manifest",
    "Masks",
    "PatchProbabilities",
    "Quarantine",
    "QuarantineLimitError",
    "Recipe",
    "Rectangles",
    "Regions",
    "SlideBlocks",
    "SlideCheck",
    "SlideListing",
    "SlideMasks",
    "StoredBlocks",
    "TissueFinder",
    "assign_splits",
    "build_cohort",
    "check_cohort",
    "checks_as_csv",
    "cut_cohort",
    "format_checks",
    "list_slides",
    "open_blocks",
    "read_manifest",
    "read_report",
    "scan_slides",
    "verify_store",
    "with_mpp",
]
