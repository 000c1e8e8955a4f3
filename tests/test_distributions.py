import json

import numpy as np
import pytest
import torch

from lsr_ext import CountDistribution
from lsr_ext.distributions import binomial_std


def test_paper_tables():
    """Spot values of Tables 1, 6 and 7."""
    one, six, seven = (CountDistribution.paper(name) for name in ("table1", "table6", "table7"))
    assert one.labels[-1] == "95-100"
    assert one.classes == ("cancer", "non-cancer")
    torch.testing.assert_close(one.mean[-1], torch.tensor([0.7, 0.3], dtype=torch.float64))
    assert one.std[-1].tolist() == pytest.approx([0.05, 0.05])
    assert one.mean[3, 0].item() == pytest.approx(0.05)
    assert six.mean[5].tolist() == pytest.approx([0.0669, 0.9331])
    assert six.std[8, 1].item() == pytest.approx(0.2742)
    assert seven.mean[0].tolist() == pytest.approx([0.0339, 0.9661])
    assert seven.std[9, 0].item() == pytest.approx(0.3069)
    for table in (one, six, seven):
        torch.testing.assert_close(table.mean.sum(1), torch.ones(10, dtype=torch.float64))
    with pytest.raises(ValueError, match="table must be one of .* got 'table3'"):
        CountDistribution.paper("table3")


def test_from_masks_by_hand():
    masks = [[[0, 0], [0, 1]], [[0, 1], [1, 1]], [[1, 1], [1, 1]]]
    estimate = CountDistribution.from_masks(map(np.array, masks), [0, 0, 1], ["a", "b"], ["low", "high"])
    assert estimate.mean.tolist() == [[0.5, 0.5], [0.0, 1.0]]
    assert estimate.std.tolist() == [[0.25, 0.25], [0.0, 0.0]]
    assert estimate.exclusive


def test_from_table_with_labels_per_class():
    fractions = [[0.1, 0.5], [0.3, 0.6], [0.2, 0.1]]
    labels = [[0, 1], [1, 1], [1, 0]]
    estimate = CountDistribution.from_table(fractions, labels, ["a", "b"], exclusive=False)
    np.testing.assert_allclose(estimate.mean, [[0.1, 0.1], [0.25, 0.55]])
    np.testing.assert_allclose(estimate.std, [[0.0, 0.0], [0.05, 0.05]], atol=1e-12)


CSV = "label,class,fraction\nlow,a,0.9\nlow,b,0.1\nlow,a,0.7\nlow,b,0.3\nhigh,a,0.2\nhigh,b,0.8\n"


def test_from_fractions_of_a_csv(tmp_path):
    path = tmp_path / "fractions.csv"
    path.write_text(CSV)
    estimate = CountDistribution.from_fractions(path)
    assert estimate.labels == ("low", "high")
    assert estimate.classes == ("a", "b")
    np.testing.assert_allclose(estimate.mean, [[0.8, 0.2], [0.2, 0.8]])
    np.testing.assert_allclose(estimate.std, [[0.1, 0.1], [0, 0]], atol=1e-12)


def test_from_fractions_with_a_block_column():
    rows = [
        {"label": "z", "block": "7", "class": "a", "fraction": "0.25"},
        {"label": "z", "block": "9", "class": "a", "fraction": "1"},
        {"label": "z", "block": "9", "class": "b", "fraction": "0"},
        {"label": "z", "block": "7", "class": "b", "fraction": "0.75"},
    ]
    np.testing.assert_allclose(CountDistribution.from_fractions(rows).mean, [[0.625, 0.375]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("label,class\nlow,a\n", r"row 2: missing column\(s\) \['fraction'\]"),
        ("label,class,fraction\nlow,a,1\nlow,b,\n", r"row 3: missing column\(s\) \['fraction'\]"),
        ("label,class,fraction\nlow,a,half\n", "row 2: fraction must be a number, got 'half'"),
        ("label,class,fraction\nlow,a,1.5\n", r"row 2: fraction must lie in \[0, 1\], got 1.5"),
        (
            "label,class,fraction\nlow,a,0.5\nlow,b,0.4\n",
            "must sum to 1, got 0.9 for .*label 'low', block '0'",
        ),
        (
            "label,class,fraction\nlow,a,0.5\nhigh,b,0.5\n",
            r"label 'low', block '0' has no fraction for \['b'\]",
        ),
        ("label,class,fraction\n", "expected rows of label, class, fraction, got none"),
    ],
)
def test_bad_fractions(tmp_path, content, message):
    path = tmp_path / "fractions.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        CountDistribution.from_fractions(path)
    assert "fractions.csv" in str(caught.value)


