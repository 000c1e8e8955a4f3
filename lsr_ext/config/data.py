"""What may stand in the `data` section of a configuration: the sources of blocks, labels and distributions."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lsr_ext.config.section import ClassNames, Colour, Count, Page, PositiveNumber, Section, Share

# What decides the splits where no source of its own does.
_SPLIT_KEYS = {"test_fraction", "validation_fraction", "split_seed", "patient", "splits", "split_folders"}


class _Blocks(Section):
    """The keys that all sources share.

    Attributes:
        root: folder that the section's other folders and files are relative to.
        block_size_px: side of a block, in pixels.
        mpp: microns per pixel of the blocks, where known. A trained model keeps it.
        test_fraction: share of the images that are held out for the final scores.
        validation_fraction: share of the images that are held out for choosing settings.
        split_seed: random seed of the split; null: the run's seed.
        patient: regular expression. Images in whose names it matches the same text are of one patient, and stay in
            one split.
        splits: CSV with the columns image, split and, if known, patient: the split of every image is fixed by it.
            A patient in two splits is an error. The shares and the seed are then not used.
        split_folders: the same by folders: train, validation and test -> the folder that images' names begin with.
        foreground: the class that two-class scores are of; null: the last one.
        stains: for the colour baselines and the pseudo-labels: a preset, a YAML file, or the content of one, see
            `lsr_ext.baselines.StainSet.load`.
    """

    # What this source cannot give, and why: kinds of pixel labels (`lsr_ext.config.methods.Method.pixels`), and
    # "fractions", numbers of each block.
    lacks: ClassVar[dict[str, str]] = {}

    root: Path = Path()
    block_size_px: Count
    mpp: float | None = Field(None, gt=0, allow_inf_nan=False)
    test_fraction: Share = 0.3
    validation_fraction: float = Field(0.0, ge=0, lt=1)
    split_seed: int | None = Field(None, ge=0)
    patient: str | None = None
    splits: Path | None = None
    split_folders: dict[Literal["train", "validation", "test"], Path] | None = Field(None, min_length=2)
    foreground: str | None = None
    stains: str | dict[str, Colour | list[str]] | None = None

    @property
    def has_validation(self) -> bool:
        """Whether there is a split for choosing settings."""
        if self.split_folders is not None:
            return "validation" in self.split_folders
        return self.validation_fraction > 0 or self.splits is not None

    @model_validator(mode="after")
    def _check_split(self) -> _Blocks:
        if self.test_fraction + self.validation_fraction >= 1:
            raise ValueError(
                f"test_fraction and validation_fraction leave nothing to train on: {self.test_fraction} and "
                f"{self.validation_fraction}"
            )
        try:
            re.compile(self.patient or "")
        except re.error as error:
            raise ValueError(f"patient: no regular expression ({error}), got {self.patient!r}") from error
        return self


class _Images(Section):
    """The keys of sources that read image files.

    Attributes:
        memory_gb: decoded images and masks are held in memory up to so many GB (10^9 bytes); beyond, they are in a
            file in the output folder, which is removed at the end of the run.
    """

    memory_gb: float = Field(8.0, ge=0, allow_inf_nan=False)


class FractionSection(_Blocks):
    """Sources that know each block's fractions: labels and the count distribution are made from them.

    Give one of `edges`, `bins` and `high_share`.

    Attributes:
        stride_px: distance between training blocks; below `block_size_px` they overlap. null: they do not.
        edges: one label per block, the bin between these edges that its foreground fraction falls in.
        bins: the same, with so many bins at the quantiles of the training blocks.
        high_share: one label per block and class but the first, the background: "high" for this share of the
            training blocks, those with the largest fraction of the class, and "low" for the others (Table 2).
        noise_std: standard deviation of the Gaussian noise on the fractions that labels are made from.
        fraction_step: they are then rounded to multiples of this, as annotators round to 5 or 10 percent.
        distribution_blocks: training blocks per label that the count distribution is estimated from, or "all".
        distribution_noise_std: standard deviation of the noise on their fractions: above 0 as if they were
            estimated by eye (Appendix B.1), 0 as if masks were drawn (B.2).
    """

    stride_px: Count | None = None
    edges: list[Share] | None = Field(None, min_length=1)
    bins: int | None = Field(None, ge=2)
    high_share: Share | None = None
    noise_std: float = Field(0.0, ge=0)
    fraction_step: Share | None = None
    distribution_blocks: Count | Literal["all"] = 12
    distribution_noise_std: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _check_labelling(self) -> FractionSection:
        given = [name for name in ("edges", "bins", "high_share") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"expected one of edges, bins and high_share, got {' and '.join(given) or 'none'}")
        if self.edges is not None and any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must increase, got {self.edges}")
        return self


class PixelTruthSection(FractionSection):
    """Sources with pixel truth: the fractions are those of the masks.

    Attributes:
        classifier: the probability of a patch classifier takes the place of the fraction (Appendix C).
        cells: connected regions of the truth are cells, and maps are also scored by their centres (Eq. 12, 13).
    """

    classifier: ClassifierConfig | None = None
    cells: bool = False

    @property
    def lacks(self) -> dict[str, str]:
        """Numbers of blocks, where a classifier gives their labels."""
        if self.classifier is None:
            return {}
        return {"fractions": "are not known where data.classifier labels the blocks by its probabilities"}

    @model_validator(mode="after")
    def _check_classifier(self) -> PixelTruthSection:
        if self.classifier is not None and self.edges is None:
            raise ValueError("classifier: its probabilities are cut at edges, got none")
        return self


class ClassifierConfig(Section):
    """The patch classifiers that label blocks: a block is `merge` x `merge` patches, its value their maximum.

    The training images are divided into `folds`. An image is labelled by a classifier that was trained on the
    other folds. A patch is positive in training if the foreground covers at least the share `threshold` of it.
    The other values are those of `lsr_ext.baselines.patch_classifier.ClassifierSettings`.
    """

    folds: int = Field(2, ge=2)
    merge: Count = 2
    threshold: Share = 0.5
    depth: Literal[10, 18, 34] = 34
    input_px: Count = 224
    epochs: Count = 20
    batch_size: int = Field(32, ge=2, multiple_of=2)
    learning_rate: float = Field(1e-3, gt=0)
    colour_jitter: float = Field(0.0, ge=0, allow_inf_nan=False)


class StainedImage(PixelTruthSection):
    """scikit-image's `immunohistochemistry`; the truth is where it is brown (DAB), by colour deconvolution."""

    source: Literal["skimage_ihc"]


