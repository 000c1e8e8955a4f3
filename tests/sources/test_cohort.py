"""Training on slides: from a manifest to scores, by the commands' own functions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from cohorts import RECIPE, SHARES, corrupt_tiles, write_slides
from PIL import Image
from tiny_runs import TINY_TRAINING

from lsr_ext import CountDistribution
from lsr_ext.config import METHODS, load_config
from lsr_ext.data.cohort import (
    CohortSlide,
    JoinedBlocks,
    Masks,
    SlideBlocks,
    build_cohort,
    cut_cohort,
    open_blocks,
    read_manifest,
)
from lsr_ext.evaluation import evaluate
from lsr_ext.inference import load_model
from lsr_ext.report import write_report
from lsr_ext.sources import prepare_data
from lsr_ext.training import train
from lsr_ext.training.build import build_batches
from lsr_ext.wsi import open_slide

COUNT = 8
LABELS = RECIPE.label_names


def write_masks(folder, slides):
    """Class 1 on a left part of each slide, wider from slide to slide, at a quarter of its resolution."""
    folder.mkdir()
    for number, slide in enumerate(slides):
        mask = np.zeros((32, 32), np.uint8)
        mask[:, : 4 * number] = 1
        Image.fromarray(mask).save(folder / f"{slide.stem}.png")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Eight slides of four blocks, labelled by masks; two slides a patient."""
    folder = tmp_path_factory.mktemp("cohort")
    slides = write_slides(folder / "slides", COUNT)
    write_masks(folder / "masks", slides)
    listed = [CohortSlide(path, f"patient {k // 2}") for k, path in enumerate(slides)]
    build_cohort(listed, Masks(folder / "masks", ["tumour"]), RECIPE, folder / "cohort.parquet", shares=SHARES)
    mean = np.array([[0.9, 0.1], [0.6, 0.4], [0.4, 0.6], [0.1, 0.9]])
    CountDistribution(mean, np.full((4, 2), 0.1), LABELS, ["other", "tumour"]).save(folder / "distribution.json")
    return folder


def configure(folder, output, manifest="cohort.parquet", **sections):
    data = {"source": "cohort", "manifests": [manifest], "distribution": "distribution.json", "masks": "masks"}
    content = {
        "output": str(output / "run"),
        "data": data | {"root": str(folder)} | sections.pop("data", {}),
        "methods": ["intra+inter"],
        "training": TINY_TRAINING,
    }
    (output / "run.yaml").write_text(yaml.safe_dump(content | sections))
    return load_config(output / "run.yaml")


def test_slides_are_trained_on_scored_and_reported(cohort, tmp_path):
    config = configure(cohort, tmp_path, methods=["intra", "intra+inter", "supervised"])
    train(config)
    metrics = evaluate(config)
    assert set(metrics) == {"low_resolution", "intra", "intra+inter", "supervised"}
    assert all(0 <= scores["iou"] <= 1 for scores in metrics.values())
    assert load_model(config.output / "intra/model").classes == ["other", "tumour"]
    assert write_report(config).is_file()


def test_blocks_are_the_slides_pixels_and_masks(cohort, tmp_path):
    data = prepare_data(configure(cohort, tmp_path))
    manifest = read_manifest(cohort / "cohort.parquet")
    rows = manifest.rows_of("train")
    for index in (0, len(rows) - 1):
        block = manifest.table.slice(rows[index], 1).to_pylist()[0]
        rectangle = [block[name] for name in ("x", "y", "width", "height")]
        expected = open_slide(cohort / block["slide"]).read_resized(*rectangle, (16, 16))
        np.testing.assert_array_equal(data.train.block_images([index])[0], expected)
        item = data.train.dataset(augment=False)[index]
        # A pixel of the block is 4 x 4 pixels of the slide, and so is a pixel of the mask.
        mask = np.asarray(Image.open(cohort / "masks" / f"{block['slide'][7:16]}.png"))
        x, y = block["x"] // 4, block["y"] // 4
        np.testing.assert_array_equal(item["mask"], mask[y : y + 16, x : x + 16])
    assert len(data.test) == len(manifest.rows_of("test"))


def test_masks_stay_out_of_reach_of_block_label_training(cohort, tmp_path):
    data = prepare_data(configure(cohort, tmp_path))
    assert "mask" not in data.train.without_masks().dataset(augment=False)[0]


