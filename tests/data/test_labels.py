"""Labels from fractions and from CSV tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr_ext.data import (
    add_label_noise,
    expected_fractions,
    quantile_edges,
    quantise_fractions,
    read_label_table,
)


def test_quantile_edges_make_bins_of_equal_count():
    fractions = np.random.default_rng(0).random(60)
    edges = quantile_edges(fractions, 6)
    assert edges.shape == (5,)
    np.testing.assert_array_equal(np.bincount(quantise_fractions(fractions, edges)), [10] * 6)


def test_quantile_edges_by_hand():
    np.testing.assert_allclose(quantile_edges(np.array([0.4, 0.0, 0.2, 0.6]), 2), [0.3])


def test_quantile_edges_errors():
    with pytest.raises(ValueError, match="at least 3 distinct fractions for 3 bins, got 2"):
        quantile_edges(np.array([0.1, 0.2, 0.2]), 3)
    with pytest.raises(ValueError, match="too many equal fractions: 3 quantile bins leave one empty"):
        quantile_edges(np.array([0.0] * 9 + [0.1, 0.2]), 3)
    with pytest.raises(ValueError, match="expected at least 2 bins, got 1"):
        quantile_edges(np.array([0.1, 0.2]), 1)
    with pytest.raises(ValueError, match=r"fractions of one class, shape \(N,\), got \(1, 2\)"):
        quantile_edges(np.array([[0.1, 0.2]]), 2)
    with pytest.raises(ValueError, match="distinct fractions for 2 bins, got 0"):
        quantile_edges(np.array([]), 2)


def test_quantise_by_hand():
    labels = quantise_fractions(np.array([0.0, 0.1, 0.25, 0.9, 1.0]), np.array([0.1, 0.9]))
    assert labels.dtype == np.int64
    # A fraction on an edge belongs to the upper bin.
    np.testing.assert_array_equal(labels, [0, 1, 1, 2, 2])


@given(st.lists(st.floats(0, 1), min_size=1), st.lists(st.floats(0, 1), min_size=1, unique=True))
def test_quantise_counts_the_edges_below(fractions, edges):
    edges = sorted(edges)
    expected = [sum(edge <= fraction for edge in edges) for fraction in fractions]
    assert quantise_fractions(np.array(fractions), np.array(edges)).tolist() == expected


def test_quantise_per_class_with_different_numbers_of_bins():
    fractions = np.array([[0.2, 0.2], [0.8, 0.8]])
    np.testing.assert_array_equal(quantise_fractions(fractions, [[0.5], [0.1, 0.3]]), [[0, 1], [1, 2]])
    np.testing.assert_array_equal(quantise_fractions(fractions, np.array([[0.5], [0.1]])), [[0, 1], [1, 1]])


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_fractions_out_of_range(bad):
    with pytest.raises(ValueError, match=r"expected fractions in \[0, 1\], got"):
        quantise_fractions(np.array([0.5, bad]), np.array([0.5]))


def test_quantise_errors():
    with pytest.raises(ValueError, match="expected strictly increasing edges"):
        quantise_fractions(np.array([0.5]), np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match=r"L rows of edges, got \(1, 2\) and 3"):
        quantise_fractions(np.array([[0.5, 0.5]]), [[0.1], [0.2], [0.3]])


def test_noise_is_clipped_and_has_the_std():
    fractions = np.full(20000, 0.5)
    noisy = add_label_noise(fractions, 0.1, np.random.default_rng(0))
    assert np.std(noisy) == pytest.approx(0.1, rel=0.03)
    extreme = add_label_noise(fractions, 5.0, np.random.default_rng(0))
    assert extreme.min() == 0.0
    assert extreme.max() == 1.0
    np.testing.assert_array_equal(add_label_noise(fractions, 0.0, np.random.default_rng(0)), fractions)


@pytest.mark.parametrize("std", [-0.1, float("nan")])
def test_noise_std_must_not_be_negative(std):
    with pytest.raises(ValueError, match="expected a noise std of at least 0"):
        add_label_noise(np.array([0.5]), std, np.random.default_rng(0))


def write(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_one_label_per_image(tmp_path):
    table = read_label_table(write(tmp_path, '\ufeffimage,label\r\nb.png, 2\r\n\r\n"a,1.png",-1\r\n'))
    assert table.images == ["b.png", "a,1.png"]
    assert table.classes is None
    assert table.labels.dtype == np.int64
    np.testing.assert_array_equal(table.labels, [2, -1])


def test_one_label_per_class(tmp_path):
    table = read_label_table(write(tmp_path, "image,CD3,CD8\na.png,0,1\nb.png,-1,0\n"))
    assert table.classes == ["CD3", "CD8"]
    np.testing.assert_array_equal(table.labels, [[0, 1], [-1, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\na.png\n", r"labels\.csv: expected columns image,label .* got 'image'"),
        ("file,label\na.png,1\n", "expected columns image,label .* got 'file,label'"),
        ("", "expected columns image,label .* got ''"),
        ("image,CD3,CD3\na.png,1,1\n", "expected distinct column names, got 'image,CD3,CD3'"),
        ("image,CD3,\na.png,1,1\n", "expected distinct column names"),
        ("image,label\n", "expected at least one row of labels, got none"),
        ("image,label\na.png,1\nb.png\n", r"labels\.csv, row 3: expected 2 fields, got 1"),
        ("image,label\na.png,1,2\n", "row 2: expected 2 fields, got 3"),
        ("image,label\na.png,0.5\n", r"row 2: expected an integer label, got '0\.5'"),
        ("image,label\na.png,\n", "row 2: expected an integer label, got ''"),
        ("image,label\na.png,-2\n", "row 2: expected a label of 0 to 2.31 - 1, or -1 for unknown, got -2"),
        (
            "image,label\na.png,99999999999999999999\n",
            "row 2: expected a label of 0 to .*, got 9+",
        ),
        ("image,label\n,1\n", "row 2: the image is empty"),
        ("image,label\na.png,1\n\na.png,1\n", r"row 4: image 'a\.png' occurs a second time"),
        (b"image,label\n\xff\xfe,1\n", r"labels\.csv, row \d: not a readable CSV"),
    ],
)
def test_faults_are_named_with_file_and_row(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_label_table(write(tmp_path, text))


NAMES = ["low", "mid", "high"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("high\nlow\n-1", [2, 0, -1]),
        ("2\n0\n-1", [2, 0, -1]),  # no name is a number: positions
    ],
)
def test_labels_are_names_or_positions(tmp_path, rows, expected):
    text = "image,label\n" + "".join(f"{k}.png,{row}\n" for k, row in enumerate(rows.split("\n")))
    assert read_label_table(write(tmp_path, text), NAMES).labels.tolist() == expected


def test_numbers_that_are_names_are_names(tmp_path):
    table = read_label_table(write(tmp_path, "image,label\na.png,1\nb.png,2\n"), ["2", "1"])
    assert table.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "names", "ordered", "message"),
    [
        (
            "image,label\na.png,middle\n",
            NAMES,
            True,
            "row 2: expected a label of low, mid, high, or -1 .* 'middle'",
        ),
        ("image,label\na.png,0\n", NAMES, False, "labels are numbers, .* write the names low, mid, high"),
        ("image,label\na.png,3\n", ["1", "2"], True, "expected a label of 1, 2, or -1 for unknown, got '3'"),
        ("image,fraction\na.png,1.2\n", None, True, r"row 2: expected a fraction in \[0, 1\], .* got '1\.2'"),
        ("image,fraction\na.png,a lot\n", None, True, "row 2: expected a fraction"),
        ("image,fraction,std\na.png,0.2,-1\n", None, True, "row 2: expected a std in .0, 1."),
        ("image,label,std\na.png,0,0.1\n", None, True, "the column std has no fraction beside it"),
        (
            "image,label,split\na.png,0,training\n",
            None,
            True,
            "row 2: expected a split of train, validation, test",
        ),
        ("image,split\na.png,train\n", None, True, "expected columns image,label"),
        ("image,fraction_a,std_b\na.png,0,0\n", None, True, "the column std_b has no fraction_b beside it"),
    ],
)
def test_faults_of_names_numbers_and_splits(tmp_path, text, names, ordered, message):
    with pytest.raises(ValueError, match=message):
        read_label_table(write(tmp_path, text), names, names_are_ordered=ordered)


def test_numbers_splits_and_patients(tmp_path):
    text = "image,fraction_a,std_a,fraction_b,split,patient\na.png,0.2,0.05,,train,p1\nb.png,,,1,test,\n"
    table = read_label_table(write(tmp_path, text))
    assert not table.has_labels and table.labels.tolist() == [-1, -1]
    assert table.fraction_classes == ("a", "b")
    np.testing.assert_array_equal(table.fractions, [[0.2, np.nan], [np.nan, 1.0]])
    np.testing.assert_array_equal(table.std, [[0.05, np.nan], [np.nan, np.nan]])
    assert (table.splits, table.patients) == (["train", "test"], ["p1", None])


def test_names_that_are_written_in_two_ways(tmp_path):
    text = "image,fraction_std,std_std,patient\na.png,0.2,0.1,Ann  Lee\nb.png,0.3,,Ann Lee\n"
    table = read_label_table(write(tmp_path, text))
    assert (table.fraction_classes, table.std[0, 0]) == (("std",), 0.1)
    assert table.patients == ["Ann Lee", "Ann Lee"]


def test_missing_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a CSV of labels, found none at"):
        read_label_table(tmp_path / "labels.csv")


def test_unknown_labels_share_what_the_known_leave():
    mean = np.array([[0.1, 0.2, 0.0], [0.3, 0.4, 0.0]])
    fractions = expected_fractions(np.array([[0, 1, -1], [-1, 1, -1]]), mean)
    np.testing.assert_allclose(fractions, [[0.1, 0.4, 0.5], [0.3, 0.4, 0.3]])
    np.testing.assert_allclose(expected_fractions(np.array([1]), mean), [[0.3, 0.4, 0.0]])
