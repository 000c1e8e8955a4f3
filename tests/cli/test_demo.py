"""The demonstration and the nuclei example learn more than their block labels say, and its slide can be viewed."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
import zarr

from lsr_ext.config import load_config
from lsr_ext.demo import ASSUMED_MPP, _regions, predict_demo_slide
from lsr_ext.evaluation import evaluate
from lsr_ext.training import train
from lsr_ext.viewer import View

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "lsr_ext" / "config" / "demo.yaml"
NUCLEI = ROOT.parent / "shared" / "data" / "he_nuclei_miccai"


def scores_of(config):
    train(config)
    return {method: scores["iou"] for method, scores in evaluate(config).items()}


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_block_labels_give_more_than_a_block_map(tmp_path, seed):
    scores = scores_of(load_config(DEMO, {"output": tmp_path, "seed": seed, "methods": ["intra+inter"]}))
    assert scores["intra+inter"] > scores["low_resolution"] + 0.05


@pytest.mark.long
@pytest.mark.skipif(not NUCLEI.is_dir(), reason="the nuclei set is not here")
def test_nuclei_from_block_labels(tmp_path):
    overrides = {"output": tmp_path, "data.root": NUCLEI, "methods": ["intra+inter"], "training.steps": 300}
    scores = scores_of(load_config(ROOT / "examples" / "he_nuclei.yaml", overrides))
    assert scores["intra+inter"] > scores["low_resolution"] + 0.2


@pytest.mark.long
def test_the_demonstrations_slide_can_be_viewed(tmp_path):
    network = {"features": [8] * 6, "norm_groups": 4}
    training = {"training.steps": 2, "training.network": network}
    config = load_config(DEMO, {"output": tmp_path, "methods": ["intra+inter"], **training})
    train(config)
    files = predict_demo_slide(config)
    arguments = shlex.split(files.view_command)
    assert arguments[:3] == ["lsr", "view", str(files.slide)]
    options = dict(zip([name.removeprefix("--") for name in arguments[3::2]], arguments[4::2], strict=True))
    view = View.open(files.slide, **options)
    assert view.slide.size == (512, 512) and view.slide.mpp == pytest.approx((ASSUMED_MPP, ASSUMED_MPP))
    ids = zarr.open_group(files.prediction, mode="r")["classes"][:]
    np.testing.assert_array_equal(tifffile.imread(files.exported), ids)
    assert len(view.shapes["blocks"]) > 100


def test_regions_of_a_mask_have_its_area_and_holes():
    mask = np.zeros((40, 60), int)
    mask[5:25, 10:50] = 1
    mask[10:20, 20:40] = 0
    mask[0:3, 0:3] = 1
    shapes = [shapely.from_geojson(json.dumps(one["geometry"])) for one in _regions(mask, "a")["features"]]
    assert len(shapes) == 2 and all(shape.is_valid for shape in shapes)
    # Corners are cut by half a pixel.
    assert sum(shape.area for shape in shapes) == pytest.approx(mask.sum(), abs=2)
    assert sum(len(shape.interiors) for shape in shapes) == 1
    assert min(shape.bounds[0] for shape in shapes) == 0
