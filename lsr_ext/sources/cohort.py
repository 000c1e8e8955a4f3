"""The source `cohort`: blocks of slides, read as they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lsr_ext.config.data import Cohort
from lsr_ext.data import Block, BlockCollection, expected_fractions
from lsr_ext.data.cohort import BlockSource, CohortDataset, JoinedBlocks, SlideMasks, open_blocks
from lsr_ext.distributions import CountDistribution
from lsr_ext.sources.context import RunContext
from lsr_ext.sources.labelled_images import read_distribution
from lsr_ext.sources.training_data import TrainingData, foreground_index

_REPORT_NAME = "left_out.jsonl"


class CohortBlocks:
    """The training split of a cohort: see `lsr_ext.data.cohort.CohortDataset`.

    Args:
        source: of the pixels.
        classes: the names of the pixel classes.
        masks: the pixel truth, if there is one.
        report: file that lists what cannot be read.
        limit: the largest share of blocks that may be left out, in [0, 1].
    """

    channels = 3
    collate = staticmethod(CohortDataset.collate)

    def __init__(
        self, source: BlockSource, classes: Sequence[str], masks: SlideMasks | None, report: Path, limit: float
    ) -> None:
        self.classes = list(classes)
        self._source, self._masks, self._report, self._limit = source, masks, report, limit
        self._rows = source.manifest.rows_of("train")
        self.labels = source.manifest.labels[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, index: int) -> np.ndarray:
        """The pixels of a block, uint8 (H, W, 3)."""
        return self._source.read(int(self._rows[index]))

    def dataset(self, augment: bool) -> CohortDataset:
        """The blocks, read as they are needed, with their masks where there are any."""
        options = {"augment": augment, "report": self._report, "limit": self._limit, "masks": self._masks}
        return CohortDataset(self._source, "train", **options)

    def without_masks(self) -> CohortBlocks:
        """The same blocks without pixel labels."""
        return CohortBlocks(self._source, self.classes, None, self._report, self._limit)

    def expected_area(self, distribution: CountDistribution) -> np.ndarray:
        """The share of each class in all blocks of known label, by p(c_l | z): float64 (L,) of sum 1."""
        known = (self.labels.reshape(len(self), -1) >= 0).any(1)
        fractions = expected_fractions(self.labels[known], distribution.mean.numpy()).mean(0)
        return fractions / fractions.sum()


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
    _check_labels(source.manifest.label_names, distribution)
    size_px = int(source.manifest.table["size_px"][0].as_py())
    if data.block_size_px not in (None, size_px):
        raise ValueError(f"data.block_size_px: the manifest's blocks are {size_px} px, got {data.block_size_px}")
    masks = data.masks and SlideMasks(data.root / data.masks, len(distribution.classes), data.mask_suffix)
    train = CohortBlocks(source, distribution.classes, masks, context.folder / _REPORT_NAME, data.limit)
    test = _held_out(source, context.split, distribution, masks, size_px)
    return TrainingData(train, test, distribution, foreground_index(data.foreground, distribution.classes))


def _check_labels(names: Sequence[str], distribution: CountDistribution) -> None:
    if list(names) != list(distribution.labels):
        raise ValueError(
            f"data.distribution: expected the manifest's labels {list(names)} in this order, "
            f"got {list(distribution.labels)}"
        )


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
