"""Reports in headless Chromium: a phone, dark pages, print. Screenshots are kept in runs/screenshots."""

from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from slide_views import CLASSES, LABELS, write_view
from tiny_runs import write_masks_run

from lsr_ext import CountDistribution
from lsr_ext.config import load_config
from lsr_ext.evaluation import evaluate
from lsr_ext.report import write_report, write_slides_report
from lsr_ext.training import train

SCREENSHOTS = Path(__file__).parents[2] / "runs" / "screenshots"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    methods = ["intra+inter", "supervised"]
    config = load_config(write_masks_run(folder, methods=methods, data={"cells": True}))
    train(config)
    evaluate(config)
    paths = write_view(tmp_path_factory.mktemp("slides"))
    distribution = paths["slide"].with_name("distribution.json")
    CountDistribution([[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]], [[0.05] * 3] * 2, LABELS, CLASSES).save(distribution)
    slides = write_slides_report(
        paths["blocks"], predictions=paths["prediction"].parent, distribution=distribution
    )
    return {"run": write_report(config), "slides": slides}


@pytest.mark.parametrize("name", ["run", "slides"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone(reports, tmp_path, name, dark):
    with Browser(tmp_path / "profile", size=(400, 800), dark=dark) as page:
        page.go(reports[name].as_uri())
        page.wait_for("document.readyState === 'complete'")
        assert page.run("document.documentElement.scrollWidth") <= 400
        # The narrow figures are shown, whose text of 8 points or more is hardly made smaller.
        widths = "[...document.querySelectorAll('picture img')].map((one) => one.clientWidth / one.naturalWidth)"
        scales = [share * 130 / 96 for share in page.run(widths)]  # figures have 130 pixels an inch
        assert scales and min(scales) > 0.75
        ground = page.run("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (not dark)
        page.resize(400, min(page.run("document.documentElement.scrollHeight"), 6000))
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(SCREENSHOTS / f"report_{name}_phone_{'dark' if dark else 'light'}.png")
        assert not page.messages


@pytest.mark.parametrize("name", ["run", "slides"])
def test_a_desk_and_print(reports, tmp_path, name):
    with Browser(tmp_path / "profile", size=(1200, 900), dark=True) as page:
        page.go(reports[name].as_uri())
        page.wait_for("document.readyState === 'complete'")
        assert page.run("document.documentElement.scrollWidth") <= 1200
        page.screenshot(SCREENSHOTS / f"report_{name}_desk.png")
        assert page.pdf().startswith(b"%PDF")
        # Nothing is asked of the network: all is in the file.
        assert page.run("performance.getEntriesByType('resource').every((one) => one.name.startsWith('data:'))")
