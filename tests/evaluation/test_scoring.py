from dataclasses import replace

import numpy as np
import pytest

from lsr_ext import CountDistribution
from lsr_ext.config import EvaluationConfig
from lsr_ext.data import BlockCollection, cut_blocks
from lsr_ext.evaluation.scoring import score_maps, score_raters
from lsr_ext.inference.stitching import cut_blocks_of
from lsr_ext.metrics import DotSet
from lsr_ext.sources import TrainingData
from lsr_ext.sources.training_data import SECOND_RATER, TRUTH

EVALUATION = EvaluationConfig(boundary_distance_px=3)


@pytest.fixture
def data():
    """One image of 20 x 40 px in two blocks: a cell of class a in each, one of class b on the seam."""
    mask = np.zeros((20, 40), np.int64)
    mask[2:6, 2:6] = mask[2:6, 30:34] = 1
    mask[10:14, 18:22] = 2
    image = np.zeros((20, 40, 3), np.uint8)
    blocks = cut_blocks([mask.shape], 20)
    classes = ["ground", "a", "b"]
    test = BlockCollection([image], blocks, np.zeros(2, np.int64), classes, [mask], ["x"], ["any"])
    dots = DotSet(np.array([[4.0, 4.0], [32.0, 4.0], [20.0, 12.0]]), ["a", "a", "b"])
    distribution = CountDistribution([[0.8, 0.1, 0.1]], [[0.1] * 3], ["any"], classes)
    return TrainingData(test, test, distribution, 2, dots={TRUTH: {0: dots}})


def test_cells_are_scored_in_whole_images(data):
    truth = cut_blocks_of(data.test, data.test.masks)
    scores = score_maps(truth, data, EVALUATION)
    # The cell on the seam is one region with one dot; cut by blocks it would be two, one of them false.
    assert scores["f1"] == 1.0
    assert scores["per_class"]["b"]["f1"] == 1.0
    assert "f1" not in scores["per_class"]["ground"]


def test_f1_is_the_mean_over_classes_of_cells(data):
    predicted = cut_blocks_of(data.test, data.test.masks).copy()
    predicted[1][2:6, 10:14] = 0  # the second cell of a is missed: recall 1/2, precision 1
    predicted[0][16:18, 2:4] = 2  # a false region of b: precision 1/2, recall 1
    scores = score_maps(predicted, data, EVALUATION)
    assert scores["per_class"]["a"]["f1"] == pytest.approx(2 / 3)
    assert scores["per_class"]["b"]["f1"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(2 / 3)
    assert score_maps(predicted, data, EVALUATION.model_copy(update={"min_area_px": 5}))["f1"] == pytest.approx(
        5 / 6
    )


def test_raters_agree_on_dots_within_ten_pixels(data):
    assert score_raters(data) is None
    other = DotSet(np.array([[4.0, 9.0], [32.0, 15.0], [21.0, 12.0]]), ["a", "a", "b"])
    agreement = score_raters(replace(data, dots=dict(data.dots) | {SECOND_RATER: {0: other}}))
    # One of two dots of a is more than ten pixels off.
    assert agreement["per_class"]["a"]["f1"] == pytest.approx(0.5)
    assert agreement["per_class"]["b"]["f1"] == 1.0
    assert agreement["f1"] == pytest.approx(0.75)
