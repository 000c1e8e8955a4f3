"""Slides that need a choice of channels and a range: from the CSV to the pixels of blocks, against the arrays."""

import logging
import pickle

import numpy as np
import pytest
from cohorts import RECIPE, SHARES
from PIL import Image
from slides import write_ome_planes
from torch.utils.data import DataLoader

from lsr_ext.data.cohort import (
    CachedBlocks,
    CohortDataset,
    HeatMaps,
    JoinedBlocks,
    Regions,
    SlideBlocks,
    SlideMasks,
    StoredBlocks,
    build_cohort,
    check_cohort,
    cut_cohort,
    list_slides,
    read_manifest,
    with_mpp,
)
from lsr_ext.data.cohort.distribution import export_blocks
from lsr_ext.data.cohort.manifest import read_about, write_table
from lsr_ext.report.slides import write_slides_report
from lsr_ext.wsi.backend import View

NAMES = ["DAPI", "CD8+", "Pan-CK"]
SIDE_PX = 128
CHOICES = "Pan-CK; CD8+;DAPI,100;3000", "DAPI,0;4095.5"
VIEWS = View(None, ("Pan-CK", "CD8+", "DAPI"), (100.0, 3000.0)), View(None, ("DAPI",), (0.0, 4095.5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two slides of three channels of 16 bits, with a heat map each."""
    folder = tmp_path_factory.mktemp("multiplex")
    (folder / "maps").mkdir()
    for seed, name in enumerate("ab"):
        rng = np.random.default_rng(seed)
        planes = rng.integers(0, 4096, (3, SIDE_PX, SIDE_PX)).astype(np.uint16)
        write_ome_planes(folder / f"{name}.tif", planes, {"Name": NAMES}, levels=1)
        np.save(folder / f"{name}.npy", planes)
        Image.fromarray(rng.integers(0, 256, (4, 4)).astype(np.uint8)).save(folder / "maps" / f"{name}.png")
    return folder


def build(folder, output, choices=CHOICES):
    """The manifest of the slides, shown as their lines of the CSV say."""
    lines = [f"{name}.tif,{choice}" for name, choice in zip("ab", choices, strict=True)]
    (folder / "slides.csv").write_text("\n".join(["slide,channels,display_range", *lines]))
    listed = list_slides(folder / "slides.csv")
    return build_cohort(listed, HeatMaps(folder / "maps"), RECIPE, output, shares=SHARES)


def shown(folder, name, view):
    """The slide in 8 bits by the rule of the display range: uint8 (H, W, 3)."""
    planes = np.load(folder / f"{name}.npy").astype(float)
    low, high = view.display_range
    chosen = [planes[NAMES.index(channel)] for channel in view.channels]
    grey_levels = np.clip((np.stack(chosen * (3 // len(chosen)), axis=-1) - low) * 255 / (high - low), 0, 255)
    return np.floor(grey_levels + 0.5)


def check_pixels(folder, source, views=VIEWS):
    """Compare every block with the means of the array; one grey level for the two roundings."""
    slides, slide_of = source.manifest.slides()
    for row, (x, y, width, height) in enumerate(source.manifest.rectangles.tolist()):
        name = slides[slide_of[row]].path.stem
        block = shown(folder, name, views["ab".index(name)])[y : y + height, x : x + width]
        means = block.reshape(16, height // 16, 16, width // 16, 3).mean(axis=(1, 3))
        assert np.abs(source.read(row) - means).max() <= 1
    assert sorted({slide.path.stem for slide in slides}) == ["a", "b"]


def test_blocks_are_shown_as_the_csv_says(folder, tmp_path):
    path = build(folder, tmp_path / "m.parquet")
    manifest = read_manifest(path)
    assert {slide.path.stem: slide.view for slide in manifest.slides()[0]} == dict(zip("ab", VIEWS, strict=True))
    check_pixels(folder, SlideBlocks(manifest))
    check_pixels(folder, pickle.loads(pickle.dumps(SlideBlocks(manifest))))
    check_pixels(folder, JoinedBlocks([SlideBlocks(manifest)]))
    for _ in range(2):  # written, then read
        check_pixels(folder, CachedBlocks(SlideBlocks(manifest), tmp_path / "cache", 10**6))
    stored = StoredBlocks(cut_cohort(path, tmp_path / "store"))
    check_pixels(folder, stored)
    check_pixels(folder, SlideBlocks(stored.manifest))


@pytest.mark.long
def test_workers_show_the_same(folder, tmp_path):
    source = SlideBlocks(read_manifest(build(folder, tmp_path / "m.parquet")))
    dataset = CohortDataset(CachedBlocks(source, tmp_path / "cache", 10**6))
    options = {"num_workers": 2, "multiprocessing_context": "spawn", "batch_size": 2}
    batches = DataLoader(dataset, collate_fn=dataset.collate, **options)
    images = np.concatenate([batch["image"].numpy() for batch in batches])
    for row, image in enumerate(images):
        np.testing.assert_array_equal((image.transpose(1, 2, 0) * 255).round(), source.read(row))
    check_pixels(folder, source)


def test_another_choice_gives_other_parts_and_other_cached_blocks(folder, tmp_path):
    path = build(folder, tmp_path / "m.parquet")
    check_pixels(folder, CachedBlocks(SlideBlocks(read_manifest(path)), tmp_path / "cache", 10**6))
    parts, content = set(tmp_path.glob("m.parquet.parts/*")), path.read_bytes()
    build(folder, path)
    assert path.read_bytes() == content and set(tmp_path.glob("m.parquet.parts/*")) == parts
    build(folder, path, (CHOICES[0], "CD8+,0;2000"))
    added = set(tmp_path.glob("m.parquet.parts/*")) - parts
    assert [part.name[:2] for part in added] == ["b-"]
    views = VIEWS[0], View(None, ("CD8+",), (0.0, 2000.0))
    check_pixels(folder, CachedBlocks(SlideBlocks(read_manifest(path)), tmp_path / "cache", 10**6), views)


def test_what_else_opens_slides_shows_them_so(folder, tmp_path, caplog):
    path = build(folder, tmp_path / "m.parquet")
    manifest = read_manifest(path)
    assert len(export_blocks(manifest, np.arange(len(manifest)), tmp_path / "drawn")) == 2
    checks = check_cohort(list_slides(folder / "slides.csv"), HeatMaps(folder / "maps"), RECIPE)
    assert [check.error for check in checks] == ["", ""]
    drawn = check_cohort(list_slides(folder / "slides.csv"), Regions(tmp_path / "drawn", ["lsr block"]), RECIPE)
    assert [check.error for check in drawn] == ["", ""]
    masks = SlideMasks(folder / "maps", range(256))
    assert masks.read(manifest.slides()[0][0], manifest.rectangles[0], 16).shape == (16, 16)
    with caplog.at_level(logging.WARNING):
        write_slides_report(path, output=tmp_path / "report")
    assert "left out" not in caplog.text


def test_without_a_choice_the_slides_are_left_out_and_the_column_is_named(folder):
    (folder / "slides.csv").write_text("slide,mpp\na.tif,\n")
    (check,) = check_cohort(list_slides(folder / "slides.csv"), HeatMaps(folder / "maps"), RECIPE)
    assert "the column channels in a CSV of slides" in check.error
    (folder / "slides.csv").write_text("slide,channels\na.tif,DAPI\n")
    (check,) = check_cohort(list_slides(folder / "slides.csv"), HeatMaps(folder / "maps"), RECIPE)
    assert "the column display_range in a CSV of slides" in check.error


def test_a_resolution_is_given_only_where_the_file_as_shown_has_none(folder):
    (folder / "slides.csv").write_text("slide,channels,display_range\na.tif,DAPI,0;9\n")
    assert with_mpp(list_slides(folder / "slides.csv"), 0.5)[0].mpp is None


@pytest.mark.parametrize(
    ("column", "field", "message"),
    [
        ("channels", "DAPI;;CD8", "row 3: expected one to 3 names of channels, separated by ';', got 'DAPI;;CD8'"),
        ("channels", "a;b;c;d", "row 3: expected one to 3 names"),
        ("display_range", "100", "row 3: expected a display range that increases, such as 100;4000, got '100'"),
        ("display_range", "0;1;2", "row 3: expected a display range"),
        ("display_range", "5;5", "row 3: expected a display range"),
        ("display_range", "0;inf", "row 3: expected a display range"),
        ("display_range", "0;nan", "row 3: expected a display range"),
        ("display_range", "low;high", "row 3: expected a display range"),
    ],
)
def test_faults_in_a_choice_name_their_row(tmp_path, column, field, message):
    (tmp_path / "s.csv").write_text(f"slide,{column}\na.tif,\nb.tif,{field}\n")
    with pytest.raises(ValueError, match=message):
        list_slides(tmp_path / "s.csv")


def test_slides_need_no_choice_and_may_have_an_image(tmp_path):
    (tmp_path / "s.csv").write_text(
        "slide,image,channels,display_range\na.tif,,,\nb.tif, level one ,,-1e-3;1.5e1\n"
    )
    assert [slide.view for slide in list_slides(tmp_path / "s.csv")] == [
        View(),
        View("level one", (), (-0.001, 15.0)),
    ]


def test_manifests_that_show_a_slide_in_two_ways_are_not_joined(folder, tmp_path):
    paths = build(folder, tmp_path / "1.parquet"), build(folder, tmp_path / "2.parquet", CHOICES[::-1])
    with pytest.raises(ValueError, match=r"a\.tif is shown in two ways, .*'Pan-CK'.* and .*4095\.5"):
        JoinedBlocks([SlideBlocks(read_manifest(path)) for path in paths])


@pytest.mark.parametrize(
    "views",
    [
        ["a"],
        {"a": "DAPI"},
        {"a": {"zoom": 1}},
        {"a": {"channels": "DAPI"}},
        {"a": {"channels": [1]}},
        {"a": {"image": 3}},
        {"a": {"display_range": [1]}},
        {"a": {"display_range": ["low", "high"]}},
    ],
)
def test_a_manifest_with_another_choice_is_refused(folder, tmp_path, views):
    path = build(folder, tmp_path / "m.parquet")
    manifest, about = read_manifest(path), read_about(path)
    about = {key: value for key, value in about.items() if key not in ("version", "label_names", "classes")}
    write_table(manifest.table, path, manifest.label_names, (), about | {"views": views})
    with pytest.raises(ValueError, match="not a readable manifest"):
        read_manifest(path)
