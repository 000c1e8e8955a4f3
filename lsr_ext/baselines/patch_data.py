"""Labelled patches for the patch classifier: from images with masks, or from a cohort of slides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from lsr_ext.baselines.patch_classifier import resize_patches
from lsr_ext.data import BlockCollection, BlockDataset, read_mask_pairs, split_by_image


def label_patches(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    names: Sequence[str],
    patch_px: int,
    *,
    threshold: float = 0.5,
    stride_px: int | None = None,
) -> BlockCollection:
    """Cut patches and label them: 1 if at least `threshold` of the pixels are positive, otherwise 0.

    Args:
        images: uint8 (H, W, 3).
        masks: integer (H, W) of 0 and 1.
        names: the images' names.
        patch_px: the side of a patch.
        threshold: share of the pixels, in (0, 1].
        stride_px: the distance between patches; None: `patch_px`.

    Raises:
        ValueError: a mask with other ids or another size than its image, or an image smaller than a patch.
    """
    return BlockCollection.from_masks(
        images, masks, names, ["negative", "positive"], patch_px, edges=[threshold], stride_px=stride_px
    )


class PatchDataset(Dataset[dict[str, torch.Tensor | int]]):
    """The patches of a collection as `BlockDataset` gives them, `image` resized to (3, input_px, input_px).

    Attributes:
        labels: int64 (N,) of 0 and 1; -1 = unknown.

    Raises:
        ValueError: the collection has one label per class.
    """

    def __init__(self, collection: BlockCollection, input_px: int) -> None:
        if collection.labels.ndim != 1:
            raise ValueError(f"expected one label per patch, got {collection.labels.shape}")
        self.labels = collection.labels
        self._blocks = BlockDataset(collection)
        self._input_px = input_px

    def __len__(self) -> int:
        return len(self._blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | int]:
        item = self._blocks[index]
        return item | {"image": resize_patches(item["image"][None], self._input_px)[0]}


@dataclass(frozen=True)
class PatchData:
    """Patches to train a classifier on and, if any are held out, patches to score it on.

    Attributes:
        train: items with `image` and `label`, and `labels` of all, as `train_patch_classifier` takes them.
        validation: the same, or None.
        patch_px: side of a patch: of a slide in pixels at 40x, of an image in its own.
        input_px: side that patches are resized to.
        collate: makes a batch of items.
    """

    train: Dataset
    validation: Dataset | None
    patch_px: int
    input_px: int
    collate: Callable = default_collate


def is_cohort(path: Path) -> bool:
    """Whether a path is a cohort's manifest or store."""
    return path.suffix == ".parquet" or (path / "manifest.parquet").is_file()


def patches_of_images(
    images: Path,
    masks: Path,
    patch_px: int,
    input_px: int = 224,
    *,
    mask_suffix: str = "_mask",
    positive: int = 1,
    threshold: float = 0.5,
    validation: float = 0.2,
    seed: int = 0,
) -> PatchData:
    """Cut images with masks of class ids into patches, side by side.

    Args:
        images: folder of images.
        masks: folder of their masks, NAME + mask_suffix.
        patch_px: side of a patch.
        input_px: side that patches are resized to.
        mask_suffix: what a mask's name has after its image's.
        positive: the class id that is looked for.
        threshold: least share of `positive` pixels in a positive patch, in (0, 1].
        validation: share of the images to hold out, in [0, 1).
        seed: random seed of that choice.

    Raises:
        FileNotFoundError: a missing folder or mask.
        ValueError: unreadable files, or a value out of range.
    """
    pixels, ids, names = read_mask_pairs(images, masks, mask_suffix=mask_suffix, instance_masks=False)
    is_positive = [(mask == positive) * 1 for mask in ids]
    patches = label_patches(pixels, is_positive, names, patch_px, threshold=threshold)
    train, held_out = _hold_out(patches, validation, seed)
    held_out = None if held_out is None else PatchDataset(held_out, input_px)
    return PatchData(PatchDataset(train, input_px), held_out, patch_px, input_px)


def patches_of_cohort(cohort: Path) -> PatchData:
    """The splits "train" and "validation" of a cohort whose blocks are single patches with two labels.

    Args:
        cohort: manifest, or folder of a store.

    Raises:
        FileNotFoundError: no manifest there.
        ValueError: other labels than 0 and 1, or no split "train".
        ModuleNotFoundError: the extra `lsr_ext[wsi]` is not installed.
    """
    from lsr_ext.data.cohort import CohortDataset, SlideBlocks, StoredBlocks, read_manifest
    from lsr_ext.data.cohort.manifest import read_about

    is_manifest = cohort.is_file() or cohort.suffix == ".parquet"
    path = cohort if is_manifest else cohort / "manifest.parquet"
    manifest = read_manifest(path)
    if len(manifest.label_names) != 2 or manifest.classes:
        raise ValueError(
            f"{path}: expected patches with the labels 0 and 1 (lsr cohort build --merge 1 --edge 0.5), "
            f"got {len(manifest.label_names)} labels of {len(manifest.classes) or 1} classes"
        )
    blocks = SlideBlocks(manifest) if is_manifest else StoredBlocks(cohort)
    recipe = read_about(path)["recipe"]
    has_validation = "validation" in manifest.table["split"].to_pylist()
    return PatchData(
        CohortDataset(blocks, "train"),
        CohortDataset(blocks, "validation") if has_validation else None,
        recipe["patch_px"] * recipe["merge"],
        recipe["size_px"],
        CohortDataset.collate,
    )


def _hold_out(patches: BlockCollection, share: float, seed: int) -> tuple[BlockCollection, BlockCollection | None]:
    if share == 0:
        return patches, None
    train, held_out = split_by_image(patches.blocks, share, seed)
    return patches.subset(train), patches.subset(held_out)