class MaskFolders(PixelTruthSection, _Images):
    """Folders of images with masks (none named: beside the images).

    `resize_list` is the name of a file in each image folder, see `lsr_ext.data.read_resize_list`; `image_suffix`,
    `mask_suffix`, `mask_page`, `mask_colours` (class -> colours) and `colour_tolerance` are as for
    `lsr_ext.data.read_mask_pairs`. With `cells_suffix`, masks hold ids of cells, and the table
    `<name><cells_suffix>.csv` beside the mask says which class (`cell_class_column`) each cell (`cell_id_column`)
    is of; cells of no class of `classes` are background, the first. With `cells`, the dots are then theirs.
    """

    source: Literal["masks"]
    images: list[Path] = Field([Path()], min_length=1)
    masks: list[Path] | None = None
    image_suffix: str = ""
    mask_suffix: str = "_mask"
    mask_page: Page | Annotated[list[Page], Field(min_length=1)] | None = None
    mask_colours: dict[str, list[Colour]] | None = None
    colour_tolerance: int = Field(0, ge=0)
    instance_masks: bool = True
    cells_suffix: str | None = None
    cell_id_column: str = "cell_id"
    cell_class_column: str = "class"
    resize_list: str | None = None
    downscale: Count = 1
    classes: ClassNames = Field(["background", "foreground"])

    @model_validator(mode="after")
    def _check_folders(self) -> MaskFolders:
        if self.masks is not None and len(self.masks) != len(self.images):
            raise ValueError(f"expected a mask folder per image folder, got {len(self.masks)}")
        if self.cells_suffix is not None and (self.mask_colours is not None or not self.instance_masks):
            raise ValueError(
                "cells_suffix needs masks of cell ids: neither mask_colours nor instance_masks: false"
            )
        unknown = sorted(set(self.mask_colours or {}) - set(self.classes))
        if unknown:
            raise ValueError(f"mask_colours names {unknown[0]!r}, which is none of the classes {self.classes}")
        return self


