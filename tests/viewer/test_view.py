"""What is opened for the page."""

import numpy as np
import pytest
from slides import tissue_like, write_ome_planes, write_pyramid

from lsr_ext.viewer import View


def test_a_csv_says_what_to_show_of_its_slide(tmp_path):
    planes = np.random.default_rng(0).integers(0, 4096, (2, 300, 420)).astype(np.uint16)
    write_ome_planes(tmp_path / "s.ome.tif", planes, {"Name": ["DAPI", "CD8"]})
    (tmp_path / "s.csv").write_text("slide,mpp,channels,display_range\ns.ome.tif,0.5,DAPI;CD8,0;4095\n")
    slide = View.open(tmp_path / "s.csv").slide
    expected = np.clip(planes[[0, 1, 1]] * (255 / 4095), 0, 255)
    assert np.abs(slide.read(0, 0, 420, 300, level=0) - np.moveaxis(expected, 0, -1)).max() <= 0.51
    assert slide.mpp == (0.5, 0.5)
    assert View.open(tmp_path / "s.csv", mpp=0.75).slide.mpp == (0.75, 0.75)


def test_a_csv_of_several_slides_is_refused(tmp_path):
    for name in "ab":
        write_pyramid(tmp_path / f"{name}.tif", tissue_like(128, 128))
    (tmp_path / "s.csv").write_text("slide\na.tif\nb.tif\n")
    with pytest.raises(ValueError, match=r"s\.csv: expected one slide, got 2"):
        View.open(tmp_path / "s.csv")
