"""The check before a cohort is built: what it refuses, what it warns of, and the numbers it gives."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from slides import CASES, needs_cases, tissue_like, write_pyramid

from lsr_ext.cli.main import main
from lsr_ext.data.cohort import (
    CohortSlide,
    HeatMaps,
    Masks,
    PatchProbabilities,
    Recipe,
    Rectangles,
    Regions,
    SlideMasks,
    TissueFinder,
    build_cohort,
    check_cohort,
    checks_as_csv,
    format_checks,
    list_slides,
    read_manifest,
    with_mpp,
)
from lsr_ext.data.cohort.grid import Grid
from lsr_ext.wsi import MissingResolutionError, open_slide

RECIPE = Recipe(patch_px=64, merge=1, size_px=16, edges=(0.25, 0.75))


def _corners(x, y, side):
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def write_regions(path, *squares):
    """Squares (class, x, y, side)."""
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [_corners(x, y, s)],
            },
            "properties": {"classification": {"name": name}},
        }
        for name, x, y, s in squares
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.fixture
def slide(tmp_path):
    """Glass with tissue in its lower right quarter."""
    pixels = np.full((1024, 1024, 3), 243, np.uint8)
    pixels[512:, 512:] = tissue_like(512, 512)
    (tmp_path / "slides").mkdir()
    (tmp_path / "labels").mkdir()
    path = tmp_path / "slides" / "s.tif"
    write_pyramid(path, pixels)
    return CohortSlide(path)


def test_regions_on_tissue_and_off_it(tmp_path, slide):
    for corner, share in ((512, 1.0), (256, 0.25), (0, 0.0)):
        write_regions(tmp_path / "labels" / "s.geojson", ("Tumor", corner, corner, 512))
        (check,) = check_cohort([slide], Regions(tmp_path / "labels", ["Tumor"]), RECIPE)
        assert check.on_tissue == pytest.approx(share, abs=0.03)
        assert bool(check.warnings) == (share < 0.5)
    assert "0% of the labelled area lies on tissue" in check.warnings[0]
    assert (check.blocks, check.patch_px, check.classes) == (256, 64, {"Tumor": 1})


def test_a_class_that_is_spelled_otherwise_is_refused(tmp_path, slide):
    write_regions(tmp_path / "labels" / "s.geojson", ("Tumor", 512, 512, 100), ("Tumor", 700, 700, 100))
    with pytest.raises(ValueError, match=r"class 'tumor', got 'Tumor' \(2 regions\)"):
        check_cohort([slide], Regions(tmp_path / "labels", ["tumor"]), RECIPE)


@pytest.mark.parametrize(("written", "wanted"), [("Nécrose", "Ne\u0301crose"), ("Ne\u0301crose", "Nécrose")])
def test_a_class_is_the_same_in_either_form_of_unicode(tmp_path, slide, written, wanted):
    """An accent by itself or with its letter: they look alike, and programs write one or the other."""
    assert written != wanted
    write_regions(tmp_path / "labels" / "s.geojson", (f"{written}: central", 512, 512, 512))
    source = Regions(tmp_path / "labels", [wanted])
    (check,) = check_cohort([slide], source, RECIPE)
    assert check.on_tissue == pytest.approx(1.0, abs=0.03)
    assert source.values(slide.path, (1024, 1024), Grid(64, 14, 16), None).max() == 1
    with pytest.raises(ValueError, match="expected distinct names of classes"):
        Regions(tmp_path / "labels", [wanted, written])


def test_a_derived_class_counts_for_its_base_unless_it_is_wanted_itself(tmp_path, slide):
    write_regions(tmp_path / "labels" / "s.geojson", ("Tumor: Invasive", 0, 0, 64), ("Tumor", 64, 0, 64))
    grid = Grid(64, 1, 2)
    for classes, expected in ((["Tumor"], [[1], [1]]), (["Tumor", "Tumor: Invasive"], [[0, 1], [1, 0]])):
        values = Regions(tmp_path / "labels", classes).values(slide.path, (1024, 1024), grid, None)
        assert values.tolist() == expected


def test_the_blocks_that_are_checked_are_those_that_are_built(tmp_path, slide):
    rows = [f"s,{x},{y},0.5" for y in (530, 594) for x in (530, 594)]
    (tmp_path / "p.csv").write_text("\n".join(["slide,x,y,probability", *rows]))
    source, recipe = PatchProbabilities(tmp_path / "p.csv"), replace(RECIPE, merge=2, offset_px=(18, 18))
    (check,) = check_cohort([slide], source, recipe)
    manifest = read_manifest(build_cohort([slide], source, recipe, tmp_path / "m.parquet", shares={"train": 1}))
    assert (check.error, check.on_tissue, check.patch_px, check.blocks) == ("", 1.0, 64, 49)
    assert manifest.rectangles.tolist() == [[530, 530, 128, 128]]
    (tmp_path / "places.csv").write_text("slide,x,y,width,height\ns,530,530,128,128\ns,0,0,10,10")
    places, tiny = Rectangles(tmp_path / "places.csv"), replace(recipe, patch_px=4)
    (check,) = check_cohort([slide], source, tiny, rectangles=places)
    assert (check.error, check.patch_px, check.blocks) == ("", 64, 2)
    assert check.warnings == ("blocks of 10 px are magnified to 16 px",)


@needs_cases
def test_coordinates_count_from_the_bounds_of_the_scanned_area(tmp_path):
    shutil.copytree(CASES / "07_scn", tmp_path / "07", copy_function=shutil.copyfile)
    slide, recipe = CohortSlide(tmp_path / "07" / "a.scn"), Recipe(patch_px=128, merge=1, size_px=16, edges=(0.5,))
    opened = open_slide(slide.path)
    bounds = [int(opened.properties[f"openslide.bounds-{side}"]) for side in "xy"]
    (check,) = check_cohort([slide], Regions(tmp_path / "07", ["Tumor"]), recipe)
    assert check.on_tissue > 0.9
    grid = Grid.over(opened.size, 128)
    values = Regions(tmp_path / "07", ["Tumor"]).values(slide.path, opened.size, grid, opened.bounds)
    x, y, *_ = grid.rectangles()[np.argmax(values[:, 0])]
    assert (x, y) >= (bounds[0] + 128, bounds[1] + 128)  # the square starts 256 px inside the bounds
    assert values.sum() * 128**2 == pytest.approx(512**2, rel=1e-6)
    (wrong,) = check_cohort([slide], Regions(tmp_path / "07", ["Tumor"], "off"), recipe)
    assert wrong.on_tissue < 0.5
    assert "with --qupath-bounds on" in wrong.warnings[0]


@needs_cases
def test_a_mask_of_another_aspect_is_refused(tmp_path):
    slide = CohortSlide(CASES / "09_mask" / "s.tif")
    message = "aspect of s.tif, 1024 x 512 px, got 256 x 256 px, which cover 1024 x 1024 px"
    (check,) = check_cohort([slide], Masks(CASES / "09_mask" / "masks", ["a"]), RECIPE)
    assert message in check.error
    np.save(tmp_path / "s.npy", np.zeros((256, 256)))
    (check,) = check_cohort([slide], HeatMaps(tmp_path), RECIPE)
    assert message in check.error
    with pytest.raises(ValueError, match=message):
        SlideMasks(CASES / "09_mask" / "masks", range(256)).read(slide, np.array([0, 0, 64, 64]), 8)


@needs_cases
def test_a_resolution_for_print_is_an_error_until_one_is_given():
    slide = CohortSlide(CASES / "10_dpi300.tif")
    with pytest.raises(MissingResolutionError, match=r"300 pixels per inch \(84.67 microns per pixel\)"):
        open_slide(slide.path).known_mpp()
    (given,) = with_mpp([slide], 0.5)
    assert open_slide(given.path, mpp=given.mpp).mpp == (0.5, 0.5)
    with_own = CohortSlide(CASES / "09_mask" / "s.tif")
    assert with_mpp([with_own], 0.5) == [with_own]


def test_patches_of_a_few_pixels_are_refused_and_magnified_blocks_warned_of(tmp_path, slide):
    Image.fromarray(np.ones((64, 64), np.uint8)).save(tmp_path / "labels" / "s.png")
    source = Masks(tmp_path / "labels", ["a"])
    (check,) = check_cohort([slide._replace(mpp=84.67)], source, RECIPE)
    assert "expected patches of at least 8 px, got 0 px: 64 px at 40x, on a slide of 84.67" in check.error
    (check,) = check_cohort([slide], source, Recipe(patch_px=64, merge=1, size_px=100, edges=(0.5,)))
    assert "blocks of 64 px are magnified to 100 px" in check.warnings
    (check,) = check_cohort([slide], source, Recipe(patch_px=2048, merge=1, size_px=100, edges=(0.5,)))
    assert check.error == "expected at least one whole block of 2048 px, got none"


def test_tissue_of_ones_own(tmp_path, slide):
    write_regions(tmp_path / "labels" / "s.geojson", ("Tumor", 0, 0, 512))
    corner = np.kron([[7, 0], [0, 0]], np.ones((16, 16))).astype(np.uint8)
    Image.fromarray(corner).save(tmp_path / "labels" / "s.png")
    source, tissue = Regions(tmp_path / "labels", ["Tumor"]), TissueFinder(tmp_path / "labels")
    (check,) = check_cohort([slide], source, RECIPE, tissue)
    assert (check.on_tissue, check.warnings) == (1.0, ())
    (check,) = check_cohort([slide._replace(path=slide.path.with_name("t.tif"))], source, RECIPE, tissue)
    assert "expected a slide, found none" in check.error


def test_the_table_and_the_command(tmp_path, slide, capsys, monkeypatch):
    write_regions(tmp_path / "labels" / "s.geojson", ("Tumor", 512, 512, 256), ("Stroma", 0, 0, 64))
    write_pyramid(tmp_path / "slides" / "t.tif", tissue_like(128, 128), mpp=None)
    (tmp_path / "slides" / "notes.txt").touch()
    checks = check_cohort(list_slides(tmp_path / "slides"), Regions(tmp_path / "labels", ["Tumor"]), RECIPE)
    table = format_checks(checks)
    assert table.splitlines()[1].startswith("t ")  # errors come first
    assert "2 slides, at most 256 blocks; 1 with errors, 0 with warnings" in table
    assert checks_as_csv(checks).splitlines()[1].startswith('s,1024 x 1024,0.25,64,256,"Stroma 1, Tumor 1",100%')
    arguments = ["cohort", "build", str(tmp_path / "slides"), str(tmp_path / "m.parquet")]
    arguments += ["--regions", str(tmp_path / "labels"), "--class", "Tumor", "--patch-px", "64", "--merge", "1"]
    arguments += ["--size-px", "16", "--share", "train=1", "--limit", "0.5", "--min-tissue", "0.9"]
    monkeypatch.setattr("sys.argv", ["lsr", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert "1 files skipped: no slide by its suffix '.txt'" in shown
    assert "1 with errors" in shown
    assert (tmp_path / "m.parquet.checks.csv").is_file()
    labels = read_manifest(tmp_path / "m.parquet").labels
    assert (len(labels), labels.tolist().count(9)) == (64, 16)  # tissue is a quarter of 256 blocks