class DottedImages(FractionSection, _Images):
    """A folder of images with a file of dots for each, one dot a cell, and no masks.

    A block's fraction of a class is the number of its dots times the area of a cell. The dots are also the truth
    that held-out images are scored by.

    Attributes:
        images: folder of images.
        dots: folder of files of `lsr_ext.metrics.read_dots` with the images' names.
        second_dots: those of another rater, for the agreement of the two.
        classes: the background, then those of the dots.
        cell_area_px: mean area of a cell, in pixels.
    """

    lacks: ClassVar[dict[str, str]] = dict.fromkeys(
        ("all", "limited"), "needs pixel truth, and the source 'dots' has none to train on"
    )

    source: Literal["dots"]
    images: Path = Path("images")
    dots: Path = Path("dots")
    second_dots: Path | None = None
    classes: ClassNames
    cell_area_px: PositiveNumber


class SimulatedFields(PixelTruthSection):
    """Multiplex IHC fields of `lsr_ext.data.simulate`: five markers and a counterstain, truth and dots exact.

    `difficulty` scales everything that separates colour from class: 0 is pure stains on glass.
    """

    source: Literal["simulated"]
    count: Annotated[int, Field(ge=2)]
    field_px: Count = 400
    field_seed: int = Field(0, ge=0)
    difficulty: float = Field(1.0, ge=0)


class LandCover(_Blocks):
    """Patches of the Chesapeake land-cover data: a low-resolution label (NLCD) for every pixel.

    Pixels of one NLCD class in one crop of `block_size_px` form a block; the count distribution is the published
    table. The patches of `test` are for the scores, and `test_fraction` is not used.
    """

    lacks: ClassVar[dict[str, str]] = dict.fromkeys(
        ("limited", "pseudo", "self", "fractions"),
        "cannot be had from the source 'land_cover', of labelled pixels",
    )

    source: Literal["land_cover"]
    train: Path = Path("train_patches")
    test: Path = Path("val_patches")
    tables: Path = Path("tables")

    @model_validator(mode="after")
    def _check_no_split(self) -> LandCover:
        given = sorted((_SPLIT_KEYS - {"test_fraction"}) & self.model_fields_set)
        if given:
            raise ValueError(f"{given[0]}: the folders train and test are the split of this source")
        return self


