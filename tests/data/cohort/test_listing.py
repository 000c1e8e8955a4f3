"""Which files of a folder are slides, under which names, and of which patients."""

import shutil

import numpy as np
import pydicom
import pytest
from cohorts import RECIPE, SHARES, write_slides
from PIL import Image
from slides import CASES, needs_cases, tissue_like, write_pyramid

from lsr_ext.data.cohort import (
    Masks,
    PatchProbabilities,
    SlideMasks,
    build_cohort,
    list_slides,
    read_manifest,
    scan_slides,
)


@needs_cases
def test_the_files_of_a_dicom_slide_are_one_slide(tmp_path):
    folder = tmp_path / "scans" / "one"
    shutil.copytree(CASES / "16_dicom", folder, copy_function=shutil.copyfile)
    listing = scan_slides(tmp_path)
    assert [slide.path.name for slide in listing.slides] == ["slide0_level0.dcm"]
    reasons = {path.name: reason for path, reason in listing.skipped.items()}
    assert "LABEL" in reasons["slide0_label.dcm"]
    assert reasons["slide0_level1.dcm"] == "a level of slide0_level0.dcm"
    shutil.copytree(folder, tmp_path / "scans" / "two")  # the same slide in another folder
    assert len(list_slides(tmp_path)) == 2
    level = pydicom.dcmread(folder / "slide0_level1.dcm")
    level.TotalPixelMatrixColumns = level.ImageType = None
    level.save_as(folder / "slide0_level1.dcm")
    skipped = scan_slides(folder).skipped[folder / "slide0_level1.dcm"]
    assert skipped == "no level of a slide but another image"


def test_hidden_files_previews_and_others_are_skipped_and_counted(tmp_path):
    write_slides(tmp_path, 2)
    (tmp_path / "._slide-000.tif").write_bytes(b"\0\5\26\7")
    (tmp_path / "notes.txt").touch()
    Image.new("RGB", (9, 9)).save(tmp_path / "slide-000.jpg")
    listing = scan_slides(tmp_path)
    assert [slide.label for slide in listing.slides] == ["slide-000", "slide-001"]
    assert sorted(path.name for path in listing.skipped) == ["._slide-000.tif", "notes.txt", "slide-000.jpg"]
    assert any(line.startswith("1 files skipped: a picture beside slides") for line in listing.describe_skipped())


def test_a_folder_of_pictures_is_a_folder_of_slides(tmp_path):
    for name in ("b.png", "a.jpg"):
        Image.fromarray(tissue_like(128, 128)).save(tmp_path / name)
    assert [slide.path.name for slide in list_slides(tmp_path)] == ["a.jpg", "b.png"]


def test_the_folders_of_other_formats_are_not_searched(tmp_path):
    (tmp_path / "a.mrxs").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data0001.tif").touch()
    (tmp_path / "b.vms").touch()
    (tmp_path / "b.jpg").touch()
    listing = scan_slides(tmp_path)
    assert [slide.path.name for slide in listing.slides] == ["a.mrxs", "b.vms"]
    assert not listing.skipped


def nested(folder):
    """Two slides of one name in two folders."""
    for i, name in enumerate(("A", "B")):
        (folder / name).mkdir(parents=True)
        write_pyramid(folder / name / "s.tif", tissue_like(128, 128, seed=i), tile_px=64)
    return folder


def test_slides_of_one_name_in_two_folders_have_labels_of_their_own(tmp_path):
    listed = list_slides(nested(tmp_path / "slides"))
    assert [slide.label for slide in listed] == ["A/s", "B/s"]
    for i, name in enumerate(("A", "B")):
        (tmp_path / "masks" / name).mkdir(parents=True)
        Image.fromarray(np.full((64, 64), i, np.uint8)).save(tmp_path / "masks" / name / "s.png")
    source = Masks(tmp_path / "masks", ["tumour"])
    manifest = read_manifest(build_cohort(listed, source, RECIPE, tmp_path / "m.parquet", shares=SHARES))
    by_slide = {(row["slide"], row["label"]) for row in manifest.table.to_pylist()}
    assert by_slide == {("slides/A/s.tif", 0), ("slides/B/s.tif", 3)}
    truth = SlideMasks(tmp_path / "masks", range(2))
    read = [truth.read(slide, np.array([0, 0, 64, 64]), 8) for slide in listed]
    assert (read[0] == 0).all() and (read[1] == 1).all()


def test_one_file_of_labels_for_two_slides_is_refused(tmp_path):
    listed = list_slides(nested(tmp_path / "slides"))
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "masks" / "s.png")
    with pytest.raises(ValueError, match=r"s\.png would be used for two slides, .*A/s\.tif and .*B/s\.tif"):
        build_cohort(listed, Masks(tmp_path / "masks", ["a"]), RECIPE, tmp_path / "m.parquet")


def test_patches_are_found_by_folder_and_name(tmp_path):
    listed = list_slides(nested(tmp_path / "slides"))
    path = tmp_path / "p.csv"
    path.write_text("slide,x,y,probability\nA/s.tif,0,0,0.25\nelsewhere/B/s,0,0,0.75\n")
    source = PatchProbabilities(path)
    assert [source.labels_of(slide.path) for slide in listed] == ["A/s.tif", "elsewhere/B/s"]
    path.write_text("slide,x,y,probability\nC/s.tif,0,0,0.25\nD/s.tif,0,0,0.75\n")
    with pytest.raises(ValueError, match="expected patches of s.tif, found C/s.tif, D/s.tif"):
        PatchProbabilities(path).labels_of(listed[0].path)


def test_links_keep_their_names_and_one_file_is_no_two_slides(tmp_path):
    write_pyramid(tmp_path / "3f2a9c", tissue_like(128, 128), tile_px=64)  # as git-annex and others name files
    (tmp_path / "slides").mkdir()
    link = tmp_path / "slides" / "patient-7.tif"
    link.symlink_to(tmp_path / "3f2a9c")
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((64, 64), np.uint8)).save(tmp_path / "masks" / "patient-7.png")
    source = Masks(tmp_path / "masks", ["tumour"])
    made = build_cohort(list_slides(link.parent), source, RECIPE, tmp_path / "m.parquet", shares={"train": 1})
    assert set(read_manifest(made).table["slide"].to_pylist()) == {"slides/patient-7.tif"}
    (tmp_path / "slides" / "again.tif").symlink_to(tmp_path / "3f2a9c")
    with pytest.raises(ValueError, match=r"one file under two names: .*again\.tif and .*patient-7\.tif"):
        list_slides(link.parent)


def test_a_link_to_a_folder_is_followed_and_a_circle_ends(tmp_path):
    write_slides(tmp_path / "disk", 1)
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "disk").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "slides")
    assert [slide.label for slide in list_slides(tmp_path / "slides")] == ["disk/slide-000"]


@needs_cases
def test_spaces_make_no_second_patient():
    assert [slide.patient for slide in list_slides(CASES / "20_patient_space.csv")] == ["P1", "P1"]


def test_ways_to_write_one_patient(tmp_path):
    path = tmp_path / "slides.csv"
    patients = ["Jos\u00e9  M", " Jose\u0301 M", "\u00a0Jos\u00e9 M "]
    path.write_text("slide,patient\n" + "".join(f"{i}.tif,{name}\n" for i, name in enumerate(patients)))
    assert len({slide.patient for slide in list_slides(path)}) == 1
