import numpy as np
import pytest
import tifffile
from slides import tissue_like

from lsr_ext.data.pyramids import write_pyramid
from lsr_ext.wsi import open_slide


@pytest.mark.parametrize(("size", "levels"), [((512, 512), 2), ((1024, 768), 3), ((513, 600), 1), ((100, 80), 1)])
def test_a_slide_is_its_image(tmp_path, size, levels):
    pixels = tissue_like(*size)
    write_pyramid(tmp_path / "a.tif", pixels, 0.5, "tissue")
    slide = open_slide(tmp_path / "a.tif")
    assert slide.size == size[::-1] and slide.mpp == pytest.approx((0.5, 0.5)) and len(slide.levels) == levels
    found = slide.read(0, 0, size[1], size[0], level=0)
    assert np.abs(found.astype(int) - pixels).mean() < 6
    assert tifffile.TiffFile(tmp_path / "a.tif").pages[0].description == "tissue"
