import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from tiny_runs import write_masks_run

from lsr_ext import experiments
from lsr_ext.cli import experiment
from lsr_ext.cli import main as cli
from lsr_ext.config import HeldOutSplit, load_config
from lsr_ext.evaluation.low_resolution import low_resolution_maps
from lsr_ext.sources import prepare_data

OPTIONS = ["--seeds", "2", "--workers", "1", "--steps", "2"]
ROWS = ["Low resolution model", "Intra-instance", "Intra+inter-instance"]


def arguments(config):
    return ["experiment", "table4", str(config), *OPTIONS, *(part for row in ROWS for part in ("--row", row))]


def is_running(process_id):
    stat = Path(f"/proc/{process_id}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def low_resolution_iou(data):
    truth = np.stack([block.cut(data.test.masks[block.image]) for block in data.test.blocks]) == 1
    low = low_resolution_maps(data) == 1
    return (truth & low).sum() / (truth | low).sum()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An experiment killed after its first run, and what the same command made of it then."""
    folder = tmp_path_factory.mktemp("experiment")
    config, output = write_masks_run(folder), folder / "run"
    command = [sys.executable, "-c", "from lsr_ext.cli.main import main; main()", *arguments(config)]
    with (folder / "output.txt").open("w") as log:
        killed = subprocess.Popen(command, stdout=log, stderr=log)
    wait_until(lambda: killed.poll() is not None or (output / "table4.json").exists())
    assert killed.poll() is None, (folder / "output.txt").read_text()
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert children
    wait_until(lambda: not any(map(is_running, children)))
    done = {path: path.stat().st_mtime_ns for path in output.glob("runs/*/*/run.json")}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lsr", *arguments(config)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    assert stop.value.code == 0
    assert 1 <= len(done) < 4
    assert all(path.stat().st_mtime_ns == moment for path, moment in done.items())
    return output


def read_scores(output, method, scored_with, key="iou"):
    """Of both seeds, from the files of `lsr evaluate run`."""
    folders = [output / "runs" / scored_with / f"seed{seed}" for seed in (0, 1)]
    return [json.loads((folder / "metrics.json").read_bytes())[method][key] for folder in folders]


def test_the_page_holds_the_means_of_the_evaluation(output):
    page = (output / "table4.md").read_text()
    for name, method, trained in (
        (ROWS[0], "low_resolution", "intra"),
        (ROWS[1], "intra", "intra"),
        (ROWS[2], "intra+inter", "intra+inter"),
    ):
        line = next(line for line in page.splitlines() if line.startswith(f"| {name} | 2 |"))
        for key in ("masked_iou", "masked_dice", "iou", "dice"):
            scores = read_scores(output, method, trained, key)
            assert f"| {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f} |" in line


def test_the_scores_are_those_of_the_maps(output):
    content = json.loads((output / "table4.json").read_bytes())
    row = next(row for row in content["rows"] if row["name"] == "Intra-instance")
    for seed in (0, 1):
        folder = output / "runs" / row["runs"][str(seed)]
        config = load_config(output.parent / "run.yaml", {"seed": seed})
        held_out = prepare_data(config).test
        truth = np.stack([block.cut(held_out.masks[block.image]) for block in held_out.blocks]) == 1
        with np.load(folder / "intra" / "prediction.npz") as saved:
            found = saved["classes"] == 1
        expected = (truth & found).sum() / (truth | found).sum()
        assert row["scores"]["iou"]["seeds"][str(seed)] == pytest.approx(expected)


def test_each_run_keeps_its_configuration(output):
    kept = (output / "runs" / "intra+inter" / "seed1" / "config.yaml").read_text()
    assert "seed: 1" in kept and "steps: 2" in kept
    assert (output / "table4.png").stat().st_size > 10_000


def test_the_names_in_help_are_those_of_the_library():
    assert [name.value for name in experiment.TableName] == list(experiments.TABLES)
    assert {name.value for name in experiment.SplitName} == set(get_args(HeldOutSplit))


def test_an_unknown_table_row_or_number_of_seeds(output, monkeypatch, capsys):
    config = output.parent / "run.yaml"
    for given, message in (
        (["table6", config], "'table3', 'table4', 'table5', 'table9', 'ablation'"),
        (["table4", config, "--seeds", 0], "'--seeds'"),
    ):
        monkeypatch.setattr(sys, "argv", ["lsr", "experiment", *map(str, given)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2
        assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    monkeypatch.setattr(sys, "argv", ["lsr", "experiment", "table4", str(config), "--row", "Best"])
    with pytest.raises(SystemExit, match="table4 has no row 'Best', expected one of: Low resolution model; "):
        cli.main()


def test_settings_are_chosen_on_the_validation_split(tmp_path, monkeypatch, capsys):
    config = write_masks_run(tmp_path, data={"validation_fraction": 0.2})
    given = ["--part", "validation", "--seeds", "1", "--steps", "2", "--row", "Low resolution model"]
    monkeypatch.setattr(
        sys, "argv", ["lsr", "experiment", "table4", str(config), *given, "--row", "Intra+inter-instance"]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert "--part is now called --split" in capsys.readouterr().err
    output = tmp_path / "run" / "validation"
    assert "on the validation split" in (output / "table4.md").read_text()
    content = json.loads((output / "table4.json").read_bytes())
    found = content["rows"][0]["scores"]["iou"]["seeds"]["0"]
    data = prepare_data(load_config(config, {"evaluation.split": "validation"}))
    held_out, tested = data.test, prepare_data(load_config(config)).test
    assert {block.image for block in held_out.blocks}.isdisjoint(block.image for block in tested.blocks)
    assert found == pytest.approx(low_resolution_iou(data))


def test_a_split_of_its_own_for_each_seed(tmp_path, monkeypatch):
    config = write_masks_run(tmp_path, data={"split_seed": 0})
    given = ["--vary-split", "--seeds", "2", "--workers", "1", "--steps", "1", "--row", "Low resolution model"]
    monkeypatch.setattr(
        sys, "argv", ["lsr", "experiment", "table4", str(config), *given, "--row", "Intra+inter-instance"]
    )
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    found = json.loads((tmp_path / "run/table4.json").read_bytes())["rows"][0]["scores"]["iou"]["seeds"]
    images = []
    for seed in (0, 1):
        data = prepare_data(load_config(config, {"data.split_seed": seed, "seed": seed}))
        assert found[str(seed)] == pytest.approx(low_resolution_iou(data))
        images.append({block.image for block in data.test.blocks})
    assert images[0] != images[1]


def test_keys_are_changed_by_set(tmp_path, monkeypatch):
    seen = {}

    def plan(table, config, overrides, **options):
        seen.update(overrides)
        raise ValueError("stopped")

    monkeypatch.setattr(experiments, "run_experiment", plan)
    settings = ["--set", "evaluation.symmetries=1", "--set", "training.network.features=[8, 8]", "--set", "a.b="]
    given = ["experiment", "peers", str(tmp_path / "run.yaml"), "--steps", "3", *settings]
    monkeypatch.setattr(sys, "argv", ["lsr", *given])
    with pytest.raises(SystemExit, match="stopped"):
        cli.main()
    assert seen == {
        "evaluation.symmetries": 1,
        "training.network.features": [8, 8],
        "a.b": None,
        "training.steps": 3,
    }


def test_a_setting_without_a_value_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lsr", "experiment", "peers", str(tmp_path / "run.yaml"), "--set", "steps"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "expected KEY=VALUE, got 'steps'" in " ".join(capsys.readouterr().err.replace("│", " ").split())
