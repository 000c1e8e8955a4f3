"""The source `cohort`: blocks of slides, read as they are needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lsr_ext.config.data import Cohort
from lsr_ext.data import Block, BlockCollection, Targets
from lsr_ext.data.cohort import (
    BlockSource,
    CachedBlocks,
    CohortDataset,
    JoinedBlocks,
    Manifest,
    SlideBlocks,
    SlideMasks,
    open_blocks,
)
from lsr_ext.data.cohort.dataset import read_twice
from lsr_ext.data.digests import digest
from lsr_ext.data.labels import expected_area
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.labelled_images import read_distribution
from lsr_ext.sources.mask_ids import bind_mask_ids
from lsr_ext.sources.training_data import TrainingData, foreground_index

_logger = logging.getLogger(__name__)
_GREATEST_SPREAD = 2.0  # of microns per pixel: a recipe reads slides to the nearest power of 2


class CohortBlocks:
    """A split of a cohort: see `lsr_ext.data.cohort.CohortDataset`.

    Args:
        source: of the pixels.
        classes: the names of the pixel classes.
        masks: the pixel truth, if there is one.
        limit: the largest share of blocks that may be left out, in [0, 1].
        split: of the manifest.
        labels: of all blocks of the source, numbered as the distribution has them.
        targets: class fractions of all blocks of the source, where they are known.
    """

    channels = 3
    reads_files = True
    collate = staticmethod(CohortDataset.collate)

    def __init__(
        self,
        source: BlockSource,
        classes: Sequence[str],
        masks: SlideMasks | None,
        limit: float,
        split: str,
        labels: np.ndarray,
        targets: Targets | None,
    ) -> None:
        self.classes = list(classes)
        self._source, self.masks, self._limit, self._split = source, masks, limit, split
        self._all_labels, self._targets = labels, targets
        self._rows = source.manifest.rows_of(split)
        self.labels = labels[self._rows]
        self.targets = None if targets is None else targets.subset(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def block_images(self, indices: Iterable[int]) -> list[np.ndarray]:
        """The pixels of those of these blocks that can be read, uint8 (H, W, 3) each."""
        items = self.without_masks().dataset(augment=False).__getitems__(list(indices))
        return [(item["image"].permute(1, 2, 0) * 255).round().byte().numpy() for item in items]

    def dataset(self, augment: bool, report: Path | None = None, resumed: bool = False) -> CohortDataset:
        """The blocks, read as they are needed, with their masks where there are any."""
        options = {"report": report, "resumed": resumed, "limit": self._limit, "masks": self.masks}
        options |= {"labels": self._all_labels, "targets": self._targets}
        return CohortDataset(self._source, self._split, augment=augment, **options)

    def digest(self) -> str:
        """A text that changes with the blocks, their labels and the masks' sizes; slides may lie elsewhere."""
        manifest = self._source.manifest
        slides, slide_of = manifest.slides()
        named, place = np.unique(slide_of[self._rows], return_inverse=True)
        used = [slides[k].path for k in named]
        masks = None if self.masks is None else self.masks.describe(used)
        sizes = manifest.table["size_px"].to_numpy()[self._rows]
        targets = () if self.targets is None else self.targets
        names = [path.name for path in used]
        return digest(
            self.classes, names, masks, place, manifest.rectangles[self._rows], sizes, self.labels, *targets
        )

    def without_masks(self) -> CohortBlocks:
        """The same blocks without pixel labels."""
        return self.of_split(self._split, with_masks=False)

    def of_split(self, split: str, with_masks: bool = True) -> CohortBlocks:
        """The blocks of a split of the same cohort."""
        masks = self.masks if with_masks else None
        return CohortBlocks(self._source, self.classes, masks, self._limit, split, self._all_labels, self._targets)

    def expected_area(self, distribution: CountDistribution) -> np.ndarray:
        """The share of each class in all blocks of known label, by p(c_l | z): float64 (L,) of sum 1."""
        return expected_area(self.labels, distribution.mean.numpy())


class _ReadBlocks(Sequence[np.ndarray]):
    """Arrays of blocks, read each time that they are asked for."""

    def __init__(self, rows: np.ndarray, read: Callable[[int], np.ndarray]) -> None:
        self._rows, self._read = rows, read

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._read(int(self._rows[index]))


def prepare_cohort(data: Cohort, context: RunContext) -> TrainingData:
    """Open the manifests and read the count distribution; the held-out split is read when it is predicted.

    Raises:
        FileNotFoundError, ValueError: a manifest, store, distribution or folder of masks that is missing or
            faulty, manifests that do not fit together, labels that are not the distribution's, or no block in a
            split.
    """
    source = JoinedBlocks([_open(data.root / path, data, context.folder) for path in data.manifests])
    distribution = read_distribution(data)
    labels, targets = _bind(source.manifest, distribution)
    size_px = int(source.manifest.table["size_px"][0].as_py())
    if data.block_size_px not in (None, size_px):
        raise ValueError(f"data.block_size_px: the manifest's blocks are {size_px} px, got {data.block_size_px}")
    masks = None
    if data.masks is not None:
        class_of_id = bind_mask_ids(data.mask_classes, distribution.classes)
        masks = SlideMasks(data.root / data.masks, class_of_id, data.mask_suffix)
        splits = ["train", context.split, *(["validation"] * context.validates)]
        _check_masks(source.manifest, masks, splits)
    train = CohortBlocks(source, distribution.classes, masks, data.limit, "train", labels, targets)
    test = _held_out(source, context.split, distribution, masks, size_px, labels)
    foreground = foreground_index(data.foreground, distribution.classes)
    validation = train.of_split("validation") if context.validates else None
    mpp = _mpp(source.manifest, data.mpp)
    return TrainingData(train, test, distribution, foreground, mpp=mpp, validation=validation, limit=data.limit)


