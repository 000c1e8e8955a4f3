"""Collections from tables and from masks."""

import numpy as np
import pytest
from PIL import Image

from lsr_ext.data import Block, BlockCollection

CLASSES = ["background", "nucleus"]


@pytest.fixture
def masks():
    """Two 4 x 4 masks whose 2 x 2 blocks hold 0, 1, 2, 3 and 4, 0, 4, 1 nuclear pixels."""
    first = [[0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0]]
    second = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 1]]
    return [np.array(first), np.array(second)]


@pytest.fixture
def images():
    return list(np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8))


def make(images, masks, **keywords):
    keywords = {"edges": [0.3, 0.6]} | keywords
    return BlockCollection.from_masks(images, masks, ["a", "b"], CLASSES, 2, **keywords)


def write_table(folder, text):
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def test_labels_are_quantised_fractions(images, masks):
    collection = make(images, masks)
    assert len(collection) == 8
    np.testing.assert_allclose(collection.fractions()[:, 1], np.array([0, 1, 2, 3, 4, 0, 4, 1]) / 4)
    np.testing.assert_array_equal(collection.labels, [0, 0, 1, 2, 2, 0, 2, 0])
    assert collection.labels.dtype == np.int64
    assert collection.label_names == ["0-0.3", "0.3-0.6", "0.6-1"]


def test_label_class_chooses_the_fraction(images, masks):
    np.testing.assert_array_equal(make(images, masks, label_class=0).labels, [2, 2, 1, 0, 0, 2, 0, 2])


