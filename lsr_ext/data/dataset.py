"""The blocks of a collection as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from lsr_ext.data.collection import BlockCollection


class BlockDataset(Dataset[dict[str, torch.Tensor | int]]):
    """Map-style dataset of blocks.

    An item is a dict of `image`: float32 (3, H, W) in [0, 1]; `label`: int64, a scalar or (L,);
    `index`: int, the block's index; `with_masks`, `mask`: int64 (H, W) class ids; and, where the collection has
    targets, `fraction` and `fraction_std`: float32 (L,), NaN = unknown.

    Args:
        collection: the blocks.
        with_masks: return the pixel masks too.
        augment: flip and turn by quarters at random (blocks that are not square: flips and half turns),
            image and mask alike. The random numbers come from torch's global generator, which a `DataLoader`
            seeds in each worker and epoch, so `torch.manual_seed` makes it repeatable.

    Raises:
        ValueError: `with_masks`, but the collection has no masks.

    Example:
        >>> from lsr_ext.data import BlockCollection
        >>> image, mask = np.zeros((20, 40, 3), np.uint8), np.zeros((20, 40), np.int64)
        >>> mask[:, 20:] = 1
        >>> collection = BlockCollection.from_masks(
        ...     [image], [mask], ["a"], classes=["glass", "tissue"], block_size_px=20, edges=[0.5]
        ... )
        >>> item = BlockDataset(collection)[1]
        >>> tuple(item["image"].shape), int(item["label"])
        ((3, 20, 20), 1)
    """

    def __init__(self, collection: BlockCollection, with_masks: bool = False, augment: bool = False) -> None:
        if with_masks and collection.masks is None:
            raise ValueError("with_masks=True needs a collection with masks, but this one has none")
        self.collection = collection
        self.with_masks = with_masks
        self.augment = augment

    def __len__(self) -> int:
        return len(self.collection)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | int]:
        block = self.collection.blocks[index]
        turns, flip = draw_symmetry(block.width == block.height) if self.augment else (0, False)
        pixels = to_tensor(block.cut(self.collection.images[block.image]), turns, flip)
        item = {
            "image": pixels.permute(2, 0, 1).contiguous().float().div_(255),
            "label": torch.as_tensor(self.collection.labels[index], dtype=torch.int64),
            "index": index,
        }
        if self.with_masks:
            item["mask"] = to_tensor(block.cut(self.collection.masks[block.image]), turns, flip).long()
        if (targets := self.collection.targets) is not None:
            item["fraction"] = torch.from_numpy(targets.fractions[index])
            item["fraction_std"] = torch.from_numpy(targets.std[index])
        return item


def draw_symmetry(is_square: bool) -> tuple[int, bool]:
    """Draw the number of quarter turns (half turns unless square) and whether to flip, by torch's generator."""
    turns, flip = torch.randint(4, ()).item(), torch.randint(2, ()).item() == 1
    return (turns if is_square else turns // 2 * 2), flip


def to_tensor(array: np.ndarray, turns: int, flip: bool) -> torch.Tensor:
    """Copy an (H, W, ...) array, turned by `turns` quarters, then flipped left to right."""
    turned = np.rot90(array, turns)
    # A copy: torch accepts no negative strides, and the collection's array must not change.
    return torch.from_numpy((turned[:, ::-1] if flip else turned).copy())