def _open(path: Path, data: Cohort, folder: Path) -> BlockSource:
    """The blocks of a manifest or store; those of slides through the cache, where there is to be one."""
    blocks = open_blocks(path)
    if not data.cache_gb or not isinstance(blocks, SlideBlocks):
        return blocks
    kept = folder / "block_cache" if data.cache_folder is None else data.root / data.cache_folder
    return CachedBlocks(blocks, kept, int(data.cache_gb * 1e9))


def _bind(manifest: Manifest, distribution: CountDistribution) -> tuple[np.ndarray, Targets | None]:
    """The manifest's labels and fractions, with labels and classes of the distribution of the same names.

    Returns:
        int64 (N,), or (N, L) with -1 for the classes that have no labels; the fractions, if it has some.

    Raises:
        ValueError: a label or class that the distribution does not have.
    """
    for what, found, expected in (
        ("labels", manifest.label_names, distribution.labels),
        ("classes", manifest.classes, distribution.classes),
    ):
        if missing := [name for name in found if name not in expected]:
            raise ValueError(
                f"data.distribution: expected the manifest's {what} {list(found)}, got {list(expected)}, "
                f"without {missing[0]!r}"
            )
    numbers = np.array([*(list(distribution.labels).index(name) for name in manifest.label_names), -1])
    labels = numbers[manifest.labels]  # -1, unknown, is the last
    classes = list(distribution.classes)
    if manifest.classes:
        bound = np.full((len(manifest), len(classes)), -1, dtype=np.int64)
        bound[:, [classes.index(name) for name in manifest.classes]] = labels
        labels = bound
    fractions = manifest.fractions
    if fractions is None:
        return labels, None
    if not set(manifest.fraction_classes) <= set(classes):
        _logger.warning(
            "the manifest's fractions are of %s, not of the classes %s: they are not used",
            ", ".join(manifest.fraction_classes),
            ", ".join(classes),
        )
        return labels, None
    return labels, Targets.of_classes(fractions, None, manifest.fraction_classes, classes, distribution.exclusive)


def _check_masks(manifest: Manifest, masks: SlideMasks, splits: Sequence[str]) -> None:
    """Every slide of these splits needs a mask of its own."""
    slides, slide_of = manifest.slides()
    used = [
        slides[k].path for k in sorted({int(slide_of[row]) for split in splits for row in manifest.rows_of(split)})
    ]
    paths = [masks.path(slide) for slide in used]
    missing = [slide.name for slide, path in zip(used, paths, strict=True) if path is None]
    if missing:
        raise ValueError(
            f"data.masks: {len(missing)} of {len(used)} slides have no mask: {', '.join(missing[:5])}"
        )
    slide_of_mask: dict[Path, Path] = {}
    for slide, path in zip(used, paths, strict=True):
        other = slide_of_mask.setdefault(path, slide)
        if other.resolve() != slide.resolve():  # one file under two paths is one slide
            raise ValueError(
                f"data.masks: expected a mask for each slide, got {path} for both {other} and {slide}"
            )


def _mpp(manifest: Manifest, given: float | None) -> float:
    """The blocks' microns per pixel: their median, which what is given must agree with."""
    found = manifest.table["mpp"].to_numpy()
    low, middle, high = np.quantile(found, [0, 0.5, 1]).tolist()
    if high > _GREATEST_SPREAD * low:
        raise ValueError(
            f"the manifest's blocks are of {low:g} to {high:g} microns per pixel: too different to mix"
        )
    if given is not None and not low / 1.01 <= given <= high * 1.01:
        raise ValueError(
            f"data.mpp: the manifest's blocks are of {low:g} to {high:g} microns per pixel, got {given:g}"
        )
    return middle


def _held_out(
    source: BlockSource,
    split: str,
    distribution: CountDistribution,
    masks: SlideMasks | None,
    size_px: int,
    labels: np.ndarray,
) -> BlockCollection:
    """The blocks of a split, each an image of its own."""
    manifest = source.manifest
    rows = manifest.rows_of(split)
    slides, slide_of = manifest.slides()
    rectangles = manifest.rectangles

    def read_mask(row: int) -> np.ndarray:
        return masks.read(slides[slide_of[row]], rectangles[row], size_px)

    names = [f"{slides[slide_of[row]].path.stem} ({rectangles[row][0]}, {rectangles[row][1]})" for row in rows]
    return BlockCollection(
        _ReadBlocks(rows, partial(read_twice, source)),
        [Block(index, 0, 0, size_px, size_px) for index in range(len(rows))],
        labels[rows],
        list(distribution.classes),
        None if masks is None else _ReadBlocks(rows, read_mask),
        names,
        list(distribution.labels),
    )
