import pytest
from tiny_runs import write_masks_run

from lsr_ext.experiments import TABLES, plan_runs
from lsr_ext.experiments.runs import Unscored, do_run, load_record
from lsr_ext.experiments.summary import collect_results

SCORES = {"low_resolution": {"iou": 0.25}, "intra": {"iou": 0.5}}


def plan_one(path, **overrides):
    return plan_runs(TABLES["table4"].select(["Intra-instance"]), path, overrides, seeds=1).runs[0]


def test_a_finished_run_has_its_scores_and_how_they_were_made(tmp_path):
    run = plan_one(write_masks_run(tmp_path))
    assert load_record(run) is None
    do_run(run, lambda run: SCORES)
    record = load_record(run)
    assert record["scores"] == SCORES
    assert record["config"]["methods"] == ["intra"]
    assert record["seconds"] >= 0 and record["environment"]["processor"]


def test_a_failed_run_has_no_record(tmp_path):
    run = plan_one(write_masks_run(tmp_path))
    with pytest.raises(ZeroDivisionError):
        do_run(run, lambda run: 1 / 0)
    assert load_record(run) is None


def test_a_run_may_be_moved(tmp_path):
    path = write_masks_run(tmp_path)
    do_run(plan_one(path), lambda run: SCORES)
    (tmp_path / "run").rename(tmp_path / "moved")
    assert load_record(plan_one(path, output=tmp_path / "moved")) is not None


def test_a_run_is_of_its_data(tmp_path):
    path = write_masks_run(tmp_path)
    do_run(plan_one(path), lambda run: SCORES)
    assert load_record(plan_one(path, **{"data.root": tmp_path / "elsewhere"})) is None


@pytest.mark.parametrize("key", ["training.steps", "evaluation.boundary_distance_px", "data.bins"])
def test_the_record_of_another_configuration_is_none(tmp_path, key):
    path = write_masks_run(tmp_path)
    do_run(plan_one(path), lambda run: SCORES)
    assert load_record(plan_one(path, **{key: 3})) is None


@pytest.mark.parametrize("content", ["{", "[]", "7"])
def test_a_file_that_is_no_record_is_named(tmp_path, content):
    run = plan_one(write_masks_run(tmp_path))
    run.folder.mkdir(parents=True)
    (run.folder / "run.json").write_text(content)
    with pytest.raises(ValueError, match="run.json: not the record of a run"):
        load_record(run)


def test_a_row_is_left_out_by_seed_where_other_seeds_have_it(tmp_path):
    plan = plan_runs(TABLES["table4"].select(["Intra-instance"]), write_masks_run(tmp_path), {}, seeds=2)
    without = {"intra/seed1": Unscored("no target", is_left_out=True), "intra/seed0": Unscored("no luck")}
    results = collect_results(plan, without)
    assert results.left_out == {"Intra-instance, seed 1": "no target"}
    assert (results.failures, results.pending) == ({"intra/seed0": "no luck"}, [])
