import numpy as np
import pytest
from PIL import Image

from lsr_ext.report.score_cells import score_cell_files
from lsr_ext.report.score_tables import ALL_IMAGES


@pytest.fixture
def files(tmp_path):
    """A map of two regions, one of them with two dots in it and a third dot on background."""
    label_map = np.zeros((20, 30), np.uint8)
    label_map[2:8, 2:8], label_map[10:15, 20:25] = 1, 1
    Image.fromarray(label_map).save(tmp_path / "a.png")
    (tmp_path / "a.csv").write_text("x,y\n3,3\n5,5\n29,1\n")
    return tmp_path


def test_regions_are_detections(files):
    sheet = score_cell_files(files / "a.png", files / "a.csv", {"cell": 1}, files / "out", resamples=10)
    row = next(row for row in sheet.rows if row["image"] == ALL_IMAGES and row["class"] == "cell")
    assert (row["dots"], row["dots_hit"], row["regions"], row["regions_hit"]) == (3, 2, 2, 1)
    assert row["recall"] == 2 / 3 and row["precision_region"] == 1 / 2 and row["precision_dot_weighted"] == 2 / 3
    assert sorted(path.name for path in (files / "out").iterdir()) == ["scores.csv", "scores.json"]


def test_the_image_must_have_the_size_of_the_map(files):
    Image.new("RGB", (30, 19)).save(files / "image.png")
    with pytest.raises(ValueError, match=r"image.png is 19 x 30 px, .*a.png 20 x 30 px"):
        score_cell_files(
            files / "a.png", files / "a.csv", {"cell": 1}, files / "out", images=files / "image.png", resamples=10
        )


def test_drawings_are_named_after_the_maps(files):
    Image.new("RGB", (30, 20)).save(files / "image.png")
    score_cell_files(
        files / "a.png", files / "a.csv", {"cell": 1}, files / "out", images=files / "image.png", resamples=10
    )
    assert (files / "out" / "a.png").is_file()
