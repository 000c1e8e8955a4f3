import orjson
import pytest

from lsr_ext.report.score_dots import score_dot_files


def write(path, *rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["x,y,class", *rows]) + "\n")
    return path


def test_two_sets_are_detections_and_truth(tmp_path):
    sets = write(tmp_path / "found.csv", "0,0,t", "50,0,t"), write(tmp_path / "truth.csv", "3,0,t", "9,9,b")
    sheet = score_dot_files(sets, tmp_path / "out", radius=5, resamples=10)
    row = next(row for row in sheet.rows if (row["image"], row["class"]) == ("all images", "t"))
    assert (row["tp"], row["fp"], row["fn"]) == (1, 1, 0)
    content = orjson.loads((tmp_path / "out" / "scores.json").read_bytes())
    assert content["settings"]["radius"] == 5 and len(content["scores"]) == len(sheet.rows)


def test_three_sets_are_raters(tmp_path):
    sets = [write(tmp_path / f"{name}.csv", f"{x},0,t") for name, x in (("ann", 0), ("bob", 3), ("cid", 50))]
    rows = score_dot_files(sets, tmp_path / "out", radius=5).rows
    assert [row["f1"] for row in rows if row["class"] == "t"] == [1, 0, 0, pytest.approx(1 / 3)]
    assert rows[-1] == {"raters": "mean of pairs", "class": "average", "f1": pytest.approx(1 / 3)}


def test_one_set_or_images_with_raters_are_refused(tmp_path):
    dots = write(tmp_path / "a.csv", "0,0,t")
    with pytest.raises(ValueError, match="expected two or more sets of dots, got one"):
        score_dot_files([dots], tmp_path)
    with pytest.raises(ValueError, match="images go with two sets of dots"):
        score_dot_files([dots] * 3, tmp_path, images=tmp_path)
