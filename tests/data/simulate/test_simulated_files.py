"""Simulated fields and slides in files, read back by the package's own readers."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from lsr_ext.cli.main import app
from lsr_ext.data import BlockCollection, read_image, read_label_table, read_mask, read_mask_pairs
from lsr_ext.data.simulate import (
    FieldOptions,
    simulate_fields,
    simulate_labels,
    simulate_section,
    simulate_slide,
    write_fields,
    write_slides,
)
from lsr_ext.metrics import read_dots
from lsr_ext.wsi import open_slide, tissue_fraction


def test_fields_come_back_as_they_were(tmp_path):
    write_fields(tmp_path, 3, size_px=200, seed=7)
    fields = simulate_fields(3, 200, seed=7)
    table = read_label_table(tmp_path / "labels.csv")
    assert table.classes == ["CD16", "CD20", "CD3", "CD4", "CD8"]
    assert table.images == [f"images/simulated_0000{k}.png" for k in range(3)]
    np.testing.assert_array_equal(table.labels, simulate_labels(fields))
    for name, field in zip(("simulated_00000", "simulated_00001", "simulated_00002"), fields, strict=True):
        np.testing.assert_array_equal(read_image(tmp_path / "images" / f"{name}.png"), field.image)
        np.testing.assert_array_equal(read_mask(tmp_path / "masks" / f"{name}.png"), field.mask)
        dots = read_dots(tmp_path / "dots" / f"{name}.csv")
        np.testing.assert_allclose(dots.xy, field.dots, atol=1.001e-3)
        np.testing.assert_array_equal(np.floor(dots.xy), np.floor(field.dots))
        assert dots.classes.tolist() == [field.classes[k] for k in field.dot_classes]
    note = json.loads((tmp_path / "simulated.json").read_text())
    assert (note["simulated"], note["seed"], note["options"]["mixing"]) == ("fields", 7, FieldOptions().mixing)


def test_folder_feeds_collections(tmp_path):
    write_fields(tmp_path, 2, size_px=64)
    pairs = read_mask_pairs(tmp_path / "images", tmp_path / "masks", mask_suffix="", instance_masks=False)
    assert pairs[2] == ["simulated_00000.png", "simulated_00001.png"]
    classes = ["background", "CD16", "CD20", "CD3", "CD4", "CD8"]
    collection = BlockCollection.from_label_table(tmp_path, tmp_path / "labels.csv", classes)
    assert collection.labels.shape == (2, 6)


def test_slide_reads_back(tmp_path):
    path = tmp_path / "a.tif"
    section = simulate_slide(path, 768, seed=2)
    slide = open_slide(path)
    assert slide.size == (768, 768)
    assert slide.mpp == pytest.approx((1.0, 1.0))
    assert [level.width for level in slide.levels] == [768, 384, 192]
    pixels = slide.read(0, 0, 768, 768, level=0)
    # JPEG of quality 85: some grey levels on average.
    assert np.abs(pixels.astype(int) - section.image).mean() < 5
    np.testing.assert_array_equal(read_mask(tmp_path / "a_mask.png"), section.mask)
    dots = read_dots(tmp_path / "a_dots.csv")
    assert len(dots) == len(section.dots) > 30
    assert json.loads((tmp_path / "a_simulated.json").read_text())["simulated"] == "slide"
    x, y = dots.xy.T
    inside = tissue_fraction(slide, np.column_stack([x - 2, y - 2, 4 + 0 * x, 4 + 0 * x]))
    assert inside.mean() > 0.9
    assert tissue_fraction(slide, [(0, 0, 40, 40)]) == [0.0]


def test_section_has_glass_around_it_without_cells(tmp_path):
    section = simulate_slide(tmp_path / "a.tiff", 600, seed=1, options=FieldOptions(noise_std=0.0))
    assert (section.image[:10, :10] == 255).all()
    x, y = np.floor(section.dots).astype(int).T
    np.testing.assert_array_equal(section.instances[y, x], np.arange(1, len(x) + 1))


def test_bad_slide_name_and_count(tmp_path):
    with pytest.raises(ValueError, match=r"expected a path ending in \.tif or \.tiff, got .*a\.svs"):
        simulate_slide(tmp_path / "a.svs")
    with pytest.raises(ValueError, match="expected a count of at least 1, got 0"):
        write_fields(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_command_line(tmp_path):
    command = ["simulate", "fields", str(tmp_path / "f"), "--count", "2", "--size-px", "64", "--seed", "9"]
    result = CliRunner().invoke(app, [*command, "--difficulty", "0.5", "--set", "noise_std=1"])
    assert result.exit_code == 0, result.output
    assert "2 simulated fields" in result.output
    note = json.loads((tmp_path / "f" / "simulated.json").read_text())
    assert (note["options"]["noise_std"], note["options"]["bleed"]) == (1.0, FieldOptions().bleed / 2)
    expected = simulate_fields(
        2, 64, 9, FieldOptions(**note["options"] | {"high_shares": FieldOptions().high_shares})
    )
    np.testing.assert_array_equal(read_image(tmp_path / "f" / "images" / "simulated_00001.png"), expected[1].image)
    result = CliRunner().invoke(app, ["simulate", "slide", str(tmp_path / "s.tif"), "--size-px", "300"])
    assert result.exit_code == 0, result.output
    assert "a simulated slide with" in result.output
    result = CliRunner().invoke(app, [*command, "--set", "speed=1"])
    assert isinstance(result.exception, ValueError)
    assert "got 'speed=1'" in str(result.exception)


def test_a_cohort_has_a_truth_for_each_slide(tmp_path):
    write_slides(tmp_path, 3, size_px=256, seed=4)
    assert (tmp_path / "slides.csv").read_text().splitlines() == [
        "slide,patient",
        "slides/simulated_00000.tif,patient 0",
        "slides/simulated_00001.tif,patient 0",
        "slides/simulated_00002.tif,patient 1",
    ]
    section = simulate_section(256, (4, 1))
    mask = read_mask(tmp_path / "masks/simulated_00001.png")
    np.testing.assert_array_equal(mask, section.mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "cells/simulated_00001.png"), section.mask > 0)
    assert len(read_dots(tmp_path / "dots/simulated_00001.csv")) == len(section.dots)
    pixels = open_slide(tmp_path / "slides/simulated_00001.tif").read(0, 0, 256, 256, level=0)
    assert np.abs(pixels.astype(int) - section.image).mean() < 5
    with pytest.raises(ValueError, match="at least 1"):
        write_slides(tmp_path, 2, slides_per_patient=0)
