import numpy as np
import pytest

from lsr_ext.inference import map_sampler
from lsr_ext.inference.map_sampler import MapSampler


class Counted:
    """An array that remembers the largest area that was read of it."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.largest = pixels, pixels.shape, 0

    def __getitem__(self, place):
        found = self.pixels[place]
        self.largest = max(self.largest, found.size)
        return found


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 250, (700, 900)).astype(np.uint8)


@pytest.mark.parametrize("step", [0.25, 1, 3, 15.9])
def test_values_are_those_of_the_map(pixels, step):
    rows, columns = (np.floor((np.arange(40) + 0.5) * step).astype(int) for _ in range(2))
    np.testing.assert_array_equal(
        MapSampler(pixels, 255).sample(rows, columns, step), pixels[np.ix_(rows, columns)]
    )


def test_far_out_values_are_those_of_the_middles_of_squares(pixels):
    rows, columns = np.arange(10, 700, 64), np.arange(10, 900, 64)
    expected = pixels[np.ix_(rows // 16 * 16 + 8, columns // 16 * 16 + 8)]
    np.testing.assert_array_equal(MapSampler(pixels, 255).sample(rows, columns, 64), expected)


def test_outside_the_map(pixels):
    found = MapSampler(pixels, 7).sample(np.array([-1, 0, 699, 700]), np.array([-5, 899, 900]), 1)
    assert (found[[0, 3]] == 7).all() and (found[:, [0, 2]] == 7).all()
    np.testing.assert_array_equal(found[1:3, 1], pixels[[0, 699], 899])
    assert (MapSampler(pixels, 7).sample(np.array([800]), np.array([1]), 99) == 7).all()


def test_the_whole_map_is_never_read_at_once(pixels, monkeypatch):
    monkeypatch.setattr(map_sampler, "_READ_PX", 64)
    counted = Counted(pixels)
    MapSampler(counted, 255).sample(np.arange(0, 700, 100), np.arange(0, 900, 100), 100)
    assert counted.largest <= 64 * 64
