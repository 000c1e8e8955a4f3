"""Count distributions of cohorts: from fractions, and from blocks that are drawn in."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cohorts import RECIPE, SHARES, make_cohort, write_slides

from lsr_ext import CountDistribution
from lsr_ext.data.cohort import Masks, build_cohort, list_slides, read_manifest
from lsr_ext.data.cohort.distribution import (
    BLOCK_NAME,
    choose_blocks,
    distribution_of_drawings,
    distribution_of_fractions,
    export_blocks,
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Eight slides whose masks cover a left part of each block, wider from slide to slide."""
    folder = tmp_path_factory.mktemp("cohort")
    for number, slide in enumerate(write_slides(folder / "slides", 8)):
        ids = np.zeros((128, 128), np.uint8)
        ids[:, : 8 * number], ids[:, 64 : 64 + 8 * number] = 1, 1
        np.save(folder / f"{slide.stem}.npy", ids)
    source, listed = Masks(folder, ["tumour"]), list_slides(folder / "slides")
    return read_manifest(build_cohort(listed, source, RECIPE, folder / "m.parquet", shares={"train": 1}))


def test_fractions_give_mean_and_std_by_label(manifest):
    found, fractions, labels = distribution_of_fractions(manifest)
    assert (found.classes, list(found.labels)) == (("other", "tumour"), RECIPE.label_names)
    for z in range(4):
        own = np.array([2 * z, 2 * z + 1]) / 8  # two slides a label
        np.testing.assert_allclose(found.mean[z], [1 - own.mean(), own.mean()], atol=1e-6)
        np.testing.assert_allclose(found.std[z], own.std(), atol=1e-6)
    assert len(fractions) == len(labels) == len(manifest)


def test_classes_are_bound_by_name(manifest):
    found, _, _ = distribution_of_fractions(manifest, ["tumour", "glass"])
    assert float(found.mean[3, 0]) == pytest.approx(13 / 16)
    with pytest.raises(ValueError, match="fractions of 'tumour', which is none of a, b"):
        distribution_of_fractions(manifest, ["a", "b"])
    with pytest.raises(ValueError, match="no fractions of glass and fat"):
        distribution_of_fractions(manifest, ["tumour", "glass", "fat"])


def test_probabilities_need_drawn_blocks(tmp_path):
    with pytest.raises(ValueError, match="keeps no fractions: .* draw blocks"):
        distribution_of_fractions(read_manifest(make_cohort(tmp_path, 2, shares=SHARES)))


def test_drawn_regions_give_what_was_drawn(manifest, tmp_path):
    rows = choose_blocks(manifest, 3, seed=0)
    np.testing.assert_array_equal(rows, choose_blocks(manifest, 3, seed=0))
    labels, slides = manifest.labels[rows], manifest.slides()[1][rows]
    assert np.bincount(labels).tolist() == [3, 3, 3, 3]
    assert all(len(set(slides[labels == z])) == 2 for z in range(4))  # of both slides that have the label
    files = export_blocks(manifest, rows, tmp_path)
    expected = {z: [] for z in range(4)}
    for path in files:
        content = json.loads(path.read_text())
        for feature in list(content["features"]):
            assert feature["properties"]["classification"]["name"] == BLOCK_NAME
            (x, y), _, (right, bottom), _, _ = feature["geometry"]["coordinates"][0]
            row = int(feature["id"].removeprefix("block-"))
            share = (row % 5) / 5
            edge = x + share * (right - x)
            # Beyond the block too, as hands draw; only what is inside counts.
            corners = [[x, y], [edge, y], [edge, bottom], [x, bottom], [x, y]]
            properties = {"classification": {"name": "tumour"}}
            content["features"].append(
                {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [corners]},
                    "properties": properties,
                }
            )
            expected[int(manifest.labels[row])].append(share)
        path.write_text(json.dumps(content))
    found, fractions, _ = distribution_of_drawings(manifest, tmp_path, ["other", "tumour"])
    for z, shares in expected.items():
        assert float(found.mean[z, 1]) == pytest.approx(np.mean(shares))
        assert float(found.std[z, 1]) == pytest.approx(np.std(shares))
    np.testing.assert_allclose(fractions.sum(1), 1)
    with pytest.raises(ValueError, match="a region of 'tumour', which is none of the classes other, Tumor"):
        distribution_of_drawings(manifest, tmp_path, ["other", "Tumor"])


