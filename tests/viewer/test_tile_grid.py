import numpy as np
import pytest

from lsr_ext.viewer.tile_grid import TILE_PX, TileGrid


@pytest.mark.parametrize("size", [(1, 1), (512, 512), (513, 7), (1300, 960), (4097, 2)])
def test_tiles_of_a_level_cover_the_image_once(size):
    grid = TileGrid(*size)
    for level in range(grid.last_level + 1):
        downsample = 2 ** (grid.last_level - level)
        width, height = (-(-side // downsample) for side in size)
        covered = np.zeros((height, width), int)
        for row in range(-(-height // TILE_PX)):
            for column in range(-(-width // TILE_PX)):
                area = grid.area(level, column, row)
                assert area.downsample == downsample
                top, left = area.y // downsample, area.x // downsample
                covered[top : top + area.height, left : left + area.width] += 1
        assert (covered == 1).all()
    assert max(width, height) == max(size)  # the last level is level 0


def test_level_zero_is_one_pixel():
    assert TileGrid(1300, 960).area(0, 0, 0)[2:] == (2048, 1, 1)


@pytest.mark.parametrize("place", [(-1, 0, 0), (12, 0, 0), (11, 3, 0), (11, 0, 2), (11, -1, 0), (0, 1, 0)])
def test_other_tiles_are_refused(place):
    with pytest.raises(LookupError, match="expected"):
        TileGrid(1300, 960).area(*place)
