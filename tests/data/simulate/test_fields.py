"""Simulated fields: masks against dots, statistics against what the options ask for, and repeatability."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from scipy.ndimage import label

from lsr_ext.data.simulate import (
    CLASSES,
    STAIN_RGB,
    FieldOptions,
    SimulatedField,
    optical_density,
    simulate_field,
    simulate_fields,
    simulate_labels,
)

CLEAN = FieldOptions().scaled(0)


def field_of(counts):
    """A field of 400 px with these numbers of cells per marker, without pixels that matter."""
    classes = np.repeat(np.arange(1, 6), counts)
    blank = np.zeros((400, 400), np.int64)
    return SimulatedField(np.zeros((400, 400, 3), np.uint8), blank, blank, np.zeros((len(classes), 2)), classes)


def test_shapes_and_types():
    field = simulate_field(130, seed=3)
    assert (field.image.shape, field.image.dtype) == ((130, 130, 3), np.uint8)
    assert (field.mask.shape, field.mask.dtype) == ((130, 130), np.int64)
    assert (field.instances.shape, field.instances.dtype) == ((130, 130), np.int32)
    assert field.dots.shape == (len(field.dot_classes), 2)
    assert field.classes == ("background", "CD16", "CD20", "CD3", "CD4", "CD8")
    with pytest.raises(FrozenInstanceError):
        field.mask = None


@pytest.mark.parametrize("options", [FieldOptions(), FieldOptions(overlap=0.8, max_per_mm2=900, high_per_mm2=600)])
def test_each_cell_has_its_dot_and_class_and_nothing_else(options):
    for field in simulate_fields(3, seed=5, options=options):
        x, y = np.floor(field.dots).astype(int).T
        np.testing.assert_array_equal(field.instances[y, x], np.arange(1, len(field.dots) + 1))
        np.testing.assert_array_equal(field.mask, np.append(0, field.dot_classes)[field.instances])
        assert field.dots.min() >= 0
        assert field.dots.max() < 400


def test_isolated_cells_are_one_piece_of_about_the_stated_radius():
    field = simulate_field(1200, seed=2, options=CLEAN)
    areas = np.bincount(field.instances.ravel())[1:]
    inside = (field.dots > 25).all(axis=1) & (field.dots < 1175).all(axis=1)
    for class_id, radius in enumerate((9.5, 8.5, 7.5, 8.5, 8.0), start=1):
        mean = areas[inside & (field.dot_classes == class_id)].mean()
        assert mean == pytest.approx(np.pi * radius**2, rel=0.15)
    pieces = [label(field.instances == instance)[1] for instance in range(1, 30)]
    assert pieces == [1] * 29


def test_equal_seeds_give_equal_fields_whatever_the_count():
    first, second = simulate_fields(2, 96, seed=4), simulate_fields(3, 96, seed=4)
    for a, b in zip(first, second, strict=False):
        for name in ("image", "mask", "instances", "dots", "dot_classes"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert not np.array_equal(second[0].image, second[2].image)
    assert not np.array_equal(first[0].image, simulate_fields(1, 96, seed=5)[0].image)


def test_without_hindrances_colours_are_those_of_the_stains():
    field = simulate_field(seed=1, options=replace(CLEAN, density_spread=0.0))
    assert (field.image[field.mask == 0] >= 200).mean() > 0.97  # glass, but for the soft rims
    x, y = np.floor(field.dots).astype(int).T
    found = optical_density(field.image[y, x])
    expected = optical_density(STAIN_RGB)[field.dot_classes - 1]
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert len(cosine) > 50
    assert cosine.min() > 0.999


def test_hindrances_grow_with_the_difficulty():
    errors = []
    for difficulty in (0.0, 0.5, 1.0):
        field = simulate_field(seed=1, options=FieldOptions().scaled(difficulty))
        nearest = np.linalg.norm(field.image[..., None, :] - np.vstack([[255] * 3, STAIN_RGB]), axis=-1).argmin(-1)
        marked = (nearest > 0) | (field.mask > 0)
        errors.append((nearest != field.mask)[marked].mean())
    assert errors[0] < 0.3
    assert errors[0] < errors[1] < errors[2]


def test_high_fields_hold_2_to_6_percent_of_the_class():
    fields = simulate_fields(20, seed=2)
    labels = simulate_labels(fields) == 1
    fractions = np.array([np.bincount(f.mask.ravel(), minlength=6)[1:] / f.mask.size for f in fields])
    assert 0.02 < fractions[labels].mean() < 0.06
    assert fractions[~labels].mean() < 0.01


def test_labels_count_cells_per_mm2():
    fields = [field_of([16, 15, 0, 40, 1]), field_of([0, 17, 16, 3, 15])]
    np.testing.assert_array_equal(simulate_labels(fields), [[1, 0, 0, 1, 0], [0, 1, 1, 0, 0]])
    np.testing.assert_array_equal(simulate_labels(fields, least_per_mm2=200), [[0, 0, 0, 1, 0], [0] * 5])


def test_labels_above_a_quantile():
    fields = [field_of([k, 0, 10 - k, k, k]) for k in range(10)]
    labels = simulate_labels(fields, quantile=0.8)
    np.testing.assert_array_equal(labels[:, 0], [0] * 8 + [1] * 2)
    np.testing.assert_array_equal(labels[:, 2], [1] * 2 + [0] * 8)
    assert not labels[:, 1].any()


def test_noise_of_the_counts_turns_labels_near_the_threshold():
    fields = [field_of([16, 160, 0, 14, 1])] * 2000
    labels = simulate_labels(fields, count_noise=0.1)
    # P(16 (1 + 0.1 g) >= 16) = 1/2 and P(14 (1 + 0.1 g) >= 16) = P(g >= 1.4286) = 0.0766
    np.testing.assert_allclose(labels.mean(axis=0), [0.5, 1.0, 0.0, 0.0766, 0.0], atol=0.035)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"high_shares": (0.1,) * 4}, "expected 5 high_shares"),
        ({"high_per_mm2": 400.0}, "expected 0 < high_per_mm2 <= max_per_mm2"),
        ({"overlap": 0.9}, r"expected overlap in \[0, 0.8\], got 0.9"),
        ({"noise_std": float("nan")}, "expected a finite noise_std of at least 0, got nan"),
        ({"jpeg_quality": 0}, "expected a jpeg_quality from 1 to 100 or None, got 0"),
    ],
)
def test_options_out_of_range(given, message):
    with pytest.raises(ValueError, match=message):
        FieldOptions(**given)


def test_other_input_out_of_range():
    for size_px in (0, 8193):
        with pytest.raises(ValueError, match=f"expected size_px from 1 to 8192, got {size_px}"):
            simulate_field(size_px)
    with pytest.raises(ValueError, match="expected at least one field"):
        simulate_labels([])
    with pytest.raises(ValueError, match=r"expected a quantile in \(0, 1\), got 1"):
        simulate_labels([field_of([1] * 5)], quantile=1)
    with pytest.raises(ValueError, match="expected a finite count_noise of at least 0, got -1"):
        simulate_labels([field_of([1] * 5)], count_noise=-1)


def test_smallest_and_empty_fields():
    assert simulate_field(1).image.shape == (1, 1, 3)
    empty = simulate_field(64, options=replace(CLEAN, high_per_mm2=1e-3, max_per_mm2=1e-3))
    assert not empty.mask.any()
    assert empty.dots.shape == (0, 2)
    assert (empty.image == 255).all()
    assert CLASSES[0] == "background"
