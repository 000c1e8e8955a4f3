from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsr_ext.baselines import StainSet, deconvolution_map
from lsr_ext.config import load_config
from lsr_ext.data import BlockCollection, cut_blocks, expected_fractions
from lsr_ext.sources import prepare_data
from lsr_ext.training.pixel_labels import pseudo_masks

ROOT = Path(__file__).parents[2]
NUCLEI = ROOT.parent / "shared" / "data" / "he_nuclei_miccai"
RED, BLUE = (200, 40, 40), (40, 40, 200)


def two_blocks():
    """A field of 40 x 80 px: the left half has a red cell, the right half a blue one."""
    image = np.full((40, 80, 3), 250, np.uint8)
    image[10:20, 10:20], image[10:20, 60:70] = RED, BLUE
    labels = np.array([[-1, 1, 0], [-1, 0, 1]])
    blocks = cut_blocks([(40, 80)], 40)
    return BlockCollection([image], blocks, labels, ["ground", "red", "blue"], None, ["f"], ["low", "high"])


STAINS = StainSet(("red", "blue"), np.array([RED, BLUE], float))
FRACTIONS = np.array([[0.9, 0.1, 0.0], [0.9, 0.0, 0.1]])


def test_only_stains_a_block_is_high_in_get_pixel_labels():
    (mask,) = pseudo_masks(two_blocks(), STAINS, FRACTIONS)
    assert set(np.unique(mask[:, :40])) == {-1, 0, 1}
    assert set(np.unique(mask[:, 40:])) == {-1, 0, 2}
    # They lie on their cells, and the background's do not.
    assert np.isin(np.flatnonzero(mask == 1), np.flatnonzero(cell(slice(10, 20)))).all()
    assert np.isin(np.flatnonzero(mask == 2), np.flatnonzero(cell(slice(60, 70)))).all()
    assert not (mask[cell(slice(10, 20)) | cell(slice(60, 70))] == 0).any()


def test_blocks_of_one_label_have_the_area_their_label_is_expected_to_hold():
    blocks = replace(two_blocks(), labels=np.array([0, 1]), label_names=["left", "right"])
    (mask,) = pseudo_masks(blocks, STAINS, np.array([[0.9, 0.05, 0.0], [0.9, 0.0, 0.02]]))
    assert (mask == 1).sum() == pytest.approx(0.05 * 1600, abs=2)
    assert (mask == 2).sum() == pytest.approx(0.02 * 1600, abs=2)
    assert np.isin(np.flatnonzero(mask == 1), np.flatnonzero(cell(slice(10, 20)))).all()
    assert np.isin(np.flatnonzero(mask == 2), np.flatnonzero(cell(slice(60, 70)))).all()


@pytest.mark.parametrize("labels", [np.array([-1, 1]), np.array([[-1, -1, -1], [-1, 0, 1]])])
def test_a_block_of_which_nothing_is_known_has_no_pixel_labels(labels):
    (mask,) = pseudo_masks(replace(two_blocks(), labels=labels), STAINS, FRACTIONS)
    assert (mask[:, :40] == -1).all()
    assert (mask[:, 40:] == 2).any()


def cell(columns):
    inside = np.zeros((40, 80), bool)
    inside[10:20, columns] = True
    return inside


@pytest.mark.parametrize(
    ("change", "stains", "message"),
    [
        ({}, None, "need stains"),
        ({"classes": ["ground", "red", "green"]}, STAINS, "stains of the classes"),
        ({"label_names": ["high", "low"]}, STAINS, "labels low and high, in this order"),
    ],
)
def test_what_cannot_be_labelled_is_told(change, stains, message):
    with pytest.raises(ValueError, match=message):
        pseudo_masks(replace(two_blocks(), **change), stains, FRACTIONS)


@pytest.mark.skipif(not NUCLEI.is_dir(), reason="needs ../shared/data")
def test_nuclei_of_the_example_by_what_their_labels_say():
    """Seen: an IoU of 0.75 on the 0.84 of the pixels that have a label, where Otsu's threshold has 0.58."""
    data = prepare_data(load_config(ROOT / "examples" / "he_nuclei_colour.yaml"))
    train, stains = data.train, data.stains.in_order(["nucleus"])
    masks = pseudo_masks(train, data.stains, expected_fractions(train.labels, data.distribution.mean.numpy()))
    images = sorted({block.image for block in train.blocks})
    by_threshold = np.concatenate([deconvolution_map(train.images[image], stains).ravel() for image in images])
    by_area, truth = (np.concatenate([maps[image].ravel() for image in images]) for maps in (masks, train.masks))
    seen, nuclei = by_area >= 0, truth == 1
    assert seen.mean() > 0.8
    ious = [
        (found & nuclei)[seen].sum() / (found | nuclei)[seen].sum() for found in (by_area == 1, by_threshold == 1)
    ]
    assert ious[0] > max(0.7, ious[1] + 0.1)
