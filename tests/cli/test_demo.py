"""The demonstration and the nuclei example learn more than their block labels say."""

from pathlib import Path

import pytest

from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.training import train

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
