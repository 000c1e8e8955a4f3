"""Items of the dataset, and that image and mask are turned alike."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lsr_ext.data import Block, BlockCollection, BlockDataset


def make(width, height, labels=(1, 0), with_masks=True):
    """Two blocks in one image whose pixels are all different, the mask being the red channel."""
    size = (height, 2 * width)
    pixels = np.arange(size[0] * size[1]).reshape(size)
    image = np.stack([pixels, pixels + 1, pixels + 2], axis=2).astype(np.uint8)
    blocks = [Block(0, 0, 0, width, height), Block(0, width, 0, width, height)]
    return BlockCollection(
        images=[image],
        blocks=blocks,
        labels=np.array(labels),
        classes=["background", "nucleus"],
        masks=[pixels] if with_masks else None,
        names=["a"],
        label_names=["low", "high"],
    )


def test_item():
    item = BlockDataset(make(4, 3))[1]
    assert set(item) == {"image", "label", "index"}
    assert item["image"].dtype == torch.float32
    assert item["image"].shape == (3, 3, 4)
    # Row 1, column 2 of the second block is row 1, column 6 of the image, 8 pixels wide.
    torch.testing.assert_close(item["image"][:, 1, 2], torch.tensor([14.0, 15.0, 16.0]) / 255)
    assert item["label"].dtype == torch.int64
    assert item["label"].item() == 0
    assert item["index"] == 1


def test_range_is_zero_to_one():
    collection = make(2, 2)
    collection.images[0][:] = 255
    assert BlockDataset(collection)[0]["image"].eq(1.0).all()


def test_mask_and_labels_per_class():
    item = BlockDataset(make(4, 3, labels=[[0, -1], [1, 0]]), with_masks=True)[0]
    assert item["label"].tolist() == [0, -1]
    assert item["mask"].dtype == torch.int64
    np.testing.assert_array_equal(item["mask"], make(4, 3).masks[0][:, :4])


def test_items_do_not_share_memory_with_the_collection():
    collection = make(3, 3)
    item = BlockDataset(collection, with_masks=True)[0]
    item["mask"].zero_()
    item["image"].zero_()
    np.testing.assert_array_equal(collection.masks[0], make(3, 3).masks[0])


def all_orientations(block):
    return {tuple(np.rot90(side, k).ravel()) for side in (block, block[:, ::-1]) for k in range(4)}


@pytest.mark.parametrize(("width", "height", "count"), [(3, 3, 8), (4, 3, 4)])
def test_augmentation_reaches_every_symmetry_and_no_other(width, height, count):
    torch.manual_seed(0)
    dataset = BlockDataset(make(width, height), with_masks=True, augment=True)
    seen = set()
    for _ in range(200):
        item = dataset[0]
        assert item["mask"].shape == (height, width)
        torch.testing.assert_close(item["image"][0] * 255, item["mask"].float())
        seen.add(tuple(item["mask"].flatten().tolist()))
    assert len(seen) == count
    assert seen <= all_orientations(make(width, height).masks[0][:, :width])


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_repeats_with_torchs_seed(workers):
    dataset = BlockDataset(make(3, 3), augment=True)

    def run(seed):
        torch.manual_seed(seed)
        loader = DataLoader(torch.utils.data.ConcatDataset([dataset] * 8), batch_size=2, num_workers=workers)
        return torch.cat([batch["image"] for batch in loader])

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_masks_are_asked_for_in_vain():
    with pytest.raises(ValueError, match="with_masks=True needs a collection with masks"):
        BlockDataset(make(3, 3, with_masks=False), with_masks=True)
