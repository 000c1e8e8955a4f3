import re

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.report import write_report
from lsr_ext.report.curves import read_curves
from lsr_ext.training import train


def page_of(config):
    train(config)
    evaluate(config)
    return write_report(config).read_text()


def test_all_is_in_one_file(tmp_path):
    page = page_of(load_config(write_masks_run(tmp_path, methods=["intra+inter", "supervised"])))
    assert not re.search(r"https?://", page)
    sources = re.findall(r"""(?:src|href)\s*=\s*["']([^"']+)""", page)
    assert len(sources) == 2 + 3  # two held-out images, calibration, histograms, curves
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<link" not in page and "@import" not in page and "url(" not in page


def test_table_names_methods_and_scores(tmp_path):
    config = load_config(write_masks_run(tmp_path))
    page = page_of(config)
    iou = evaluate(config)["low_resolution"]["iou"]
    assert "intra+inter-instance" in page
    assert f"{iou:.3f}" in page
    assert "block_size_px: 20" in page


def test_cells_have_a_column_of_their_own(tmp_path):
    config = load_config(write_masks_run(tmp_path, data={"cells": True}))
    page = page_of(config)
    titles = re.findall(r"<th>([^<]+)</th>", page[page.index("<thead>") : page.index("</thead>")])
    assert titles == ["Method", "IoU", "DICE", "Masked IoU", "Masked DICE", "F1", "Fraction error"]
    low = page[page.index("<tbody>") :].partition("</tr>")[0]
    assert f"{evaluate(config)['low_resolution']['f1']:.3f}" == re.findall(r"<td[^>]*>([^<]+)</td>", low)[-2]


def test_raters_are_no_method_and_take_no_best_score(tmp_path):
    (tmp_path / "dots").mkdir()
    for index in range(8):
        (tmp_path / "dots" / f"disc{index}.csv").write_text("x,y,class\n21,17,disc\n")
    page = page_of(load_config(write_labels_run(tmp_path, data={"dots": "dots", "second_dots": "dots"})))
    assert 'class="best"' in page[page.index("<tbody>") : page.index("</tbody>")]


def test_a_run_without_pixel_truth_has_a_report(tmp_path):
    page = page_of(load_config(write_labels_run(tmp_path)))
    assert "There is no pixel truth" in page
    assert "–</td>" in page


def test_names_are_escaped(tmp_path):
    page = page_of(load_config(write_masks_run(tmp_path, data={"classes": ["back", "<script>x"]})))
    assert "<script>" not in page


def test_a_report_before_evaluation_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.json: evaluate first"):
        write_report(load_config(write_masks_run(tmp_path)))


def test_curves_take_the_later_of_two_values_of_a_step(tmp_path):
    for first, value in ((0, 1.0), (1, 5.0)):
        logger = TensorBoardLogger(tmp_path, name="", version="")
        for step in range(first, first + 2):
            logger.log_metrics({"loss": value}, step)
        logger.finalize("success")
    np.testing.assert_array_equal(read_curves(tmp_path)["loss"], [[0, 1], [1, 5], [2, 5]])