def test_what_cannot_be_read_is_left_out_and_groups_stay_whole(cohort, tmp_path):
    slides = write_slides(tmp_path / "slides", COUNT)
    write_masks(tmp_path / "masks", slides)
    shares = {"train": 0.75, "test": 0.25}
    listed = [CohortSlide(path) for path in slides]
    build_cohort(listed, Masks(tmp_path / "masks", ["t"]), RECIPE, tmp_path / "cohort.parquet", shares=shares)
    (tmp_path / "distribution.json").write_bytes((cohort / "distribution.json").read_bytes())
    manifest = read_manifest(tmp_path / "cohort.parquet")
    damaged = manifest.table["slide"][int(manifest.rows_of("train")[0])].as_py()
    corrupt_tiles(tmp_path / damaged)
    config = configure(tmp_path, tmp_path, data={"limit": 0.2})
    blocks = prepare_data(config).train
    batches = build_batches(
        METHODS["intra+inter"], blocks.without_masks(), config.training, config.seed, config.output
    )
    batches.trainer = type("Trainer", (), {"global_rank": 0, "world_size": 1})
    sizes = []
    for batch in batches.train_dataloader():
        sizes.append(len(batch["label"]))
        for group in batch["group"].unique():
            assert len(batch["label"][batch["group"] == group].unique()) == 1
    assert min(sizes) <= 4
    train(config)  # to the end, with its decoding fitted to blocks of which some cannot be read
    assert load_model(config.output / "intra+inter/model").mpp == pytest.approx(1.0)
    left_out = [
        json.loads(line) for line in (config.output / "intra+inter/left_out.jsonl").read_text().splitlines()
    ]
    assert {event["slide"] for event in left_out} <= {str(tmp_path / damaged)}


def test_held_out_blocks_that_cannot_be_read_are_not_scored(cohort, tmp_path, caplog):
    slides = write_slides(tmp_path / "slides", COUNT)
    write_masks(tmp_path / "masks", slides)
    listed = [CohortSlide(path) for path in slides]
    build_cohort(listed, Masks(tmp_path / "masks", ["t"]), RECIPE, tmp_path / "cohort.parquet", shares=SHARES)
    (tmp_path / "distribution.json").write_bytes((cohort / "distribution.json").read_bytes())
    config = configure(tmp_path, tmp_path)
    train(config)
    manifest = read_manifest(tmp_path / "cohort.parquet")
    damaged = manifest.table["slide"][int(manifest.rows_of("test")[0])].as_py()
    corrupt_tiles(tmp_path / damaged)
    open_slide(tmp_path / damaged).forget()
    with pytest.raises(
        ValueError, match=r"\d of \d+ held-out blocks cannot be read, more than the limit of 5\.00%"
    ):
        evaluate(config)
    config = configure(tmp_path, tmp_path, data={"limit": 0.5})
    assert 0 <= evaluate(config)["intra+inter"]["iou"] <= 1
    assert "is left out" in caplog.text and "held-out blocks cannot be read, and are not scored" in caplog.text
    assert write_report(config).is_file()


def test_the_order_of_mask_ids_may_be_put_right_after_training(cohort, tmp_path):
    train(configure(cohort, tmp_path))
    inverted = configure(cohort, tmp_path, data={"mask_classes": ["tumour", "other"]})
    assert evaluate(inverted)["intra+inter"]["iou"] >= 0
    train(configure(cohort, tmp_path, methods=["supervised"]))
    with pytest.raises(ValueError, match="run on other data .the training masks have changed since"):
        train(configure(cohort, tmp_path, methods=["supervised"], data={"mask_classes": ["tumour", "other"]}))


def test_a_held_out_block_is_read_again_with_a_new_handle(cohort, tmp_path, monkeypatch):
    data = prepare_data(configure(cohort, tmp_path))
    original, failed = SlideBlocks.read, set()

    def fails_once(self, row):
        if row not in failed:
            failed.add(row)
            raise OSError("stale file handle")
        return original(self, row)

    monkeypatch.setattr(SlideBlocks, "read", fails_once)
    assert len(data.readable().test) == len(data.test) == len(failed)


def test_a_store_gives_the_same_blocks(cohort, tmp_path):
    cut_cohort(cohort / "cohort.parquet", tmp_path / "store")
    stored = prepare_data(configure(cohort, tmp_path, str(tmp_path / "store"))).train
    read = prepare_data(configure(cohort, tmp_path)).train
    np.testing.assert_array_equal(stored.labels, read.labels)
    np.testing.assert_array_equal(stored.block_images([3])[0], read.block_images([3])[0])


def test_joined_manifests_are_one_after_the_other(cohort):
    manifest = read_manifest(cohort / "cohort.parquet")
    count = len(manifest) // 2
    parts = [manifest.table.slice(0, count), manifest.table.slice(count)]
    sources = [SlideBlocks(replace(manifest, table=part)) for part in parts]
    joined = JoinedBlocks(sources)
    assert len(joined.manifest) == len(manifest)
    np.testing.assert_array_equal(joined.read(count + 2), sources[1].read(2))
    assert joined.rows_lost_with(count + 2).tolist() == [count + 2]