def test_coordinates_count_from_the_bounds_of_a_slide(manifest, tmp_path, monkeypatch):
    rows = choose_blocks(manifest, 1, seed=0)
    plain = [json.loads(path.read_text())["features"][0] for path in export_blocks(manifest, rows, tmp_path / "a")]
    monkeypatch.setattr("lsr_ext.data.cohort.distribution._corner", lambda slide: (7, 3))
    files = export_blocks(manifest, rows, tmp_path / "b")
    for before, path in zip(plain, files, strict=True):
        content = json.loads(path.read_text())
        (x, y), *_ = before["geometry"]["coordinates"][0]
        outline = content["features"][0]["geometry"]
        assert outline["coordinates"][0][0] == [x - 7, y - 3]
        properties = {"classification": {"name": "tumour"}}
        content["features"].append({"type": "Feature", "geometry": outline, "properties": properties})
        path.write_text(json.dumps(content))
    found, _, _ = distribution_of_drawings(manifest, tmp_path / "b", ["other", "tumour"])
    np.testing.assert_allclose(found.mean[:, 1], 1)


def test_slides_of_one_name_have_a_file_each(tmp_path):
    for number, folder in enumerate("AB"):
        (slide,) = write_slides(tmp_path / "slides" / folder, 1)
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / f"{slide.stem}.npy", np.full((128, 128), number, np.uint8))
    source, listed = Masks(tmp_path, ["tumour"]), list_slides(tmp_path / "slides")
    path = build_cohort(listed, source, replace(RECIPE, edges=(0.5,)), tmp_path / "m.parquet", shares={"train": 1})
    manifest = read_manifest(path)
    files = export_blocks(manifest, choose_blocks(manifest, 2, seed=0), tmp_path / "drawn")
    assert [file.relative_to(tmp_path / "drawn").as_posix() for file in files] == [
        "A/slide-000.geojson",
        "B/slide-000.geojson",
    ]
    content = json.loads(files[1].read_text())
    outlines = [feature["geometry"] for feature in content["features"]]
    tumour = {"type": "Feature", "properties": {"classification": {"name": "tumour"}}}
    content["features"] += [tumour | {"geometry": outline} for outline in outlines]
    files[1].write_text(json.dumps(content))
    found, _, _ = distribution_of_drawings(manifest, tmp_path / "drawn", ["other", "tumour"])
    assert found.mean[:, 1].tolist() == [0.0, 1.0]


def test_a_region_whose_class_was_forgotten_is_refused(manifest, tmp_path):
    path = export_blocks(manifest, choose_blocks(manifest, 1, seed=0), tmp_path)[0]
    content = json.loads(path.read_text())
    content["features"].append(content["features"][0] | {"properties": {}})
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected regions with a class, got 1 without a class"):
        distribution_of_drawings(manifest, tmp_path, ["other", "tumour"])


def test_blocks_without_a_drawing_are_refused(manifest, tmp_path):
    rows = choose_blocks(manifest, 1, seed=0)
    with pytest.raises(FileNotFoundError, match="expected NAME.geojson of slides"):
        distribution_of_drawings(manifest, tmp_path, ["other", "tumour"])
    path = export_blocks(manifest, rows, tmp_path)[0]
    with pytest.raises(ValueError, match="no region of tumour lies in any of 4 blocks"):
        distribution_of_drawings(manifest, tmp_path, ["other", "tumour"])
    content = path.read_text()
    path.write_text(content.replace(BLOCK_NAME, "tumour"))
    with pytest.raises(ValueError, match="no outline of the class 'lsr block'"):
        distribution_of_drawings(manifest, tmp_path, ["other", "tumour"])
    shifted = json.loads(content)
    shifted["features"][0]["geometry"]["coordinates"] = [[[1, 1], [9, 1], [9, 9], [1, 9], [1, 1]]]
    path.write_text(json.dumps(shifted))
    with pytest.raises(ValueError, match="the outline at 1, 1 is no block of the manifest"):
        distribution_of_drawings(manifest, tmp_path, ["other", "tumour"])


def test_the_command_writes_json_and_picture(manifest, tmp_path, capsys):
    from lsr_ext.cli.distribution import fractions_command, table_command

    fractions_command(manifest.folder / "m.parquet", tmp_path / "d.json")
    assert CountDistribution.load(tmp_path / "d.json") == distribution_of_fractions(manifest)[0]
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    assert "label '75-100', 8 blocks: other 0.188 ± 0.062, tumour 0.812 ± 0.062" in capsys.readouterr().out
    table_command("table1", tmp_path / "t.json")
    assert CountDistribution.load(tmp_path / "t.json") == CountDistribution.paper("table1")
