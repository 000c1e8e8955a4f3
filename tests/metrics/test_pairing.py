"""Files of one name."""

import pytest

from lsr_ext.metrics.pairing import pair_files

MAPS, DOTS = (".npy", ".zarr"), (".csv",)


def fill(folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).mkdir() if name.endswith(".zarr") else (folder / name).touch()
    return folder


def test_two_files_need_no_common_name(tmp_path):
    folder = fill(tmp_path / "all", "a.npy", "b.csv", "c.zarr")
    a, b, c = sorted(folder.iterdir())
    assert pair_files((a, MAPS), (b, DOTS), (None, DOTS)) == {"a": [a, b, None]}
    assert pair_files((c, MAPS), (b, DOTS)) == {"c": [c, b]}


def test_folders_are_paired_by_name(tmp_path):
    maps = fill(tmp_path / "maps", "one.npy", "two.zarr", "notes.md")
    dots = fill(tmp_path / "dots", "two.csv", "one.csv")
    assert pair_files((maps, MAPS), (dots, DOTS), (None, ())) == {
        "one": [maps / "one.npy", dots / "one.csv", None],
        "two": [maps / "two.zarr", dots / "two.csv", None],
    }


def test_names_that_are_missing(tmp_path):
    maps = fill(tmp_path / "maps", "one.npy", "two.npy")
    less = fill(tmp_path / "less", "one.csv")
    more = fill(tmp_path / "more", "one.csv", "two.csv", "three.csv")
    with pytest.raises(ValueError, match="files of the same names in .*maps and .*less, 'two' is in one only"):
        pair_files((maps, MAPS), (less, DOTS))
    with pytest.raises(ValueError, match="'three' is in one only"):
        pair_files((maps, MAPS), (more, DOTS))


def test_errors(tmp_path):
    maps = fill(tmp_path / "maps", "one.npy", "one.zarr")
    none = fill(tmp_path / "none")
    good = fill(tmp_path / "good", "one.csv")
    with pytest.raises(ValueError, match="two files of one name: .*one.npy and .*one.zarr"):
        pair_files((maps, MAPS), (good, DOTS))
    with pytest.raises(ValueError, match=r"none: expected files \(.csv\), found none"):
        pair_files((good, DOTS), (none, DOTS))
    with pytest.raises(ValueError, match="is a folder, .* a file"):
        pair_files((maps, MAPS), (good / "one.csv", DOTS))
    with pytest.raises(ValueError, match="is a file, .* a folder"):
        pair_files((maps / "one.npy", MAPS), (good, DOTS))
    with pytest.raises(FileNotFoundError, match="found none at .*absent"):
        pair_files((tmp_path / "absent", MAPS), (good, DOTS))
