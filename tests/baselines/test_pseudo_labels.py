"""Pseudo-labels: which pixels, and exactly how many."""

import ki67
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lsr_ext.baselines import StainSet, pseudo_label_map, pseudo_labels
from lsr_ext.data import Block

STAINS = StainSet(
    ("red", "blue", "pale"), [[200, 30, 40], [40, 50, 190], [200, 200, 235]], counterstains=("pale",)
)


def counts(marked):
    return {int(value): int(count) for value, count in zip(*np.unique(marked, return_counts=True), strict=True)}


@pytest.fixture
def block():
    """100 x 100 px of white with 3 % red, 2 % blue and 5 % pale pixels of varying strength; and what is what."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2, 3], [9000, 300, 200, 500])
    rng.shuffle(truth)
    white = np.array([255.0, 255, 255])
    pure = np.vstack([white, STAINS.rgb])[truth]
    pixels = pure + rng.uniform(0, 0.4, (len(truth), 1)) * (white - pure) + rng.normal(0, 2, (len(truth), 3))
    return np.clip(pixels, 0, 255).astype(np.uint8).reshape(100, 100, 3), truth.reshape(100, 100)


def test_counts_where_there_is_enough_of_the_stain(block):
    image, truth = block
    marked = pseudo_labels(image, [1, 1], STAINS)
    assert marked.dtype == np.int64
    # Half a percent of 10,000 pixels for each: both classes, white, and the counterstain as background.
    assert counts(marked) == {-1: 9800, 0: 100, 1: 50, 2: 50}
    assert (truth[marked == 1] == 1).all() and (truth[marked == 2] == 2).all()
    assert np.bincount(truth[marked == 0]).tolist() == [50, 0, 0, 50]


def test_the_surest_pixels_are_taken(block):
    image, _ = block
    distances = cdist(image.reshape(-1, 3).astype(float), np.vstack([STAINS.rgb, STAINS.background_rgb]))
    lead = np.delete(distances, 0, 1).min(1) - distances[:, 0]
    taken = pseudo_labels(image, [1, 0], STAINS).ravel() == 1
    assert lead[taken].min() >= lead[~taken].max() - 1e-4


def test_only_classes_labelled_high_are_taken(block):
    image, _ = block
    assert counts(pseudo_labels(image, [0, 1], STAINS)) == {-1: 9850, 0: 100, 2: 50}
    assert counts(pseudo_labels(image, np.array([-1, 0]), STAINS)) == {-1: 9900, 0: 100}
    assert counts(pseudo_labels(image, [1, 0], STAINS, background_share=0)) == {-1: 9950, 1: 50}


def test_little_of_a_stain_gives_the_lesser_share():
    image = np.full((100, 100, 3), 255, np.uint8)
    image[0, :7] = STAINS.rgb[0]
    image[1, :30] = [150, 20, 60]  # nearer to red than to anything else
    image[2:4] = [200, 200, 235]
    # 37 pixels are nearest to red: more than 25 and fewer than 50.
    marked = pseudo_labels(image, [1, 1], STAINS)
    assert (marked == 1).sum() == 37
    # None is nearest to blue: the 25 that the label vouches for.
    assert (marked == 2).sum() == 25
    # Of red without its 7 best pixels and with a lesser share beyond what is there, the best come first.
    fewer = pseudo_labels(image, [1, 0], STAINS, share=(0.0, 0.0007))
    assert np.argwhere(fewer == 1).tolist() == [[0, column] for column in range(7)]


def test_no_pixel_has_two_labels_where_colours_are_missing():
    marked = pseudo_labels(np.full((20, 20, 3), 255, np.uint8), [1, 1], STAINS, (0.5, 0.5), 1.0)
    assert counts(marked) == {1: 200, 2: 200}


def test_many_blocks_of_an_image(block):
    image, _ = block
    whole = np.concatenate([image, image[::-1]], axis=1)
    blocks = [Block(0, 0, 0, 100, 100), Block(0, 100, 0, 100, 100)]
    marked = pseudo_label_map(whole, blocks, np.array([[1, 0], [0, 1]]), STAINS)
    assert np.array_equal(marked[:, :100], pseudo_labels(image, [1, 0], STAINS))
    assert np.array_equal(marked[:, 100:], pseudo_labels(image[::-1], [0, 1], STAINS))
    only = pseudo_label_map(whole, blocks[1:], np.array([[1, 1]]), STAINS)
    assert (only[:, :100] == -1).all() and (only[:, 100:] == 1).sum() == 50


def test_overlapping_blocks_keep_the_first_label(block):
    image, _ = block
    blocks = [Block(0, 0, 0, 100, 100), Block(0, 0, 0, 100, 100)]
    marked = pseudo_label_map(image, blocks, np.array([[1, 0], [0, 1]]), STAINS)
    assert counts(marked) == {-1: 9800, 0: 100, 1: 50, 2: 50}


def test_what_is_refused(block):
    image, _ = block
    with pytest.raises(ValueError, match=r"labels of shape \(2,\), got \(3,\)"):
        pseudo_labels(image, [1, 1, 1], STAINS)
    with pytest.raises(ValueError, match="1 .high., 0 .low. or -1"):
        pseudo_labels(image, [1, 2], STAINS)
    with pytest.raises(ValueError, match="the smaller first"):
        pseudo_labels(image, [1, 1], STAINS, (0.005, 0.0025))
    with pytest.raises(ValueError, match="shares in"):
        pseudo_labels(image, [1, 1], STAINS, background_share=1.5)
    with pytest.raises(TypeError, match="uint8"):
        pseudo_labels(image / 255, [1, 1], STAINS)
    with pytest.raises(ValueError, match="reaches outside"):
        pseudo_label_map(image, [Block(0, 50, 0, 100, 100)], np.array([[1, 1]]), STAINS)


@pytest.mark.skipif(not ki67.REAL.is_dir(), reason="needs ../shared/data")
def test_real_tiles_are_labelled_where_the_positive_nuclei_are():
    # 0.4 to 5.5 % of the tiles' pixels are positive nuclei.
    precision, background = [], []
    for image, truth in ki67.read_tiles():
        marked = pseudo_labels(image, [1], StainSet.preset("h-dab"))
        assert (marked == 1).sum() == round(0.005 * truth.size)
        precision.append(truth[marked == 1].mean())
        background.append(truth[marked == 0].mean())
    assert 0.83 < np.mean(precision) < 0.9 and min(precision) > 0.65
    assert max(background) < 0.01