def test_bins_are_equally_full():
    # Sixteen blocks of 4 x 4 pixels; block k holds k nuclear pixels.
    masks = [(np.arange(16) < k).astype(int).reshape(4, 4) for k in range(16)]
    images, names = [np.zeros((4, 4, 3), np.uint8)] * 16, [str(k) for k in range(16)]
    collection = BlockCollection.from_masks(images, masks, names, CLASSES, 4, bins=4)
    np.testing.assert_array_equal(collection.labels, np.arange(16) // 4)


def test_noise_changes_labels_by_seed_only(images, masks):
    noisy = [make(images, masks, noise_std=0.5, seed=seed).labels.tolist() for seed in (0, 0, 1)]
    assert noisy[0] == noisy[1] != noisy[2]
    np.testing.assert_array_equal(make(images, masks, noise_std=0.5).fractions(), make(images, masks).fractions())


def test_stride(images, masks):
    assert len(make(images, masks, stride_px=1)) == 18


def test_subset_keeps_order_and_images(images, masks):
    collection = make(images, masks)
    part = collection.subset([4, 1])
    assert part.blocks == [Block(1, 0, 0, 2, 2), Block(0, 2, 0, 2, 2)]
    np.testing.assert_array_equal(part.labels, [2, 0])
    np.testing.assert_allclose(part.fractions()[:, 1], [1, 0.25])
    assert part.images is collection.images
    assert len(collection.subset([])) == 0


@pytest.mark.parametrize("keywords", [{"edges": None}, {"bins": 2}])
def test_edges_or_bins(images, masks, keywords):
    with pytest.raises(ValueError, match="expected either edges or bins, got edges="):
        make(images, masks, **keywords)


@pytest.mark.parametrize("label_class", [2, -3])
def test_label_class_out_of_range(images, masks, label_class):
    with pytest.raises(ValueError, match="expected label_class to be one of 2 classes"):
        make(images, masks, label_class=label_class)


def test_mask_of_another_size(images, masks):
    with pytest.raises(ValueError, match=r"b: the image is \(4, 4\) px, its mask \(3, 4\) px"):
        make(images, [masks[0], masks[1][:3]])


def test_lengths_that_differ(images, masks):
    with pytest.raises(ValueError, match="expected a mask and a name per image, got 1, 2 for 2 images"):
        make(images, masks[:1])


def direct(**keywords):
    fields = {
        "images": [np.zeros((2, 2, 3), np.uint8)],
        "blocks": [Block(0, 0, 0, 2, 2)],
        "labels": np.array([0]),
        "classes": CLASSES,
        "masks": None,
        "names": ["a"],
        "label_names": ["low"],
    }
    return BlockCollection(**fields | keywords)


def test_fields_are_checked():
    assert len(direct()) == 1
    with pytest.raises(ValueError, match=r"expected labels \(1,\) or \(1, 2\), got \(2,\)"):
        direct(labels=np.array([0, 0]))
    with pytest.raises(ValueError, match="label 3 has no name: 1 label names were given"):
        direct(labels=np.array([3]))
    with pytest.raises(ValueError, match="expected one name per image, got 2 for 1 images"):
        direct(names=["a", "b"])
    with pytest.raises(ValueError, match=r"a: the image is \(2, 2\) px, its mask \(1, 2\) px"):
        direct(masks=[np.zeros((1, 2), int)])


def test_fractions_need_masks():
    with pytest.raises(ValueError, match="class fractions need masks, but this collection has none"):
        direct().fractions()


@pytest.fixture
def folder(tmp_path):
    for name, size in (("a", (6, 4)), ("b", (6, 4)), ("c", (6, 6))):
        Image.new("RGB", size, ord(name)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_table_with_whole_images_as_blocks(folder):
    csv = write_table(folder, "image,label\nb.png,1\na.png,-1\n")
    collection = BlockCollection.from_label_table(folder, csv, CLASSES)
    assert collection.names == ["b.png", "a.png"]
    assert collection.blocks == [Block(0, 0, 0, 6, 4), Block(1, 0, 0, 6, 4)]
    assert collection.images[0][0, 0, 0] == ord("b")
    np.testing.assert_array_equal(collection.labels, [1, -1])
    assert collection.label_names == ["0", "1"]
    assert collection.masks is None


def test_table_with_blocks_that_inherit_the_label(folder):
    csv = write_table(folder, "image,label\na.png,0\nc.png,1\n")
    collection = BlockCollection.from_label_table(folder, csv, CLASSES, 3, label_names=["low", "high"])
    np.testing.assert_array_equal(collection.labels, [0, 0, 1, 1, 1, 1])
    assert collection.label_names == ["low", "high"]


def test_table_per_class_is_put_in_the_order_of_the_classes(folder):
    csv = write_table(folder, "image,CD8,CD3\na.png,0,1\nb.png,1,-1\n")
    collection = BlockCollection.from_label_table(folder, csv, ["background", "CD3", "CD8"])
    np.testing.assert_array_equal(collection.labels, [[-1, 1, 0], [-1, -1, 1]])


def test_table_names_an_unknown_class(folder):
    csv = write_table(folder, "image,CD8\na.png,0\n")
    with pytest.raises(
        ValueError, match=r"labels\.csv: column 'CD8' is not one of the classes background, nucleus"
    ):
        BlockCollection.from_label_table(folder, csv, CLASSES)


def test_table_with_images_of_two_sizes(folder):
    csv = write_table(folder, "image,label\na.png,0\nc.png,1\n")
    with pytest.raises(ValueError, match=r"a\.png is \(4, 6\) px, c\.png is \(6, 6\) px; give block_size_px"):
        BlockCollection.from_label_table(folder, csv, CLASSES)


@pytest.mark.parametrize("name", ["./a.png", "b/../a.png", "{folder}/a.png", "link.png", "linked/a.png"])
def test_table_names_an_image_in_two_ways(folder, name):
    (folder / "b").mkdir()
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "linked").symlink_to(folder)
    name = name.format(folder=folder)
    csv = write_table(folder, f"image,label,split\na.png,1,train\nb.png,0,train\n{name},1,test\n")
    with pytest.raises(ValueError, match=rf"labels\.csv: expected each image once, got .*a\.png' and '{name}'"):
        BlockCollection.from_label_table(folder, csv, CLASSES)


def test_table_names_a_missing_image(folder):
    csv = write_table(folder, "image,label\nz.png,0\n")
    with pytest.raises(FileNotFoundError, match=r"found none at .*z\.png"):
        BlockCollection.from_label_table(folder, csv, CLASSES)


def test_table_with_too_few_label_names(folder):
    csv = write_table(folder, "image,label\na.png,2\n")
    with pytest.raises(ValueError, match="label 2 has no name"):
        BlockCollection.from_label_table(folder, csv, CLASSES, label_names=["low", "high"])


def test_mask_folder(tmp_path, images, masks):
    for name, image, mask in zip("ab", images, masks, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        Image.fromarray((mask * 7).astype(np.uint8)).save(tmp_path / f"{name}_mask.png")
    collection = BlockCollection.from_mask_folder(tmp_path, tmp_path, CLASSES, 2, edges=[0.3, 0.6])
    expected = make(images, masks)
    assert collection.names == ["a.png", "b.png"]
    assert collection.blocks == expected.blocks
    np.testing.assert_array_equal(collection.labels, expected.labels)
    np.testing.assert_array_equal(collection.images, images)
    np.testing.assert_array_equal(collection.masks, masks)
