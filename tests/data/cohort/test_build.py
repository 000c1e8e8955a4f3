"""Manifests of cohorts: the paper's recipe by hand, splits, resuming, what cannot be read."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from cohorts import RECIPE, SHARES, make_cohort, write_probabilities, write_slides
from slides import tissue_like, write_pyramid

from lsr_ext import CountDistribution
from lsr_ext.data.cohort import (
    PRESETS,
    CohortSlide,
    JoinedBlocks,
    Masks,
    PatchProbabilities,
    QuarantineLimitError,
    Recipe,
    Rectangles,
    SlideBlocks,
    assign_splits,
    build_cohort,
    list_slides,
    read_manifest,
    read_report,
)


def test_the_papers_recipe(tmp_path):
    recipe = PRESETS["breast-cancer"]
    assert recipe.label_names == list(CountDistribution.paper("table1").labels)
    assert [recipe.patch_side((mpp, mpp)) for mpp in (0.25, 0.2325, 0.2527, 0.5, 1.0)] == [
        2000,
        2000,
        2000,
        1000,
        500,
    ]
    # At 2.5x (mpp 4) a patch of 2000 px is one of 125 px.
    slide = tmp_path / "slides" / "a.tif"
    slide.parent.mkdir()
    write_pyramid(slide, tissue_like(520, 770), mpp=4.0)
    probabilities = np.linspace(0, 1, 24).reshape(4, 6)
    rows = [f"a,{125 * c},{125 * r},{probabilities[r, c]}" for r in range(4) for c in range(6)]
    (tmp_path / "p.csv").write_text("\n".join(["slide,x,y,probability", *rows]))
    source, listed = PatchProbabilities(tmp_path / "p.csv"), list_slides(slide.parent)
    path = build_cohort(listed, source, recipe, tmp_path / "m.parquet", shares={"train": 1})
    manifest = read_manifest(path)
    assert manifest.rectangles.tolist() == [[x, y, 250, 250] for y in (0, 250) for x in (0, 250, 500)]
    highest = [probabilities[r : r + 2, c : c + 2].max() for r in (0, 2) for c in (0, 2, 4)]
    bins = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
    assert manifest.labels.tolist() == [sum(value >= edge for edge in bins) for value in highest]
    table = manifest.table.to_pylist()
    assert {row["size_px"] for row in table} == {240}
    assert [row["mpp"] for row in table] == pytest.approx([1000 / 240] * 6)  # the paper's 4.2
    assert {row["label_source"] for row in table} == {"patch probabilities"}
    assert {row["slide"] for row in table} == {"slides/a.tif"}
    assert manifest.label_names[9] == "95-100"


def test_a_label_per_class_from_masks(tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    ids = np.zeros((128, 128), np.uint8)
    ids[:64, :64], ids[64:, 64:96] = 1, 2
    for slide in slides:
        np.save(tmp_path / f"{slide.stem}.npy", ids)
    source = Masks(tmp_path, ["a", "b"])
    recipe = Recipe(patch_px=64, merge=1, size_px=16, edges=(0.25, 0.75))
    path = build_cohort(list_slides(tmp_path / "slides"), source, recipe, tmp_path / "m.parquet", shares=SHARES)
    manifest = read_manifest(path)
    assert manifest.classes == ("a", "b")
    assert manifest.labels.tolist() == [[2, 0], [0, 0], [0, 0], [0, 1]] * 2


def test_fractions_are_kept_and_blocks_are_labelled_by_area(tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    ids = np.zeros((128, 128), np.uint8)
    ids[:32, :32], ids[64:, 64:] = 1, 1  # one of four patches of the first block, all of the last
    for slide in slides:
        np.save(tmp_path / f"{slide.stem}.npy", ids)
    listed, found = list_slides(tmp_path / "slides"), {}
    for merge_by in (None, "maximum"):
        recipe = replace(RECIPE, merge_by=merge_by)
        path = build_cohort(
            listed, Masks(tmp_path, ["t"]), recipe, tmp_path / f"{merge_by}.parquet", shares=SHARES
        )
        found[merge_by] = read_manifest(path)
    assert found[None].labels.tolist() == [1, 0, 0, 3] * 2
    assert found["maximum"].labels.tolist() == [3, 0, 0, 3] * 2
    for manifest in found.values():  # what a block holds does not depend on the rule of its label
        assert manifest.fraction_classes == ("t",)
        np.testing.assert_allclose(manifest.fractions[:4, 0], [0.25, 0, 0, 1])


def test_probabilities_are_no_fractions(tmp_path):
    assert read_manifest(make_cohort(tmp_path, 2)).fractions is None


def test_blocks_with_an_offset_and_a_stride(tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 2, (128, 128)).astype(np.uint8)
    for slide in slides:
        np.save(tmp_path / f"{slide.stem}.npy", ids)
    # The slides have 0.25 microns per pixel, so pixels at 40x are level-0 pixels.
    recipe = replace(RECIPE, offset_px=(10, 20), stride_px=40)
    listed = list_slides(tmp_path / "slides")
    path = build_cohort(listed, Masks(tmp_path, ["t"]), recipe, tmp_path / "m.parquet", shares=SHARES)
    manifest = read_manifest(path)
    corners = [[x, y] for y in (20, 60) for x in (10, 50)]
    assert manifest.rectangles[:4].tolist() == [[x, y, 64, 64] for x, y in corners]
    expected = [ids[y : y + 64, x : x + 64].mean() for x, y in corners]
    np.testing.assert_allclose(manifest.fractions[:4, 0], expected, atol=1e-6)


def test_blocks_of_given_rectangles(tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    ids = np.random.default_rng(0).integers(0, 2, (128, 128)).astype(np.uint8)
    for slide in slides:
        np.save(tmp_path / f"{slide.stem}.npy", ids)
    rows = [f"{slide.name},{x},{y},{side},{side}" for slide in slides for x, y, side in ((3, 5, 50), (60, 1, 33))]
    (tmp_path / "places.csv").write_text("\n".join(["slide,x,y,width,height", *rows]))
    listed, places = list_slides(tmp_path / "slides"), Rectangles(tmp_path / "places.csv")
    arguments = listed, Masks(tmp_path, ["t"]), RECIPE
    path = build_cohort(*arguments, tmp_path / "m.parquet", shares=SHARES, rectangles=places)
    manifest = read_manifest(path)
    assert manifest.rectangles[:2].tolist() == [[3, 5, 50, 50], [60, 1, 33, 33]]
    np.testing.assert_allclose(manifest.fractions[0, 0], ids[5:55, 3:53].mean(), atol=1e-6)
    (tmp_path / "outside.csv").write_text(f"slide,x,y,width,height\n{slides[0].name},100,0,50,50")
    with pytest.raises(ValueError, match=r"1 of 1 rectangles extend beyond slide-000\.tif"):
        Rectangles(tmp_path / "outside.csv").inside(slides[0], (128, 128))
    (tmp_path / "long.csv").write_text("slide,x,y,width,height\na,0,0,50,40")
    with pytest.raises(ValueError, match="row 2: expected a square block, got 50 x 40"):
        Rectangles(tmp_path / "long.csv")


def test_rectangles_of_slides_of_one_name_are_told_apart_by_folders(tmp_path):
    slides = [tmp_path / "slides" / folder / "1.tif" for folder in "AB"]
    (tmp_path / "masks").mkdir()
    for slide in slides:
        slide.parent.mkdir(parents=True)
        write_pyramid(slide, tissue_like(128, 128), mpp=0.25)
        (tmp_path / "masks" / slide.parent.name).mkdir()
        np.save(tmp_path / "masks" / slide.parent.name / "1.npy", np.ones((128, 128), np.uint8))
    listed, source = list_slides(tmp_path / "slides"), Masks(tmp_path / "masks", ["t"])
    header = "slide,x,y,width,height"
    (tmp_path / "both.csv").write_text(f"{header}\nA/1,0,0,64,64\nB/1.tif,64,64.0,32,32")
    for folder, row in (("A", "0,0,64,64"), ("B", "64,64,32,32")):
        (tmp_path / "places" / folder).mkdir(parents=True)
        (tmp_path / "places" / folder / "1.csv").write_text(f"x,y,width,height\n{row}")
    for places in ("both.csv", "places"):
        arguments = {"shares": SHARES, "rectangles": Rectangles(tmp_path / places)}
        manifest = read_manifest(build_cohort(listed, source, RECIPE, tmp_path / f"{places}.parquet", **arguments))
        assert manifest.rectangles.tolist() == [[0, 0, 64, 64], [64, 64, 32, 32]]
    (tmp_path / "one.csv").write_text(f"{header}\n1,0,0,64,64")
    with pytest.raises(ValueError, match=r"1 would be used for two slides, .*A/1\.tif and .*B/1\.tif"):
        build_cohort(listed, source, RECIPE, tmp_path / "m.parquet", rectangles=Rectangles(tmp_path / "one.csv"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,0.5,0,50,50", "row 2: expected whole x, y, width and height"),
        ("a,1e30,0,50,50", "row 2: expected whole x, y, width and height"),
        ("a,0,0,50,", "row 2: expected whole x, y, width and height"),
        ("a,0,0,50,50\na,0,0,50,50", r"row 3: the block \[0, 0, 50, 50\] occurs a second time"),
    ],
)
def test_faults_in_rectangles(tmp_path, rows, message):
    (tmp_path / "a.csv").write_text(f"slide,x,y,width,height\n{rows}")
    with pytest.raises(ValueError, match=message):
        Rectangles(tmp_path / "a.csv")


def test_a_class_may_be_unknown_alone(tmp_path):
    class Half:
        """Class a is known everywhere, class b in the left half."""

        name, classes, knows_fractions, any_grid = "half", ("a", "b"), True, True

        def labels_of(self, slide):
            return slide.name

        def values(self, slide, size, grid, bounds):
            known = grid.rectangles()[:, 0] < 64
            return np.stack([np.full(len(known), 0.6), np.where(known, 1.0, np.nan)], axis=1)

        def fingerprint(self, slide):
            return ""

    listed = [CohortSlide(path) for path in write_slides(tmp_path / "slides", 2)]
    manifest = read_manifest(build_cohort(listed, Half(), RECIPE, tmp_path / "m.parquet", shares=SHARES))
    assert manifest.labels[:4].tolist() == [[2, 3], [2, -1], [2, 3], [2, -1]]
    np.testing.assert_allclose(manifest.fractions[:2], [[0.6, 1.0], [0.6, np.nan]], atol=1e-6)


def test_given_splits_are_kept_and_leakage_is_refused(tmp_path):
    slides = write_slides(tmp_path / "slides", 4)
    write_probabilities(tmp_path / "p.csv", slides)
    source = PatchProbabilities(tmp_path / "p.csv")
    splits = ["test", "train", "train", "validation"]
    rows = [
        f"slides/{slide.name},p{i},{split}" for i, (slide, split) in enumerate(zip(slides, splits, strict=True))
    ]
    (tmp_path / "slides.csv").write_text("\n".join(["slide,patient,split", *rows]))
    listed = list_slides(tmp_path / "slides.csv")
    path = build_cohort(listed, source, RECIPE, tmp_path / "m.parquet")
    assert read_manifest(path).table["split"].to_pylist()[::4] == splits
    with pytest.raises(
        ValueError, match="patient 'p' is in two splits: slide-000.tif in test, slide-001.tif in train"
    ):
        build_cohort([slide._replace(patient="p") for slide in listed], source, RECIPE, path)
    with pytest.raises(ValueError, match="the split is missing, and other slides have one"):
        build_cohort([listed[0]._replace(split=None), *listed[1:]], source, RECIPE, path)


def test_splits_are_by_patient_and_keep_their_shares(tmp_path):
    slides = write_slides(tmp_path / "slides", 12)
    write_probabilities(tmp_path / "p.csv", slides)
    rows = [f"slides/{slide.name},patient-{i // 3}" for i, slide in enumerate(slides)]
    (tmp_path / "slides.csv").write_text("\n".join(["slide,patient", *rows]))
    source = PatchProbabilities(tmp_path / "p.csv")
    path = build_cohort(
        list_slides(tmp_path / "slides.csv"), source, RECIPE, tmp_path / "m.parquet", shares=SHARES
    )
    rows = read_manifest(path).table.to_pylist()
    split_of = {}
    for row in rows:
        assert split_of.setdefault(row["patient"], row["split"]) == row["split"]
    assert sorted(split_of.values()) == ["test", "test", "train", "train"]
    assert len(read_manifest(path).rows_of("test")) == len(rows) // 2
    with pytest.raises(ValueError, match=r"one of the splits \['test', 'train'\], got 'validation'"):
        read_manifest(path).rows_of("validation")


def test_a_patient_that_was_mended_in_the_list_is_mended_in_the_manifest(tmp_path):
    slides = write_slides(tmp_path / "slides", 3)
    write_probabilities(tmp_path / "p.csv", slides)
    source, found = PatchProbabilities(tmp_path / "p.csv"), []
    for patients in ("aab", "abb"):
        listed = [CohortSlide(slide, patient) for slide, patient in zip(slides, patients, strict=True)]
        path = build_cohort(listed, source, RECIPE, tmp_path / "m.parquet", shares=SHARES)
        found.append("".join(read_manifest(path).table["patient"].to_pylist()[::4]))
    assert found == ["aab", "abb"]


def test_a_groups_split_depends_on_the_seed_and_not_on_the_order():
    groups = [f"p{i}" for i in range(40)]
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    splits = assign_splits(groups, shares, seed=0)
    assert assign_splits(groups[::-1] * 2, shares, seed=0) == splits
    assert assign_splits(groups, shares, seed=1) != splits
    assert [list(splits.values()).count(name) for name in shares] == [32, 4, 4]
    with pytest.raises(ValueError, match="leave nothing for"):
        assign_splits(["a"], shares, seed=0)
    with pytest.raises(ValueError, match="above 0"):
        assign_splits(groups, {"train": 0}, seed=0)
    with pytest.raises(ValueError, match="expected shares of train, validation, test, got one of 'training'"):
        assign_splits(groups, {"training": 0.8, "test": 0.2}, seed=0)


def test_wrong_splits_are_told_before_the_work(tmp_path):
    slides = write_slides(tmp_path / "slides", 2)
    write_probabilities(tmp_path / "p.csv", slides)
    listed = [CohortSlide(slide, "p", split=split) for slide, split in zip(slides, ("train", "test"), strict=True)]
    with pytest.raises(ValueError, match="patient 'p' is in two splits"):
        build_cohort(listed, PatchProbabilities(tmp_path / "p.csv"), RECIPE, tmp_path / "m.parquet")
    assert not (tmp_path / "m.parquet.parts").exists()


def test_a_block_that_is_listed_twice_is_refused(tmp_path):
    source = SlideBlocks(read_manifest(make_cohort(tmp_path, 3)))
    with pytest.raises(
        ValueError, match="expected each block once, got 12 twice, such as .* px at .*listed twice"
    ):
        JoinedBlocks([source, source])


def test_a_second_run_uses_the_parts_and_writes_the_same_bytes(tmp_path):
    path = make_cohort(tmp_path, 3)
    content = path.read_bytes()
    parts = {part: part.stat().st_mtime_ns for part in (tmp_path / "cohort.parquet.parts").iterdir()}
    path.unlink()
    source = PatchProbabilities(tmp_path / "patches.csv")
    listed = list_slides(tmp_path / "slides")
    build_cohort(listed, source, RECIPE, path, shares=SHARES)
    assert path.read_bytes() == content
    assert {part: part.stat().st_mtime_ns for part in (tmp_path / "cohort.parquet.parts").iterdir()} == parts
    build_cohort(listed, source, RECIPE, path, shares=SHARES, workers=2)
    assert path.read_bytes() == content
    # New labels of one slide: its part alone is made anew.
    lines = (tmp_path / "patches.csv").read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + ",0.9999"
    (tmp_path / "patches.csv").write_text("\n".join(lines))
    build_cohort(listed, PatchProbabilities(tmp_path / "patches.csv"), RECIPE, path, shares=SHARES)
    assert len(list((tmp_path / "cohort.parquet.parts").iterdir())) == len(parts) + 1
    assert read_manifest(path).labels[0] == 3


def test_slides_that_cannot_be_read_are_reported_and_too_many_end_the_run(tmp_path):
    slides = write_slides(tmp_path / "slides", 6)
    write_probabilities(tmp_path / "p.csv", slides[:-1])  # the last has no labels
    slides[0].write_bytes(b"II*\0no slide")
    source, listed = PatchProbabilities(tmp_path / "p.csv"), list_slides(tmp_path / "slides")
    path = build_cohort(listed, source, RECIPE, tmp_path / "m.parquet", shares=SHARES, limit=0.4)
    assert len(read_manifest(path)) == 4 * 4
    report = read_report(tmp_path / "m.parquet.report.jsonl")
    assert [(entry["slide"], entry["reason"].split(":")[0]) for entry in report] == [
        (str(slides[0]), "CorruptSlideError"),
        (str(slides[5]), "ValueError"),
    ]
    assert "slide-000.tif" in report[0]["reason"]
    with pytest.raises(
        QuarantineLimitError, match=r"2 of 6 slides left out, more than the limit of 30\.00%.*report"
    ):
        build_cohort(listed, source, RECIPE, tmp_path / "m.parquet", shares=SHARES, limit=0.3)


def test_a_slide_without_resolution_is_left_out_or_given_one(tmp_path):
    slide = tmp_path / "a.tif"
    write_pyramid(slide, tissue_like(128, 128), mpp=None)
    write_probabilities(tmp_path / "p.csv", [slide])
    source = PatchProbabilities(tmp_path / "p.csv")
    with pytest.raises(QuarantineLimitError, match=r"MissingResolutionError.*give it"):
        build_cohort([CohortSlide(slide)], source, RECIPE, tmp_path / "m.parquet", shares={"train": 1})
    (tmp_path / "slides.csv").write_text("slide,mpp\na.tif,0.25\n")
    listed = list_slides(tmp_path / "slides.csv")
    path = build_cohort(listed, source, RECIPE, tmp_path / "m.parquet", shares={"train": 1})
    assert read_manifest(path).table["mpp"].to_pylist() == [1.0] * 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\na.tif", r"expected columns slide\[,patient\]\[,mpp\]\[,split\]\[,image\].*, got path"),
        ("slide,mpp\na.tif,forty", "row 2: expected an mpp above 0, got 'forty'"),
        ("slide,split\na.tif,trian", "row 2: expected a split of train, validation, test, got 'trian'"),
        ("slide\na.tif\na.svs", "two slides of one name"),
        ("slide\n", "expected slides"),
    ],
)
def test_faults_in_the_list_of_slides(tmp_path, content, message):
    path = tmp_path / "slides.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"slides\.csv.*{message}"):
        list_slides(path)


@pytest.mark.parametrize(
    "arguments",
    [{"patch_px": 0}, {"merge": 0}, {"size_px": 0}, {"edges": ()}, {"edges": (0.5, 0.5)}, {"edges": (0.0,)},
     {"edges": (1.5,)}, {"min_tissue": 2}],
)  # fmt: skip
def test_impossible_recipes(arguments):
    with pytest.raises(ValueError, match="expected"):
        Recipe(**{"patch_px": 1, "merge": 1, "size_px": 1, "edges": (0.5,)} | arguments)


def test_little_tissue_leaves_a_block_out(tmp_path):
    pixels = np.full((256, 256, 3), 242, np.uint8)
    pixels[:128] = (200, 110, 180)
    slides = tmp_path / "slides"
    slides.mkdir()
    write_pyramid(slides / "a.tif", pixels, mpp=4.0, compression="deflate")
    write_probabilities(tmp_path / "p.csv", [slides / "a.tif"], side_px=256, patch_px=64)
    recipe = Recipe(patch_px=1024, merge=1, size_px=16, edges=(0.5,), min_tissue=0.5)
    source = PatchProbabilities(tmp_path / "p.csv")
    path = build_cohort(list_slides(slides), source, recipe, tmp_path / "m.parquet", shares={"train": 1})
    manifest = read_manifest(path)
    assert sorted({row[1] for row in manifest.rectangles.tolist()}) == [0, 64]
    assert min(manifest.table["tissue_fraction"].to_pylist()) > 0.9


def test_files_that_are_no_manifest_are_refused(tmp_path):
    path = make_cohort(tmp_path, 2)
    with pytest.raises(FileNotFoundError, match=r"absent\.parquet"):
        read_manifest(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match=r"text\.parquet: not a readable manifest"):
        read_manifest(tmp_path / "text.parquet")
    table = pq.read_table(path)
    pq.write_table(table.drop_columns("tissue_fraction"), tmp_path / "less.parquet")
    with pytest.raises(ValueError, match=r"less\.parquet: expected a column tissue_fraction"):
        read_manifest(tmp_path / "less.parquet")
    metadata = {b"lsr_ext": json.dumps({"label_names": ["a"], "classes": []}).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "names.parquet")
    with pytest.raises(ValueError, match=r"expected labels in \[-1, 1\)"):
        read_manifest(tmp_path / "names.parquet")
