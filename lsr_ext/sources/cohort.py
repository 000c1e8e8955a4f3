"""The source `cohort`: blocks of slides, read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.config.data import Cohort
from lsr_ext.data import Block, BlockCollection
from lsr_ext.data.cohort import BlockSource, CohortDataset, JoinedBlocks, Manifest, SlideMasks, open_blocks
from lsr_ext.data.labels import expected_area
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.labelled_images import read_distribution
from lsr_ext.sources.training_data import TrainingData, foreground_index

_GREATEST_SPREAD = 2.0  # of microns per pixel: a recipe reads slides to the nearest power of 2


class CohortBlocks:
    """The training split of a cohort: see `lsr_ext.data.cohort.CohortDataset`.

    Args:
        source: of the pixels.
        classes: the names of the pixel classes.
        masks: the pixel truth, if there is one.
        limit: the largest share of blocks that may be left out, in [0, 1].
    """

    channels = 3
    known_fractions = None
    collate = staticmethod(CohortDataset.collate)

    def __init__(
        self, source: BlockSource, classes: Sequence[str], masks: SlideMasks | None, limit: float
    ) -> None:
        self.classes = list(classes)
        self._source, self._masks, self._limit = source, masks, limit
        self._rows = source.manifest.rows_of("train")
        self.labels = source.manifest.labels[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def block_images(self, indices: Iterable[int]) -> list[np.ndarray]:
        """The pixels of those of these blocks that can be read, uint8 (H, W, 3) each."""
        items = self.without_masks().dataset(augment=False).__getitems__(list(indices))
        return [(item["image"].permute(1, 2, 0) * 255).round().byte().numpy() for item in items]

    def dataset(self, augment: bool, report: Path | None = None) -> CohortDataset:
        """The blocks, read as they are needed, with their masks where there are any."""
        options = {"augment": augment, "report": report, "limit": self._limit, "masks": self._masks}
        return CohortDataset(self._source, "train", **options)

    def without_masks(self) -> CohortBlocks:
        """The same blocks without pixel labels."""
        return CohortBlocks(self._source, self.classes, None, self._limit)

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
    source = JoinedBlocks([open_blocks(data.root / path) for path in data.manifests])
    distribution = read_distribution(data)
    _check_names(source.manifest, distribution)
    size_px = int(source.manifest.table["size_px"][0].as_py())
    if data.block_size_px not in (None, size_px):
        raise ValueError(f"data.block_size_px: the manifest's blocks are {size_px} px, got {data.block_size_px}")
    masks = data.masks and SlideMasks(data.root / data.masks, len(distribution.classes), data.mask_suffix)
    if masks is not None:
        _check_masks(source.manifest, masks, ("train", context.split))
    train = CohortBlocks(source, distribution.classes, masks, data.limit)
    test = _held_out(source, context.split, distribution, masks, size_px)
    foreground = foreground_index(data.foreground, distribution.classes)
    return TrainingData(train, test, distribution, foreground, mpp=_mpp(source.manifest, data.mpp))


def _check_names(manifest: Manifest, distribution: CountDistribution) -> None:
    """Labels and classes are bound by position, so they must be the same in the same order."""
    for what, found, expected in (
        ("labels", manifest.label_names, distribution.labels),
        ("classes", manifest.classes or distribution.classes, distribution.classes),
    ):
        if list(found) != list(expected):
            raise ValueError(
                f"data.distribution: expected the manifest's {what} {list(found)} in this order, "
                f"got {list(expected)}"
            )


def _check_masks(manifest: Manifest, masks: SlideMasks, splits: Sequence[str]) -> None:
    """Every slide of these splits needs a mask of its own name."""
    slides, slide_of = manifest.slide_paths()
    used = [slides[k] for k in sorted({int(slide_of[row]) for split in splits for row in manifest.rows_of(split)})]
    missing = [slide.name for slide in used if not masks.has(slide)]
    if missing:
        raise ValueError(
            f"data.masks: {len(missing)} of {len(used)} slides have no mask: {', '.join(missing[:5])}"
        )
    if len({slide.stem for slide in used}) < len(used):
        raise ValueError("data.masks: two slides of one name would have one mask")


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
    source: BlockSource, split: str, distribution: CountDistribution, masks: SlideMasks | None, size_px: int
) -> BlockCollection:
    """The blocks of a split, each an image of its own."""
    manifest = source.manifest
    rows = manifest.rows_of(split)
    slides, slide_of = manifest.slide_paths()
    rectangles = manifest.rectangles

    def read_mask(row: int) -> np.ndarray:
        return masks.read(slides[slide_of[row]], rectangles[row], size_px)

    names = [f"{slides[slide_of[row]].stem} ({rectangles[row][0]}, {rectangles[row][1]})" for row in rows]
    return BlockCollection(
        _ReadBlocks(rows, source.read),
        [Block(index, 0, 0, size_px, size_px) for index in range(len(rows))],
        manifest.labels[rows],
        list(distribution.classes),
        None if masks is None else _ReadBlocks(rows, read_mask),
        names,
        list(distribution.labels),
    )
