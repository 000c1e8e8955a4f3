"""From simulated slides to a scored report, by commands alone."""

import json
from pathlib import Path

import yaml
from tiny_runs import TINY_TRAINING
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.data.cohort import read_manifest


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
    table = read_manifest(manifest).table.to_pydict()
    by_split = {split: set() for split in ("train", "validation", "test")}
    for split, patient in zip(table["split"], table["patient"], strict=True):
        by_split[split].add(patient)
    assert sorted(map(len, by_split.values())) == [1, 1, 1]

    call("cohort", "distribution", "fractions", manifest, cohort / "distribution.json")
    example = yaml.safe_load((Path(__file__).parents[2] / "examples/cohort.yaml").read_text())
    example |= {"output": str(tmp_path / "run"), "methods": ["intra+inter"], "training": TINY_TRAINING}
    config = tmp_path / "cohort.yaml"
    config.write_text(yaml.safe_dump(example))
    call("train", config, "--data", cohort)
    call("evaluate", "run", config, "--data", cohort)
    scores = json.loads((tmp_path / "run/metrics.json").read_text())
    assert {"low_resolution", "intra+inter"} <= set(scores)
    call("report", config, "--data", cohort)
    assert "intra+inter" in (tmp_path / "run/report.html").read_text()
