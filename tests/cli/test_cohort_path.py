"""From slides to a scored report, by commands alone."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from slides import REAL
from tiny_runs import TINY_TRAINING
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.data.cohort import read_manifest
from lsr_ext.wsi import open_slide

SVS = [REAL / "CMU-1-Small-Region.svs", REAL / "tcga-cr-7395-01a-01-ts1.svs"]


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_slides_become_a_scored_report(tmp_path):
    cohort = tmp_path / "cohort"
    call("simulate", "slides", cohort, "--count", 6, "--size-px", 512, "--seed", 1)
    manifest = cohort / "cohort.parquet"
    recipe = ["--patch-px", 256, "--merge", 1, "--size-px", 64, "--edge", 0.1, "--edge", 0.2]
    shares = ["--share", "train=0.34", "--share", "validation=0.33", "--share", "test=0.33"]
    masks = ["--masks", cohort / "cells", "--class", "cell"]
    call("cohort", "build", cohort / "slides.csv", manifest, *masks, *recipe, *shares)
    table = read_manifest(manifest).table.to_pylist()
    assert {row["split"] for row in table} == {"train", "validation", "test"}
    assert len({(row["split"], row["patient"]) for row in table}) == 3  # whose slides are in one split

    scores = train_and_report(cohort, tmp_path)
    assert {"low_resolution", "intra+inter"} <= set(scores)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/data")
def test_real_slides_become_a_scored_report(tmp_path):
    """Of two scanners; the class is what is darker than the middle of its slide."""
    cohort = tmp_path / "cohort"
    (cohort / "cells").mkdir(parents=True)
    rows = ["slide,patient,split,mpp"]
    for path, split, mpp in ((SVS[0], "train", ""), (SVS[1], "test", 0.5)):
        slide = open_slide(path)
        step = max(slide.size) / 512
        size = round(slide.size[1] / step), round(slide.size[0] / step)
        grey = slide.read_resized(0, 0, *slide.size, size).mean(axis=2)
        Image.fromarray((grey < np.median(grey)).astype(np.uint8)).save(cohort / "cells" / f"{path.stem}.png")
        rows.append(f"{path},{path.stem},{split},{mpp}")
    (cohort / "slides.csv").write_text("\n".join(rows) + "\n")
    recipe = ["--patch-px", 256, "--merge", 1, "--size-px", 32, "--edge", 0.3, "--edge", 0.6]
    masks = ["--masks", cohort / "cells", "--class", "cell"]
    call("cohort", "build", cohort / "slides.csv", cohort / "cohort.parquet", *masks, *recipe)
    manifest = read_manifest(cohort / "cohort.parquet")
    for row, fractions in zip(manifest.table.to_pylist(), manifest.fractions, strict=True):
        path = Path(row["slide"])
        mask = np.asarray(Image.open(cohort / "cells" / f"{path.stem}.png"))
        per_px = np.divide(mask.shape[::-1], open_slide(path).size)
        down = overlaps(mask.shape[0], row["y"] * per_px[1], row["height"] * per_px[1])
        across = overlaps(mask.shape[1], row["x"] * per_px[0], row["width"] * per_px[0])
        covered = down @ mask @ across / (down.sum() * across.sum())
        assert fractions[-1] == pytest.approx(covered, abs=1e-6)
    scores = train_and_report(cohort, tmp_path)
    assert {"low_resolution", "intra+inter"} <= set(scores)


def overlaps(count, start, length):
    """How much of each of `count` pixels a stretch covers."""
    edges = np.arange(count + 1)
    return np.clip(np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start), 0, None)


def train_and_report(cohort, tmp_path):
    """The scores of a short run on the cohort in a folder."""
    manifest = cohort / "cohort.parquet"
    call("cohort", "distribution", "fractions", manifest, cohort / "distribution.json")
    example = yaml.safe_load((Path(__file__).parents[2] / "examples/cohort.yaml").read_text())
    example |= {"output": str(tmp_path / "run"), "methods": ["intra+inter"], "training": TINY_TRAINING}
    config = tmp_path / "cohort.yaml"
    config.write_text(yaml.safe_dump(example))
    call("train", config, "--data", cohort)
    call("evaluate", "run", config, "--data", cohort)
    call("report", config, "--data", cohort)
    assert "intra+inter" in (tmp_path / "run/report.html").read_text()
    return json.loads((tmp_path / "run/metrics.json").read_text())


def test_a_share_given_twice_is_refused(tmp_path):
    paths = [tmp_path, tmp_path / "m.parquet", "--masks", tmp_path, "--class", "cell"]
    shares = ["--share", "train=0.5", "--share", "train=0.1"]
    result = CliRunner().invoke(app, ["cohort", "build", *map(str, paths), *shares])
    assert result.exit_code != 0
    assert "expected one share for each split, got train=0.5, train=0.1" in f"{result.output}{result.exception}"
