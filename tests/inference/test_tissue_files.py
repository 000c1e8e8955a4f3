from pathlib import Path

import numpy as np
import pytest

from lsr_ext.inference.tissue_files import read_tissue
from lsr_ext.wsi import open_slide

SCN = Path(__file__).parents[2].parent / "shared" / "cases" / "slides" / "07_scn"


@pytest.mark.skipif(not SCN.is_dir(), reason="needs ../shared/cases")
def test_areas_of_qupath_count_from_the_bounds_of_the_slide():
    slide = open_slide(SCN / "a.scn")
    assert slide.bounds == (1500, 1000, 1024, 1024)
    tissue = read_tissue(SCN / "a.geojson", slide)  # a square from 256, 256 to 768, 768
    area = 1756, 1256, 512, 512
    assert tissue.fractions([area]) == 1
    assert tissue.mask.sum() == 512**2 * np.prod(np.array(tissue.mask.shape[::-1]) / slide.size)