class Cohort(_Blocks):
    """Blocks of slides, as `lsr cohort build` lists them; they are read while the network trains.

    The splits train, validation and test are the manifest's own; so `test_fraction`, `validation_fraction`,
    `split_seed` and `patient` are not used.

    Attributes:
        manifests: manifests of `lsr cohort build` and folders of `lsr cohort cut`, joined in this order.
        distribution: as for the source `labels`; its labels must be those of the manifest, in this order.
        masks: folder of masks of class ids, one per slide, `<name><mask_suffix>.png` or .tif, that cover whole
            slides: for pixel supervision and for scores. null: there are none.
        mask_suffix: what a mask's name has after its slide's.
        mask_classes: the classes of the masks' ids 0, 1, ...; null: those of the distribution, in its order.
        limit: stop if more than this share of the blocks cannot be read.
        cache_gb: blocks that were read from slides once are kept on disk, up to so many GB (10^9 bytes); 0: none.
        cache_folder: where; null: `block_cache` in the run's folder. It should be on a local disk.
    """

    source: Literal["cohort"]
    block_size_px: Count | None = None
    manifests: list[Path] = Field(min_length=1)
    distribution: Literal["table1", "table6", "table7"] | Path
    masks: Path | None = None
    mask_suffix: str = ""
    mask_classes: list[str] | None = Field(None, min_length=1)
    limit: float = Field(0.05, ge=0, le=1)
    cache_gb: float = Field(0.0, ge=0, allow_inf_nan=False)
    cache_folder: Path | None = None

    @property
    def has_validation(self) -> bool:
        """Whether there is a split for choosing settings: the manifest knows."""
        return True

    @property
    def lacks(self) -> dict[str, str]:
        """Pixel labels that need whole images, and without masks those that need true pixels."""
        reasons = dict.fromkeys(("pseudo", "self"), "is not yet possible with the source 'cohort'")
        if self.masks is None:
            reasons |= dict.fromkeys(("all",), "needs pixel truth: data.masks")
        return reasons | {"limited": "needs blocks that the count distribution was estimated from"}

    @model_validator(mode="after")
    def _check_masks(self) -> Cohort:
        if self.mask_classes and self.masks is None:
            raise ValueError("mask_classes names the ids of masks: give masks too")
        return self

    @model_validator(mode="after")
    def _check_no_split(self) -> Cohort:
        given = sorted(_SPLIT_KEYS & self.model_fields_set)
        if given:
            raise ValueError(f"{given[0]}: the manifest's splits are the split of this source")
        return self


class LabelledImages(_Blocks, _Images):
    """A folder of images with a CSV of labels and a count distribution.

    `distribution` is a JSON file (`CountDistribution.save`), a CSV of fractions approximated by eye
    (`CountDistribution.from_fractions`) or a table of the paper; it names the classes and labels. Images are one
    block each, or are cut into blocks of `block_size_px`. The columns of `labels`: see
    `lsr_ext.data.read_label_table`. Where they are numbers (`fraction`), give `edges` or `bins` in place of
    `distribution`, and `classes`: blocks are trained by the bin that their foreground's fraction falls in, with
    the mean and standard deviation of the training blocks of the bin. `masks`, class ids, and `dots`, files of
    `lsr_ext.metrics.read_dots` with the images' names, serve to score held-out images; `mask_classes` names the
    classes of the ids 0, 1, ..., which are otherwise those of the distribution in its order; `second_dots` are
    those of another rater, for the agreement of the two.
    """

    lacks: ClassVar[dict[str, str]] = dict.fromkeys(
        ("all", "limited"), "needs pixel truth, and the source 'labels' has none to train on"
    )

    source: Literal["labels"]
    block_size_px: Count | None = None
    images: Path = Path()
    labels: Path
    distribution: Literal["table1", "table6", "table7"] | Path | None = None
    edges: list[Share] | None = Field(None, min_length=1)
    bins: int | None = Field(None, ge=2)
    classes: ClassNames = Field(["background", "foreground"])
    masks: Path | None = None
    mask_suffix: str = ""
    mask_classes: list[str] | None = Field(None, min_length=1)
    dots: Path | None = None
    second_dots: Path | None = None

    @property
    def has_validation(self) -> bool:
        """Whether there is a split for choosing settings; the labels' own column may name one."""
        return True

    @model_validator(mode="after")
    def _check_distribution(self) -> LabelledImages:
        given = [name for name in ("distribution", "edges", "bins") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of distribution, edges and bins, got {' and '.join(given) or 'none'}; edges or "
                "bins are for labels that are fractions"
            )
        if self.edges is not None and any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must increase, got {self.edges}")
        return self

    @model_validator(mode="after")
    def _check_masks(self) -> LabelledImages:
        if self.mask_classes and self.masks is None:
            raise ValueError("mask_classes names the ids of masks: give masks too")
        return self

    @model_validator(mode="after")
    def _check_raters(self) -> LabelledImages:
        if self.second_dots and not self.dots:
            raise ValueError("second_dots, those of another rater, need dots")
        return self


Data = Annotated[
    StainedImage | MaskFolders | DottedImages | SimulatedFields | LandCover | LabelledImages | Cohort,
    Field(discriminator="source"),
]
