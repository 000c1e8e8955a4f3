"""Numbers and places of simulated cells against what the options ask for."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from lsr_ext.data.simulate import FieldOptions
from lsr_ext.data.simulate.scene import draw_scene

# Without the cells in between, drawing is quick.
SPARSE = replace(FieldOptions(), nuclei_per_mm2=0.0, debris_per_mm2=0.0)


def counts_of(scene):
    return np.bincount(scene.class_id, minlength=6)[1:]


def test_share_of_high_fields_is_that_of_the_options():
    rng = np.random.default_rng(1)
    high = np.array([counts_of(draw_scene(400, SPARSE, rng)) >= 16 for _ in range(600)])
    expected = np.array(SPARSE.high_shares)
    assert (np.abs(high.mean(axis=0) - expected) < 3 * np.sqrt(expected * (1 - expected) / 600)).all()


def test_densities_are_log_normal_about_the_threshold():
    options = replace(SPARSE, high_shares=(0.5,) * 5, density_spread=0.5, max_per_mm2=1000.0)
    rng = np.random.default_rng(2)
    density = np.array([counts_of(draw_scene(400, options, rng)) / 0.16 for _ in range(150)])
    assert np.median(density) == pytest.approx(100, rel=0.1)
    assert np.log(density).std() == pytest.approx(0.5, rel=0.1)


def test_no_more_than_the_largest_density():
    options = replace(SPARSE, density_spread=5.0, max_per_mm2=150.0)
    rng = np.random.default_rng(3)
    counts = np.array([counts_of(draw_scene(400, options, rng)) for _ in range(30)])
    assert counts.max() == 24  # 150 per mm2 of 0.16 mm2


@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_cells_overlap_no_further_than_they_may(overlap):
    scene = draw_scene(400, replace(FieldOptions(), overlap=overlap, debris_per_mm2=0.0), np.random.default_rng(4))
    mean_radius_px = np.mean([9.5, 8.5, 7.5, 8.5, 8.0])
    assert pdist(scene.xy).min() >= (1 - overlap) * 2 * mean_radius_px


def test_nuclei_and_debris_have_the_stated_densities():
    scene = draw_scene(2000, FieldOptions(nuclei_per_mm2=500, debris_per_mm2=300), np.random.default_rng(5))
    unmarked = scene.class_id == 0
    assert (unmarked & (scene.nucleus > 0)).sum() == pytest.approx(2000, rel=0.1)
    assert (unmarked & (scene.nucleus == 0)).sum() == pytest.approx(1200, rel=0.1)


def test_regions_differ_in_their_cells():
    scene = draw_scene(2000, SPARSE, np.random.default_rng(6))
    counts = np.histogram2d(*scene.xy.T, bins=5, range=[[0, 2000]] * 2)[0]
    # The sum of five log-normal densities; a Poisson field would have a ratio of about 1.
    assert counts.var() / counts.mean() > 3
