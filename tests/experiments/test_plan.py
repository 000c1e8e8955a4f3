import pytest
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext.experiments import TABLES, Row, Table, plan_runs


def make_table(*rows):
    return Table("test", "A test", ("iou",), rows, reference=rows[-1].name)


def test_each_row_and_seed_is_a_run_of_one_method(tmp_path):
    plan = plan_runs(TABLES["table4"], write_masks_run(tmp_path, seed=3), {"training.steps": 7}, seeds=2)
    assert len(plan.runs) == 5 * 2
    run = plan.by_row["Inter-instance", 4]
    assert run.folder == tmp_path / "run" / "runs" / "inter" / "seed4"
    assert (run.config.methods, run.config.seed, run.config.training.steps) == (["inter"], 4, 7)


def test_runs_of_a_seed_share_a_folder(tmp_path):
    plan = plan_runs(TABLES["table4"], write_masks_run(tmp_path), {}, seeds=2)
    assert {(run.config.seed, run.config.shared) for run in plan.runs} == {
        (seed, tmp_path / "run" / "shared" / f"seed{seed}") for seed in (0, 1)
    }


def test_scores_of_the_validation_split_have_their_own_folder(tmp_path):
    path = write_masks_run(tmp_path, data={"validation_fraction": 0.2})
    plan = plan_runs(TABLES["table4"], path, {"evaluation.split": "validation"}, seeds=1)
    assert plan.config.output == tmp_path / "run" / "validation"
    assert all(run.folder.is_relative_to(tmp_path / "run" / "validation" / "runs") for run in plan.runs)


def test_the_first_seed_comes_before_the_second(tmp_path):
    plan = plan_runs(TABLES["table4"], write_masks_run(tmp_path), {}, seeds=2)
    assert [run.config.seed for run in plan.runs] == [0] * 5 + [1] * 5


def test_equal_configurations_are_one_run_in_all_tables(tmp_path):
    path = write_masks_run(tmp_path, loss={"alpha": 0.4})
    plan = plan_runs(TABLES["table5"], path, {}, seeds=1)
    names = {row.name: plan.by_row[row.name, 0].name for row in plan.table.rows if not row.is_baseline}
    assert names["Intra+inter-instance, alpha = 0.4"] == "intra+inter/seed0"
    assert names["Intra+inter-instance, alpha = 1.0"] == "intra+inter,alpha=1.0/seed0"
    other = plan_runs(TABLES["table4"], path, {}, seeds=1)
    assert other.by_row["Intra+inter-instance", 0] == plan.by_row["Intra+inter-instance, alpha = 0.4", 0]


def test_a_row_that_the_data_cannot_give_is_left_out_with_the_reason(tmp_path):
    plan = plan_runs(TABLES["table5"], write_labels_run(tmp_path), {}, seeds=1)
    assert list(plan.left_out) == ["Full pixel supervision"]
    assert "needs pixel truth" in plan.left_out["Full pixel supervision"]
    assert "Full pixel supervision" not in [row.name for row in plan.table.rows]


def test_a_peers_form_has_its_own_floor(tmp_path):
    """That of a configuration was chosen for its form: at 1e-4 the paper's collapses."""
    path = write_masks_run(tmp_path, loss={"form": "kl", "floor": 1e-4})
    plan = plan_runs(TABLES["peers"], path, {}, seeds=1)
    floors = {run.config.loss.form: run.config.loss.floor for run in plan.runs}
    assert floors.pop("kl") == 1e-4
    assert "paper" in floors and set(floors.values()) == {None}


@pytest.mark.parametrize("name", ["table5", "table9", "ablation", "peers"])
def test_data_with_masks_give_every_row(tmp_path, name):
    plan = plan_runs(TABLES[name], write_masks_run(tmp_path), {}, seeds=1)
    assert not plan.left_out and plan.table == TABLES[name]


def test_labels_of_a_classifier_give_no_rows_by_numbers(tmp_path):
    path = write_masks_run(tmp_path, data={"bins": None, "edges": [0.5], "classifier": {}})
    plan = plan_runs(TABLES["peers"], path, {}, seeds=1)
    assert set(plan.left_out) == {row.name for row in TABLES["peers"].rows if row.name.endswith("by numbers")}
    assert "data.classifier" in plan.left_out["Intra-instance, by numbers"]


@pytest.mark.parametrize("name", ["table3", "table4"])
def test_data_without_stains_give_no_pseudo_labels(tmp_path, name):
    plan = plan_runs(TABLES[name], write_masks_run(tmp_path), {}, seeds=1)
    assert set(plan.left_out) == {row.name for row in TABLES[name].rows if "high_res" in row.method}
    assert "needs data.stains" in plan.left_out["high res"]


def test_baselines_are_taken_from_runs_on_the_data_as_configured(tmp_path):
    table = make_table(
        Row("low", "low_resolution"),
        Row("few", "intra", {"data.distribution_blocks": 2}),
        Row("wide", "intra", {"loss.alpha": 2.0}),
    )
    plan = plan_runs(table, write_masks_run(tmp_path), {}, seeds=2)
    assert [run.name for run in plan.sources(table.rows[0], 1)] == ["intra,alpha=2.0/seed1"]


def test_no_row_to_train_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no row of test to train: baselines are scored beside a trained one"):
        plan_runs(make_table(Row("low", "low_resolution")), write_masks_run(tmp_path), {}, seeds=1)


def test_a_faulty_configuration_is_no_missing_row(tmp_path):
    with pytest.raises(ValueError, match="sead"):
        plan_runs(TABLES["table4"], write_masks_run(tmp_path, sead=1), {}, seeds=1)