def test_a_patient_in_two_splits_is_refused(cohort, tmp_path):
    manifest = read_manifest(cohort / "cohort.parquet")
    other = open_blocks(cohort / "cohort.parquet")
    place = manifest.table.column_names.index("split")
    swapped = [{"train": "test", "test": "train"}[split] for split in manifest.table["split"].to_pylist()]
    object.__setattr__(other.manifest, "table", other.manifest.table.set_column(place, "split", [swapped]))
    with pytest.raises(ValueError, match=r"slide .*slide-00\d.tif has blocks in two splits"):
        JoinedBlocks([open_blocks(cohort / "cohort.parquet"), other])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"test_fraction": 0.3}}, "test_fraction: the manifest's splits"),
        ({"data": {"masks": None}, "methods": ["supervised"]}, "'supervised' needs pixel truth: data.masks"),
        ({"methods": ["intra+self"]}, "'intra\\+self' is not yet possible"),
    ],
)
def test_what_the_section_cannot_give_is_refused(cohort, tmp_path, sections, message):
    with pytest.raises(ValueError, match=message):
        configure(cohort, tmp_path, **sections)


def test_labels_of_another_distribution_are_refused(cohort, tmp_path):
    CountDistribution(np.full((2, 2), 0.5), np.full((2, 2), 0.1), ["low", "high"]).save(tmp_path / "d.json")
    config = configure(cohort, tmp_path, data={"distribution": str(tmp_path / "d.json")})
    with pytest.raises(
        ValueError, match=r"expected the manifest's labels \['0-25', .* got \['low', 'high'\], without '0-25'"
    ):
        prepare_data(config)


def test_labels_and_classes_are_bound_by_name(cohort, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    slides = write_slides(folder / "slides", COUNT)
    write_masks(folder / "masks", slides)
    source = Masks(folder / "masks", ["a", "b"])
    build_cohort([CohortSlide(path) for path in slides], source, RECIPE, folder / "cohort.parquet", shares=SHARES)
    order = [2, 0, 3, 1]
    names = [LABELS[z] for z in order]
    CountDistribution(np.full((4, 3), 0.5), np.full((4, 3), 0.1), names, ["b", "rest", "a"]).save(
        folder / "distribution.json"
    )
    train_blocks = prepare_data(configure(folder, tmp_path, data={"masks": None})).train
    manifest = read_manifest(folder / "cohort.parquet")
    expected = manifest.labels[manifest.rows_of("train")]
    for column, class_index in ((0, 2), (1, 0)):
        found = train_blocks.labels[:, class_index]
        assert [names[z] for z in found] == [LABELS[z] for z in expected[:, column]]
    assert (train_blocks.labels[:, 1] == -1).all()
    item = train_blocks.dataset(augment=False)[0]
    fractions = manifest.fractions[manifest.rows_of("train")[0]]
    np.testing.assert_allclose(item["fraction"][[2, 0]], fractions, atol=1e-6)


def test_a_slide_without_a_mask_and_another_resolution_are_refused(cohort, tmp_path):
    (tmp_path / "masks").mkdir()
    with pytest.raises(ValueError, match=r"data\.masks: 8 of 8 slides have no mask: slide-000\.tif"):
        prepare_data(configure(cohort, tmp_path, data={"masks": str(tmp_path / "masks")}))
    with pytest.raises(
        ValueError, match=r"data\.mpp: the manifest's blocks are of 1 to 1 microns per pixel, got 0\.5"
    ):
        prepare_data(configure(cohort, tmp_path, data={"mpp": 0.5}))


def test_slides_of_one_name_have_masks_of_their_own(cohort, tmp_path):
    slides = []
    for number, slide in enumerate(write_slides(tmp_path / "slides", COUNT)):
        slides.append(tmp_path / "slides" / "AB"[number % 2] / f"{number // 2}.tif")
        slides[-1].parent.mkdir(exist_ok=True)
        slide.rename(slides[-1])
    (tmp_path / "masks").mkdir()
    for letter in "AB":
        write_masks(tmp_path / "masks" / letter, [slide for slide in slides if slide.parent.name == letter])
    listed = [CohortSlide(path) for path in slides]
    build_cohort(listed, Masks(tmp_path / "masks", ["t"]), RECIPE, tmp_path / "cohort.parquet", shares=SHARES)
    (tmp_path / "distribution.json").write_bytes((cohort / "distribution.json").read_bytes())
    assert prepare_data(configure(tmp_path, tmp_path)).train.masks is not None
    (tmp_path / "masks/A/1.png").rename(tmp_path / "masks/1.png")
    prepare_data(configure(tmp_path, tmp_path))
    (tmp_path / "masks/B/1.png").unlink()
    message = r"expected a mask for each slide, got .*masks/1.png for both .*[AB]/1.tif and .*[AB]/1.tif"
    with pytest.raises(ValueError, match=message):
        prepare_data(configure(tmp_path, tmp_path))


def test_a_mask_of_another_aspect_is_refused(cohort, tmp_path):
    (tmp_path / "masks").mkdir()
    for path in (cohort / "masks").iterdir():
        Image.fromarray(np.zeros((32, 40), np.uint8)).save(tmp_path / "masks" / path.name)
    data = prepare_data(configure(cohort, tmp_path, data={"masks": str(tmp_path / "masks")}))
    with pytest.raises(ValueError, match="expected the aspect of slide-00"):
        data.test.masks[0]
