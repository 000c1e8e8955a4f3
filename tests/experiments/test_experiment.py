import fcntl
import json
import os
import signal

import pytest
import torch
from tiny_runs import write_masks_run

from lsr_ext.experiments import TABLES, plan_runs, run_experiment
from lsr_ext.experiments.runs import do_run
from lsr_ext.sources import prepare_data
from lsr_ext.training.block_loss import build_block_loss

ROWS = ["Low resolution model", "Intra-instance", "Inter-instance", "Intra+inter-instance"]
TABLE = TABLES["table4"].select(ROWS)
SHARED = {"low_resolution": 0.2, "intra": 0.3, "inter": 0.4, "intra+inter": 0.5}


def invented_scores(run):
    """Scores without training; counts how often it was called for a run, and fails where a file says so."""
    with (run.folder / "calls").open("a") as file:
        file.write("x")
    method, seed = run.config.methods[0], run.config.seed
    print("a word for the log")
    if run.config.loss.form == "maximum":
        build_block_loss("intra", run.config.loss, prepare_data(run.config))
    ill = run.folder.parents[1] / f"{method}.ill"
    if ill.exists() and ill.read_text() == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ill.exists():
        raise ValueError(ill.read_text())
    return {name: {"iou": SHARED[name] + seed / 10, "masked_iou": None} for name in ("low_resolution", method)}


def calls(output):
    return {path.parent.parent.name: len(path.read_text()) for path in output.glob("runs/*/seed0/calls")}


def run(config, **options):
    return run_experiment(TABLE, config, **({"seeds": 1, "workers": 1, "execute": invented_scores} | options))


def test_what_failed_is_told_of_and_what_is_done_is_not_repeated(tmp_path):
    config, output = write_masks_run(tmp_path), tmp_path / "run"
    (output / "runs").mkdir(parents=True)
    (output / "runs" / "intra.ill").write_text("no\nluck")
    (output / "runs" / "intra+inter.ill").write_text("killed")

    first = run(config)
    assert calls(output) == {"intra": 1, "inter": 1, "intra+inter": 1}
    assert first.failures["intra/seed0"].startswith("ValueError: no\nluck (see ")
    assert first.failures["intra+inter/seed0"].startswith("its process ended with exit code -9")
    assert "a word for the log" in (output / "runs" / "intra" / "seed0" / "run.log").read_text()
    page = (output / "table4.md").read_text()
    assert "| Inter-instance | 1 | 0.400 |" in page
    assert "- intra/seed0: ValueError: no luck (see " in page

    for file in (output / "runs").glob("*.ill"):
        file.unlink()
    for failed in first.plan.runs:
        if failed.name in first.failures:
            do_run(failed, invented_scores)
    second = run(config)
    assert calls(output) == {"intra": 2, "inter": 1, "intra+inter": 2}
    assert not second.failures and not second.pending
    content = json.loads((output / "table4.json").read_bytes())
    assert [row["scores"]["iou"]["mean"] for row in content["rows"]] == [0.2, 0.3, 0.4, 0.5]
    assert content["failed"] == {} and content["environments"][0]["torch"]


def test_rows_of_other_data_are_not_compared(tmp_path):
    config, output = write_masks_run(tmp_path), tmp_path / "run"
    run(config)
    records = [output / "runs" / name / "seed0" / "run.json" for name in ("intra", "inter", "intra+inter")]
    for path, found in zip(records, ("a", "a", "b"), strict=True):
        content = json.loads(path.read_bytes())
        path.write_text(json.dumps(content | {"data": {"the training blocks": found}}))
    with pytest.raises(ValueError, match=r"the runs intra/seed0 and intra\+inter/seed0 \(the training blocks"):
        run(config)
    records[2].unlink()
    run(config)


def test_a_row_whose_loss_these_labels_cannot_teach_is_left_out(tmp_path, capsys):
    """Every block holds some of the disc, so that no label says that it is absent."""
    config = write_masks_run(tmp_path, data={"noise_std": 0.0, "edges": [0.5], "bins": None})
    table = TABLES["peers"].select(["Maximum (multiple-instance learning)", "Intra-instance"])
    results = run_experiment(table, config, seeds=2, workers=1, execute=invented_scores)
    assert not results.failures and not results.pending
    reason = results.left_out["Maximum (multiple-instance learning)"]
    assert reason.startswith("form 'maximum' needs a class that some labels say is absent")
    assert "intra,form=maximum/seed1 is left out: form 'maximum' needs" in capsys.readouterr().err
    page = (tmp_path / "run" / "peers.md").read_text()
    assert f"## Left out\n\n- Maximum (multiple-instance learning): {reason}" in page and "## Failed" not in page
    assert "| Intra-instance | 2 | " in page


def test_two_experiments_do_not_write_one_folder(tmp_path):
    config = write_masks_run(tmp_path)
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".experiment.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another experiment is running in"):
            run(config)


def test_data_without_the_scores_of_the_table_stop_it(tmp_path):
    config = write_masks_run(tmp_path)
    do_run(plan_runs(TABLE, config, {}, seeds=1).runs[0], lambda run: {run.config.methods[0]: {"f1": 0.5}})
    with pytest.raises(ValueError, match="table4 scores masked_iou, .*, but the data give none of these"):
        run(config)


def threads_as_score(run):
    return {run.config.methods[0]: {"iou": float(torch.get_num_threads())}}


def test_workers_share_the_threads_that_torch_was_given(tmp_path, monkeypatch):
    """Not the processors: two experiments of one thread each on two processors would have four threads."""
    threads = 2 * len(os.sched_getaffinity(0))  # a share of them is another number than one of the processors
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    results = run(write_masks_run(tmp_path), workers=2, execute=threads_as_score)
    assert not results.failures
    content = json.loads((tmp_path / "run" / "table4.json").read_bytes())
    assert content["rows"][1]["scores"]["iou"]["mean"] == threads // 2


def test_no_workers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 1 worker, got 0"):
        run(write_masks_run(tmp_path), workers=0)