def test_nothing_that_is_given_is_left_out():
    """Two annotators of one block, a label beyond the names, and labels that are no integers."""
    rows = [("x", 1, "a", 0.1), ("x", 1, "b", 0.9), ("x", 1, "a", 0.4), ("x", 1, "b", 0.6)]
    table = [dict(zip(("label", "block", "class", "fraction"), row, strict=True)) for row in rows]
    with pytest.raises(ValueError, match="label 'x', block '1' has two fractions of 'a'"):
        CountDistribution.from_fractions(table)
    fractions = torch.tensor([[0.2, 0.8], [0.4, 0.6], [1.0, 0.0]])
    with pytest.raises(ValueError, match=r"labels must lie in \[-1, 1\], got 5 for block 2"):
        CountDistribution.from_table(fractions, [0, 1, 5], ["a", "b"], ["u", "v"])
    with pytest.raises(ValueError, match="labels must be integers, got torch.float32"):
        CountDistribution.from_table(fractions, [0.9, 1.9, 1.0], ["a", "b"])


def test_a_count_beyond_half_precision():
    std = binomial_std(torch.tensor([[0.5]], dtype=torch.float16), 100_000)
    torch.testing.assert_close(std, torch.tensor([[0.0016]], dtype=torch.float16), rtol=0.02, atol=0)


def test_save_and_load(tmp_path):
    path = tmp_path / "distribution.json"
    CountDistribution.paper("table6").save(path)
    assert CountDistribution.load(path) == CountDistribution.paper("table6")
    assert CountDistribution.load(path) != CountDistribution.paper("table7")
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text())["labels"][0] == "0-20"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "expected JSON"),
        ("[1, 2]", "missing .*'classes', 'labels', 'mean', 'std'"),
        ('{"labels": ["0"], "classes": ["a"], "mean": [[0.5]]}', r"missing \['std'\]"),
        (
            '{"labels": ["0"], "classes": ["a"], "mean": [[0.5]], "std": [[-1]]}',
            r"std must lie in \[0, 1\]",
        ),
        (
            '{"labels": ["0"], "classes": ["a"], "mean": [[0.5]], "std": [[1]], "extra": 1}',
            "unexpected keyword",
        ),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "distribution.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        CountDistribution.load(path)
    assert "distribution.json" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ([[0.5, 0.5]], [[0.1, -0.1]]),
            r"std must lie in \[0, 1\], as fractions do, got -0.1 for label '0', class 1",
        ),
        (([[0.1, 0.9]], [[0.05, 10.0]]), r"std must lie in \[0, 1\], as fractions do, got 10 for label"),
        (([[0.5, 1.5]], [[0.1, 0.1]]), r"mean must lie in \[0, 1\], got 1.5 for label '0', class 1"),
        (([[float("nan"), 0.5]], [[0.1, 0.1]]), r"mean must lie in \[0, 1\], got nan"),
        (([0.5], [0.1]), r"must both have shape \(Z, L\), got \(1,\) and \(1,\)"),
        (([[0.5, 0.5]], [[0.1]]), r"must both have shape \(Z, L\)"),
        (([[0.5]], [[0.1]], ["a", "b"]), "expected 1 labels and 1 classes as in mean, got 2 and 1"),
    ],
)
def test_bad_tables(arguments, message):
    with pytest.raises(ValueError, match=message):
        CountDistribution(*arguments)


def test_exclusive_means_must_sum_to_one():
    with pytest.raises(ValueError, match="fractions of exclusive classes must sum to 1, got 0.7 for label 'low'"):
        CountDistribution([[0.5, 0.2]], [[0.1, 0.1]], ["low"], ["a", "b"], exclusive=True)


@pytest.mark.parametrize(
    ("masks", "labels", "error", "message"),
    [
        ([], [], ValueError, "expected at least one mask, got none"),
        ([np.zeros((2, 2))], [0], ValueError, r"mask 0 must be \(H, W\) integers, got torch.float64"),
        ([np.full((2, 2), 2)], [0], ValueError, r"mask 0 must hold class ids in \[0, 1\], got 2 to 2"),
        ([np.zeros((2, 2), int)], [0, 1], ValueError, "expected one label per block, got 2 for 1 blocks"),
        ([np.zeros((2, 2), int)], [1], ValueError, "label '0': no block to estimate class 'a' from"),
    ],
)
def test_bad_masks(masks, labels, error, message):
    with pytest.raises(error, match=message):
        CountDistribution.from_masks(masks, labels, ["a", "b"])
