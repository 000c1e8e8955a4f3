"""A collection in memory: images, the blocks cut from them, and one label per block."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import default_collate

from lsr_ext.data.blocks import Block, block_fractions, cut_blocks
from lsr_ext.data.dataset import BlockDataset
from lsr_ext.data.digests import digest, sample_rows
from lsr_ext.data.folders import read_mask_pairs
from lsr_ext.data.images import read_image
from lsr_ext.data.kept_arrays import Memory
from lsr_ext.data.label_table import LabelTable, check_distinct_images, read_label_table
from lsr_ext.data.labels import add_label_noise, expected_area, quantile_edges, quantise_fractions
from lsr_ext.data.targets import Targets
from lsr_ext.progress import track_progress

if TYPE_CHECKING:
    from lsr_ext.distributions import CountDistribution

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlockCollection:
    """N labelled blocks over M images.

    Attributes:
        images: M arrays, uint8 (H, W, 3); sizes may differ. Other sequences than lists may read them when asked.
        blocks: N blocks; `Block.image` is an index into `images`.
        labels: int64 (N,), or (N, L) for one label per class; -1 = unknown.
        classes: the L names of the pixel classes.
        masks: M arrays of class ids, int64 (H, W), or None where there are none; as for `images`.
        names: the M images' names.
        label_names: the names of the labels 0..Z-1.
        targets: the class fractions that the blocks are known to have, with NaN where they are not; None: there
            are labels alone. These are an annotator's numbers; `fractions()` are exact.

    Raises:
        ValueError: lengths that do not match, a label without a name, or a mask and an image of different
            sizes.

    Example:
        >>> image = np.zeros((40, 40, 3), np.uint8)
        >>> mask = np.zeros((40, 40), np.int64)
        >>> mask[:, 20:] = 1
        >>> blocks = BlockCollection.from_masks(
        ...     [image], [mask], ["a"], classes=["glass", "tissue"], block_size_px=20, edges=[0.5]
        ... )
        >>> len(blocks), blocks.labels.tolist(), blocks.fractions()[1].tolist()
        (4, [0, 1, 0, 1], [0.0, 1.0])
    """

    images: Sequence[np.ndarray]
    blocks: list[Block]
    labels: np.ndarray
    classes: list[str]
    masks: Sequence[np.ndarray] | None
    names: list[str]
    label_names: list[str]
    targets: Targets | None = None

    def __post_init__(self) -> None:
        if len(self.names) != len(self.images):
            raise ValueError(f"expected one name per image, got {len(self.names)} for {len(self.images)} images")
        if self.labels.shape not in ((len(self.blocks),), (len(self.blocks), len(self.classes))):
            raise ValueError(
                f"expected labels ({len(self.blocks)},) or ({len(self.blocks)}, {len(self.classes)}), "
                f"got {self.labels.shape}"
            )
        highest = self.labels.max(initial=-1)
        if highest >= len(self.label_names):
            raise ValueError(f"label {highest} has no name: {len(self.label_names)} label names were given")
        if self.targets is not None:
            self.targets.check((len(self.blocks), len(self.classes)))
        if isinstance(self.masks, list):  # those that are read when asked are checked then
            _check_masks(self.images, self.masks, self.names)

    def __len__(self) -> int:
        return len(self.blocks)

    def subset(self, indices: Sequence[int] | np.ndarray) -> BlockCollection:
        """Return the blocks of these indices, in this order, over the same images."""
        indices = np.asarray(indices, dtype=np.int64)
        targets = None if self.targets is None else self.targets.subset(indices)
        return replace(
            self, blocks=[self.blocks[i] for i in indices], labels=self.labels[indices], targets=targets
        )

    @property
    def known(self) -> np.ndarray:
        """Whether each block has any label, bool (N,)."""
        return (self.labels.reshape(len(self), -1) >= 0).any(1)

    @property
    def channels(self) -> int:
        """The number of channels of the images."""
        return self.images[0].shape[2]

    collate = staticmethod(default_collate)

    @property
    def reads_files(self) -> bool:
        """Whether the images are read as they are needed."""
        return not isinstance(self.images, list)

    def block_images(self, indices: Iterable[int]) -> list[np.ndarray]:
        """The pixels of blocks, (H, W, C) each, views."""
        return [self.blocks[index].cut(self.images[self.blocks[index].image]) for index in indices]

    def readable(self) -> BlockCollection:
        """The blocks whose images can be read; those that cannot are logged."""
        if isinstance(self.images, list):
            return self
        used = list(dict.fromkeys(block.image for block in self.blocks))
        unreadable = {image for image in track_progress(used, "reading") if not self._can_read(image)}
        return self.subset([k for k, block in enumerate(self.blocks) if block.image not in unreadable])

    def _can_read(self, image: int) -> bool:
        try:
            self.images[image]
        except (OSError, ValueError) as error:
            _logger.warning("%s is left out: %s", self.names[image], error)
            return False
        return True

    def dataset(self, augment: bool, report: Path | None = None, resumed: bool = False) -> BlockDataset:
        """The blocks as tensors, with their masks where there are any; all can be read, so none is reported."""
        return BlockDataset(self, with_masks=self.masks is not None, augment=augment)

    def digest(self) -> str:
        """A text that changes with the blocks, their labels, and sampled rows of their images and masks."""
        targets = () if self.targets is None else self.targets
        places = [(self.names[block.image], block.x, block.y, block.width, block.height) for block in self.blocks]
        used = dict.fromkeys(block.image for block in self.blocks)
        kinds = [arrays for arrays in (self.images, self.masks) if arrays is not None]
        pixels = (sample_rows(arrays[image]) for arrays in kinds for image in used)
        return digest(self.classes, self.label_names, places, self.labels, *targets, *pixels)

    def without_masks(self) -> BlockCollection:
        """The same blocks without pixel labels."""
        return replace(self, masks=None)

    def expected_area(self, distribution: CountDistribution) -> np.ndarray:
        """The share of each class in all blocks of known label, by p(c_l | z): float64 (L,) of sum 1."""
        return expected_area(self.labels, distribution.mean.numpy())

    def fractions(self) -> np.ndarray:
        """Return the exact class fractions of every block from the masks: float64 (N, L) in [0, 1].

        Raises:
            ValueError: the collection has no masks.
        """
        if self.masks is None:
            raise ValueError("class fractions need masks, but this collection has none")
        return block_fractions(self.masks, self.blocks, len(self.classes))

    @classmethod
    def from_label_table(
        cls,
        folder: str | Path,
        csv: str | Path,
        classes: Sequence[str],
        block_size_px: int | None = None,
        label_names: Sequence[str] | None = None,
        *,
        names_are_ordered: bool = True,
    ) -> BlockCollection:
        """Load labelled images without masks: see `read_label_table` for the CSV.

        Args:
            folder: the folder that the table's file names are relative to.
            csv: the table. Its class columns, if any, are names from `classes`; a class without a
                column has label -1 throughout.
            classes: the names of the pixel classes.
            block_size_px: None: each image is one block, and all have one size. A number: images are
                cut into blocks of that side, which have the label of their image.
            label_names: names of the labels, which the table's are bound to; None: "0", "1", ...
            names_are_ordered: see `read_label_table`.

        Raises:
            FileNotFoundError: the table or an image it names is missing.
            ValueError: an invalid table or image, an image under two names, or single-block images of different
                sizes.
        """
        table = read_label_table(csv, label_names, names_are_ordered=names_are_ordered)
        if not table.has_labels:
            raise ValueError(f"{csv}: expected labels, got fractions alone")
        return cls.from_table(table, folder, csv, classes, block_size_px, label_names)

    @classmethod
    def from_table(
        cls,
        table: LabelTable,
        folder: str | Path,
        csv: str | Path,
        classes: Sequence[str],
        block_size_px: int | None = None,
        label_names: Sequence[str] | None = None,
        memory: Memory | None = None,
    ) -> BlockCollection:
        """Load the images of a table that was read: see `from_label_table`.

        Args:
            memory: what they may take; None: as much as they need.
        """
        labels = _labels_of_classes(table, list(classes), csv)
        check_distinct_images(table.images, Path(folder), csv)
        memory = memory or Memory()
        images = memory.keep(read_image(Path(folder) / name) for name in table.images)
        sizes = [image.shape[:2] for image in images]
        blocks = _whole_images(sizes, table.images) if block_size_px is None else cut_blocks(sizes, block_size_px)
        if label_names is None:
            label_names = [str(label) for label in range(labels.max() + 1)]
        block_labels = labels[[block.image for block in blocks]]
        return cls(images, blocks, block_labels, list(classes), None, table.images, list(label_names))

    @classmethod
    def from_masks(
        cls,
        images: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
        names: Sequence[str],
        classes: Sequence[str],
        block_size_px: int,
        *,
        edges: Sequence[float] | np.ndarray | None = None,
        bins: int | None = None,
        label_class: int = -1,
        noise_std: float = 0.0,
        seed: int = 0,
        stride_px: int | None = None,
    ) -> BlockCollection:
        """Cut blocks and label each by the quantised fraction of one class, computed from its mask.

        Args:
            images: uint8 (H, W, 3).
            masks: class ids in [0, L), integer (H, W).
            names: the images' names.
            classes: L names of the pixel classes.
            block_size_px: the side of a block.
            edges: inner edges of the bins, (Z-1,); or
            bins: their number Z, with edges at the quantiles of the fractions.
            label_class: the index of the class whose fraction makes the label.
            noise_std: std of the Gaussian noise added to that fraction first, as if it were estimated by eye.
            seed: random seed of that noise.
            stride_px: the distance between blocks; None: `block_size_px`.

        Raises:
            ValueError: not exactly one of `edges` and `bins`, or an invalid argument.
        """
        if (edges is None) == (bins is None):
            raise ValueError(f"expected either edges or bins, got edges={edges} and bins={bins}")
        _check_masks(images, masks, names)
        if not -len(classes) <= label_class < len(classes):
            raise ValueError(f"expected label_class to be one of {len(classes)} classes, got {label_class}")
        blocks = cut_blocks([image.shape[:2] for image in images], block_size_px, stride_px)
        fractions = block_fractions(masks, blocks, len(classes))[:, label_class]
        fractions = add_label_noise(fractions, noise_std, np.random.default_rng(seed))
        edges = quantile_edges(fractions, bins) if edges is None else edges
        labels = quantise_fractions(fractions, edges)
        limits = [0.0, *edges, 1.0]
        label_names = [f"{low:.3g}-{high:.3g}" for low, high in itertools.pairwise(limits)]
        return cls(list(images), blocks, labels, list(classes), list(masks), list(names), label_names)

    @classmethod
    def from_mask_folder(
        cls,
        image_folder: str | Path,
        mask_folder: str | Path,
        classes: Sequence[str],
        block_size_px: int,
        *,
        mask_suffix: str = "_mask",
        instance_masks: bool = True,
        resize: Mapping[str, int] | None = None,
        downscale: int = 1,
        **labelling: object,
    ) -> BlockCollection:
        """Call `read_mask_pairs`, then `from_masks` with the other keywords (`edges` or `bins`, ...)."""
        images, masks, names = read_mask_pairs(
            image_folder,
            mask_folder,
            mask_suffix=mask_suffix,
            instance_masks=instance_masks,
            resize=resize,
            downscale=downscale,
        )
        return cls.from_masks(images, masks, names, classes, block_size_px, **labelling)


def _check_masks(images: Sequence[np.ndarray], masks: Sequence[np.ndarray], names: Sequence[str]) -> None:
    if not len(images) == len(masks) == len(names):
        raise ValueError(
            f"expected a mask and a name per image, got {len(masks)}, {len(names)} for {len(images)} images"
        )
    for name, image, mask in zip(names, images, masks, strict=True):
        if image.shape[:2] != mask.shape:
            raise ValueError(f"{name}: the image is {image.shape[:2]} px, its mask {mask.shape} px")


def _labels_of_classes(table: LabelTable, classes: list[str], csv: str | Path) -> np.ndarray:
    if table.classes is None:
        return table.labels
    unknown = [name for name in table.classes if name not in classes]
    if unknown:
        raise ValueError(f"{csv}: column {unknown[0]!r} is not one of the classes {', '.join(classes)}")
    labels = np.full((len(table.images), len(classes)), -1, dtype=np.int64)
    labels[:, [classes.index(name) for name in table.classes]] = table.labels
    return labels


def _whole_images(sizes: list[tuple[int, int]], names: list[str]) -> list[Block]:
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            raise ValueError(
                f"images that are one block each must have one size: {names[0]} is {sizes[0]} px, "
                f"{name} is {size} px; give block_size_px to cut them"
            )
    return [Block(image, 0, 0, width, height) for image, (height, width) in enumerate(sizes)]
