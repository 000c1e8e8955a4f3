"""The score of runs without pixel truth."""

import json

import numpy as np
import pytest
from tiny_runs import write_labels_run

from lsr_ext import CountDistribution
from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.evaluation.evaluate import load_prediction
from lsr_ext.evaluation.fraction_errors import fraction_errors, map_fractions
from lsr_ext.report import write_report
from lsr_ext.report.method_table import label_table, method_table
from lsr_ext.sources import prepare_data
from lsr_ext.training import train


def test_a_run_without_masks_has_a_result_by_label(tmp_path):
    config = load_config(write_labels_run(tmp_path))
    train(config)
    metrics = evaluate(config)
    assert metrics["intra"]["iou"] is None
    data, (_, fractions) = prepare_data(config), load_prediction(config.output, "intra")
    for name in metrics["intra"]["fraction_errors"]:
        z = data.distribution.labels.index(name)
        mean = fractions[data.test.labels == z].mean(0, dtype=np.float64)
        expected = np.abs(mean - data.distribution.mean[z].numpy()).mean()
        assert metrics["intra"]["fraction_errors"][name] == pytest.approx(expected, abs=1e-6)
    errors = metrics["intra"]["fraction_errors"].values()
    assert metrics["intra"]["fraction_error"] == pytest.approx(np.mean(list(errors)))
    assert json.loads((config.output / "metrics.json").read_text())["intra"] == metrics["intra"]
    page = write_report(config).read_text()
    assert "Fraction errors of held-out blocks, by label" in page
    assert data.test.names[data.test.blocks[0].image] not in page.partition("<img")[0]  # it is in a picture
    assert [str(column.header) for column in label_table(metrics).columns] == ["fraction error", *metrics]
    assert "Fraction error" in [str(column.header) for column in method_table(metrics).columns]


def test_labels_per_class_count_where_they_are_known():
    distribution = CountDistribution([[0.2, 0.3], [0.6, 0.7]], [[0.1, 0.1]] * 2, ["low", "high"])
    fractions = np.array([[0.1, 0.9], [0.3, 0.5]])
    found = fraction_errors(fractions, np.array([[0, -1], [-1, 1]]), distribution)
    assert found == pytest.approx({"low": 0.1, "high": 0.2})
    assert fraction_errors(fractions, np.array([-1, -1]), distribution) == {}


def test_the_fractions_of_maps():
    maps = np.array([[[0, 1], [1, 2]], [[0, 0], [0, 0]]], np.uint8)
    np.testing.assert_allclose(map_fractions(maps, 3), [[0.25, 0.5, 0.25], [1, 0, 0]])
