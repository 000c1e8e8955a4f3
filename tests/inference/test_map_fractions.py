import numpy as np
import pytest
from slide_views import label_map, write_view

from lsr_ext.inference import map_fractions
from lsr_ext.inference.map_fractions import block_fractions, class_areas_px
from lsr_ext.inference.prediction import open_prediction


@pytest.fixture(scope="module")
def prediction(tmp_path_factory):
    return open_prediction(write_view(tmp_path_factory.mktemp("view"))["prediction"])


def test_areas_are_those_of_the_map(prediction, monkeypatch):
    monkeypatch.setattr(map_fractions, "_READ_PX", 100)
    expected = [(label_map(480, 650) == c).sum() for c in range(3)]
    assert class_areas_px(prediction).tolist() == expected


@pytest.mark.parametrize("together_px", [64, 2048])
def test_fractions_of_blocks(prediction, monkeypatch, together_px):
    monkeypatch.setattr(map_fractions, "_TOGETHER_PX", together_px)
    rng = np.random.default_rng(0)
    rectangles = np.stack([rng.integers(0, 600, 40) * 2, rng.integers(0, 400, 40) * 2], axis=1)
    rectangles = np.concatenate([rectangles, np.full((40, 2), 100)], axis=1)
    found, shares = block_fractions(prediction, rectangles)
    ids = label_map(480, 650)
    for (x, y, width, height), fractions, share in zip(rectangles, found, shares, strict=True):
        block = ids[y // 2 : (y + height) // 2, x // 2 : (x + width) // 2]
        known = block[block != 255]
        assert share == pytest.approx(len(known) / 2500)
        if not len(known):
            assert np.isnan(fractions).all()
            continue
        expected = [np.where(known == c, 204, 25).mean() / 255 for c in range(3)]
        assert fractions == pytest.approx(expected)


def test_blocks_outside_the_map_have_no_fraction(prediction):
    found, shares = block_fractions(prediction, np.array([[5000, 100, 50, 50], [-100, 0, 50, 50]]))
    assert np.isnan(found).all() and not shares.any()
