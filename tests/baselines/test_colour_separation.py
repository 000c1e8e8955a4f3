"""L2 separation against scipy's cdist, on arrays of every kind, and on real Ki67 tiles."""

import os
import subprocess
import sys

import ki67
import numpy as np
import pytest
import zarr
from scipy.spatial.distance import cdist

from lsr_ext.baselines import StainSet, l2_distances, l2_map


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def brute_force(image, stains):
    """Distances (H, W, K + 1) by scipy."""
    colours = np.vstack([stains.rgb, stains.background_rgb])
    return cdist(image.reshape(-1, 3).astype(float), colours).reshape(*image.shape[:2], -1)


def random_stains(count, seed=0):
    rgb = np.random.default_rng(seed).uniform(0, 240, (count, 3))
    return StainSet(tuple(f"s{k}" for k in range(count)), rgb, background_rgb=[240, 243.5, 245])


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_distances_equal_cdist(count):
    image, stains = random_image(37, 41), random_stains(count)
    found = l2_distances(image, stains)
    assert found.shape == (37, 41, count + 1) and found.dtype == np.float32
    assert np.allclose(found, brute_force(image, stains), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5, 12, 254])
@pytest.mark.parametrize("max_distance", [None, 40.0])
def test_map_is_the_nearest_colour(count, max_distance):
    image, stains = random_image(60, 70, count), random_stains(count, count)
    distances = brute_force(image, stains)
    expected = np.append(np.arange(1, count + 1), 0)[distances.argmin(-1)]
    if max_distance:
        expected[distances.min(-1) > max_distance] = 0
    found = l2_map(image, stains, max_distance)
    assert found.dtype == np.uint8 and np.array_equal(found, expected)


def test_any_number_of_threads_gives_one_map(tmp_path):
    """Threads share what is known of a colour; Numba's number of threads is that of its start."""
    image, stains = random_image(400, 500), random_stains(5)
    np.savez(tmp_path / "given.npz", image=image, rgb=stains.rgb, background=stains.background_rgb)
    program = (
        "import sys, numpy as np; from lsr_ext.baselines import StainSet, l2_map; given = np.load(sys.argv[1]);"
        "names = tuple(map(str, range(len(given['rgb']))));"
        "np.save(sys.argv[2], l2_map(given['image'], StainSet(names, given['rgb'], given['background'])))"
    )
    found = tmp_path / "found.npy"
    environment = os.environ | {"NUMBA_NUM_THREADS": "4"}
    subprocess.run([sys.executable, "-c", program, tmp_path / "given.npz", found], env=environment, check=True)
    assert np.array_equal(np.load(found), l2_map(image, stains))


def test_standard_colours_and_counterstains():
    stains = StainSet.preset("multiplex-haematoxylin")
    image = np.vstack([stains.rgb, stains.background_rgb])[None].astype(np.uint8)
    assert l2_map(image, stains).tolist() == [[1, 2, 3, 4, 5, 0, 0]]


def test_of_equal_distances_the_first_stain_counts():
    stains = StainSet(("a", "b"), [[100, 0, 0], [120, 0, 0]])
    image = np.array([[[110, 0, 0], [111, 0, 0]]], np.uint8)
    assert l2_map(image, stains).tolist() == [[1, 2]]


def test_a_distance_equal_to_the_greatest_is_within():
    stains = StainSet(("a",), [[100, 0, 0]])
    assert l2_map(np.array([[[103, 4, 0], [104, 4, 0]]], np.uint8), stains, 5).tolist() == [[1, 0]]


def test_memory_maps_and_zarr_are_read_and_written(tmp_path):
    image, stains = random_image(1300, 500), random_stains(4)
    expected = l2_map(image, stains)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    out = np.lib.format.open_memmap(tmp_path / "map.npy", "w+", np.uint8, (1300, 500))
    assert l2_map(mapped, stains, out=out) is out
    assert np.array_equal(np.load(tmp_path / "map.npy"), expected)
    source = zarr.open(str(tmp_path / "image.zarr"), mode="w", shape=image.shape, chunks=(512, 512, 3), dtype="u1")
    source[:] = image
    written = zarr.open(str(tmp_path / "map.zarr"), mode="w", shape=(1300, 500), chunks=(256, 500), dtype="u1")
    l2_map(source, stains, out=written)
    assert np.array_equal(written[:], expected)


class Rows:
    """An image that exists only where it is read; remembers the most rows read at once."""

    dtype = np.dtype(np.uint8)

    def __init__(self, height, width):
        self.shape, self.most = (height, width, 3), 0

    def __getitem__(self, rows):
        top, bottom, _ = rows.indices(self.shape[0])
        self.most = max(self.most, bottom - top)
        levels = np.arange(top, bottom, dtype=np.int64) * 7 % 256
        return np.broadcast_to(levels[:, None, None], (bottom - top, *self.shape[1:])).astype(np.uint8)


def test_large_images_are_read_by_strips():
    image = Rows(6000, 4000)
    stains = StainSet(("dark", "grey"), [[0, 0, 0], [120, 120, 120]])
    found = l2_map(image, stains)
    assert image.most * image.shape[1] <= 2**22
    levels = np.arange(6000) * 7 % 256
    expected = np.select([levels <= 60, levels <= 187], [1, 2], 0)
    assert np.array_equal(found, np.broadcast_to(expected[:, None], found.shape))


def test_what_is_refused():
    image, stains = random_image(4, 5), random_stains(2)
    with pytest.raises(TypeError, match="uint8, got float32"):
        l2_map(image.astype(np.float32), stains)
    with pytest.raises(ValueError, match=r"\(H, W, 3\), got shape \(4, 5, 4\)"):
        l2_distances(np.zeros((4, 5, 4), np.uint8), stains)
    with pytest.raises(ValueError, match=r"out to be uint8 \(4, 5\), got uint8 \(5, 4\)"):
        l2_map(image, stains, out=np.zeros((5, 4), np.uint8))
    with pytest.raises(ValueError, match="out to be uint8"):
        l2_map(image, stains, out=np.zeros((4, 5), np.int64))
    for wrong in (0, -1, np.nan):
        with pytest.raises(ValueError, match="max_distance above 0"):
            l2_map(image, stains, wrong)


@pytest.mark.skipif(not ki67.REAL.is_dir(), reason="needs ../shared/data")
def test_positive_nuclei_of_real_tiles():
    tiles = ki67.read_tiles()
    preset = StainSet.preset("h-dab")
    scores = [ki67.f1(l2_map(image, preset) == 1, truth) for image, truth in tiles]
    assert len(scores) == 4 and min(scores) > 0.65 and 0.75 < np.mean(scores) < 0.8
    # Colours seen in the tiles.
    rgb = [[165, 175, 185], [80, 45, 30]]
    seen = StainSet(("haematoxylin", "DAB"), rgb, [215, 212, 205], ("haematoxylin",))
    scores = [ki67.f1(l2_map(image, seen) == 1, truth) for image, truth in tiles]
    assert min(scores) > 0.68 and 0.77 < np.mean(scores) < 0.83
