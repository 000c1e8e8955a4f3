import numpy as np
import pytest

from lsr_ext.report.score_regions import score_region_files


def save(path, left):
    label_map = np.zeros((30, 40), np.uint8)
    label_map[:, left:] = 1
    np.save(path, label_map)
    return path


def test_overlap_whole_and_near_the_boundary(tmp_path):
    maps = save(tmp_path / "pred.npy", 22), save(tmp_path / "truth.npy", 20)
    rows = score_region_files(*maps, ("stroma", "tumour"), tmp_path / "out", distance_px=4, resamples=10).rows
    row = next(row for row in rows if (row["image"], row["class"]) == ("all images", "tumour"))
    assert row["iou"] == 18 / 20 and row["dice"] == 36 / 38
    assert row["masked_iou"] == row["trimap_iou"] == 3 / 5  # columns 20 to 24 of the truth, 22 to 24 of both
    assert row["boundary_iou"] == 3 / 7
    assert "trimap_dice" not in row


def test_the_files_at_fault_are_named(tmp_path):
    maps = save(tmp_path / "pred.npy", 22), save(tmp_path / "truth.npy", 20)
    with pytest.raises(ValueError, match=r"pred.npy against .*truth.npy: expected ids in \[0, 1\) in pred"):
        score_region_files(*maps, ("stroma",), tmp_path / "out")
