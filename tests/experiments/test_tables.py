from pathlib import Path

import pytest

from lsr_ext.config.run import PEER_FORMS
from lsr_ext.experiments import TABLES
from lsr_ext.options import FORMS
from lsr_ext.training.peers import PEERS

PAPER = Path(__file__).parents[2].parent / "shared" / "paper.md"


@pytest.mark.skipif(not PAPER.is_file(), reason="needs ../shared/paper.md")
@pytest.mark.parametrize("name", ["table3", "table4", "table9"])
def test_published_scores_are_those_of_the_paper(name):
    text = PAPER.read_text(encoding="utf-8")
    printed = [row for row in TABLES[name].rows if row.paper]
    assert len(printed) == {"table3": 7, "table4": 3, "table9": 6}[name]
    for row in printed:
        assert "\t" + "\t".join(f"{value:.4f}" for value in row.paper.values()) + "\n" in text, row.name


@pytest.mark.skipif(not PAPER.is_file(), reason="needs ../shared/paper.md")
def test_the_published_sweep_of_alpha():
    sweep = [row for row in TABLES["table5"].rows if row.family]
    line = "\t".join(f"{row.paper['masked_iou']:.4f}" for row in sweep)
    assert f"(Masked IoU)\t{line}" in PAPER.read_text(encoding="utf-8")
    assert [row.overrides["loss.alpha"] for row in sweep] == [0.2, 0.4, 0.6, 0.8, 1.0]


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_names_are_distinct_and_yardsticks_are_rows(table):
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    assert {table.reference, table.low, table.full} - {None} <= set(names)


def test_every_form_is_in_the_ablation_or_beside_the_peers():
    forms = {row.value for row in TABLES["ablation"].rows if row.family == "form"}
    peers = {row.overrides["loss.form"] for row in TABLES["peers"].rows if "loss.form" in row.overrides}
    assert forms | peers == {*FORMS, *PEER_FORMS}
    assert set(PEERS) == set(PEER_FORMS)


def test_rows_by_numbers_are_those_by_labels_with_other_targets():
    rows = {row.name: row for row in TABLES["peers"].rows}
    for name, row in rows.items():
        if name.endswith(", by numbers"):
            stem = name.removesuffix(", by numbers")
            [by_labels] = [row for other, row in rows.items() if other in (stem, f"{stem} (Kervadec et al. 2019)")]
            numbers = {key: value for key, value in row.overrides.items() if key not in by_labels.overrides}
            assert row.method == by_labels.method
            assert numbers in ({"loss.targets": "fractions"}, {"loss.targets": "fractions", "loss.std": 0.05})


def test_the_ablation_has_equal_batches_of_groups():
    rows = TABLES["ablation"].rows
    groups = [row.overrides for row in rows if row.family == "group size"]
    blocks = [changes["training.group_size"] * changes["training.groups_per_batch"] for changes in groups]
    assert [changes["training.group_size"] for changes in groups] == [2, 4, 8, 10, 16, 32, 64]
    assert all(60 <= count <= 64 for count in blocks)


def test_rows_are_selected_by_name_or_family():
    chosen = TABLES["table5"].select(["ALPHA", "low resolution model"])
    assert [row.method for row in chosen.rows] == ["low_resolution"] + ["intra+inter"] * 5
    with pytest.raises(ValueError, match=r"table5 has no row 'beta', expected one of: Low resolution model; "):
        TABLES["table5"].select(["alpha", "beta"])
