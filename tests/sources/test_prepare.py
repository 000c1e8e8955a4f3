import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_runs import draw_disc, write_labels_run, write_masks_run

from lsr_ext.config import load_config
from lsr_ext.data.simulate import simulate_fields
from lsr_ext.evaluation.low_resolution import low_resolution_maps
from lsr_ext.sources import prepare_data
from lsr_ext.sources.labelling import draw_annotated, estimate_distribution
from lsr_ext.sources.mask_ids import warn_of_other_order
from lsr_ext.sources.stained_image import stained_image
from lsr_ext.sources.training_data import describe_labels

EXAMPLES = Path(__file__).parents[2] / "examples"
SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_masks_are_split_by_image_and_labelled_by_quantiles_of_the_training_side(tmp_path):
    data = prepare_data(load_config(write_masks_run(tmp_path)))
    images = [{block.image for block in side.blocks} for side in (data.train, data.test)]
    assert [len(side) for side in images] == [3, 2]
    assert not images[0] & images[1]
    assert np.bincount(data.train.labels).tolist() == [6, 6]
    assert data.distribution.classes == ("background", "foreground")
    assert data.distribution.mean[0, 1] < data.distribution.mean[1, 1]


def test_training_blocks_know_the_numbers_that_their_labels_were_made_from(tmp_path):
    section = {"noise_std": 0.05, "fraction_step": 0.1}
    train = prepare_data(load_config(write_masks_run(tmp_path, data=section))).train
    steps = train.targets.fractions / 0.1
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    assert 0 < np.abs(train.targets.fractions - train.fractions()).max() < 0.25
    low, high = (train.targets.fractions[train.labels == z, 1] for z in (0, 1))
    assert low.max() < high.min()
    item = train.dataset(augment=False)[3]
    np.testing.assert_allclose(item["fraction"], train.targets.fractions[3], rtol=1e-6)
    assert np.array_equal(train.subset([5, 1]).targets.fractions, train.targets.fractions[[5, 1]])


def test_only_training_blocks_overlap(tmp_path):
    data = prepare_data(load_config(write_masks_run(tmp_path, data={"stride_px": 10})))
    assert len(data.train) == 3 * 9
    assert len(data.test) == 2 * 4


def test_foreground_is_a_class_by_name(tmp_path):
    data = prepare_data(load_config(write_masks_run(tmp_path, data={"foreground": "background"})))
    assert data.foreground == 0
    assert data.distribution.mean[0, 0] < data.distribution.mean[1, 0]
    with pytest.raises(ValueError, match=r"data\.foreground must be one of .*, got 'tumour'"):
        prepare_data(load_config(write_masks_run(tmp_path, data={"foreground": "tumour"})))


def test_distribution_is_estimated_from_some_blocks_per_label(tmp_path):
    data = prepare_data(load_config(write_masks_run(tmp_path)))
    fractions, labels = data.train.fractions(), data.train.labels
    estimate = estimate_distribution(data.train, draw_annotated(data.train, 100, seed=0))
    for z in (0, 1):
        torch.testing.assert_close(estimate.mean[z], torch.tensor(fractions[labels == z].mean(0)))
    single = estimate_distribution(data.train, draw_annotated(data.train, 1, seed=0))
    assert torch.equal(single.std, torch.zeros_like(single.std))


def test_distribution_blocks_come_from_as_many_images_as_there_are(tmp_path):
    train = prepare_data(load_config(write_masks_run(tmp_path))).train
    # One block of each image has the fraction 1; two blocks from two images cannot both be of one image.
    first = train.blocks[0].image
    masks = [np.full_like(mask, index == first) for index, mask in enumerate(train.masks)]
    one_label = replace(train, masks=masks, labels=np.zeros(len(train), np.int64), label_names=["any"])
    drawn = [draw_annotated(one_label, 3, seed) for seed in range(5)]
    means = [estimate_distribution(one_label, chosen).mean[0, 1].item() for chosen in drawn]
    assert means == pytest.approx([1 / 3] * 5)


def test_stained_image_is_two_classes():
    image, mask = stained_image()
    assert image.shape == (512, 512, 3)
    assert set(np.unique(mask)) == {0, 1}
    # Stained pixels are brown: red well above blue.
    assert np.mean(image[mask == 1][:, 0].astype(int) - image[mask == 1][:, 2]) > 40


def test_labelled_images_take_names_from_the_distribution(tmp_path):
    data = prepare_data(load_config(write_labels_run(tmp_path)))
    assert (len(data.train), len(data.test)) == (6, 2)
    assert data.train.masks is None
    assert data.train.label_names == ["low", "high"]
    assert data.train.classes == ["ground", "disc"]


def test_distribution_from_fractions_by_eye(tmp_path):
    rows = ["label,class,fraction", "low,ground,0.9", "low,disc,0.1", "high,ground,0.4", "high,disc,0.6"]
    (tmp_path / "seen.csv").write_text("\n".join(rows))
    path = write_labels_run(tmp_path, data={"distribution": "seen.csv"})
    with pytest.raises(ValueError, match="labels are numbers, .* write the names low, high"):
        prepare_data(load_config(path))
    named = (tmp_path / "labels.csv").read_text().replace(",0", ",low").replace(",1", ",high")
    (tmp_path / "labels.csv").write_text(named)
    assert prepare_data(load_config(path)).distribution.mean[1, 1] == 0.6


def test_labels_are_bound_by_name_whatever_the_order_of_the_table(tmp_path):
    rows = ["label,class,fraction", "1,ground,0.4", "1,disc,0.6", "0,ground,0.9", "0,disc,0.1"]
    (tmp_path / "seen.csv").write_text("\n".join(rows))
    data = prepare_data(load_config(write_labels_run(tmp_path, data={"distribution": "seen.csv"})))
    for block, label in zip(data.train.blocks, data.train.labels, strict=True):
        number = int(data.train.names[block.image][4:5])  # odd images are of label 1
        assert data.distribution.labels[label] == str(number % 2)
        assert data.distribution.mean[label, 1] == (0.6 if number % 2 else 0.1)
    lines = describe_labels(data)
    assert lines[0] == "label 0 '1', 4 training blocks: ground 0.4 ± 0, disc 0.6 ± 0"


def write_numbers(folder, std=True):
    rows = ["image,fraction,std,split" if std else "image,fraction"]
    for index in range(8):
        fraction = "" if index == 7 else f"{0.1 * index:.2f}"
        split = "test" if index % 4 == 3 else "train"
        rows.append(f"disc{index}.png,{fraction}" + (f",0.05,{split}" if std else ""))
    (folder / "labels.csv").write_text("\n".join(rows))


def test_labels_that_are_numbers_are_binned_and_carried(tmp_path):
    path = write_labels_run(tmp_path)
    write_numbers(tmp_path)
    content = yaml.safe_load(path.read_text())
    del content["data"]["distribution"]
    content["data"] |= {"edges": [0.25], "classes": ["ground", "disc"]}
    path.write_text(yaml.safe_dump(content))
    data = prepare_data(load_config(path))
    # Images 0, 1, 2, 4, 5 and 6 are trained on; their fractions are 0.0, 0.1, 0.2 and 0.4, 0.5, 0.6.
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [1, -1]
    assert data.distribution.labels == ("0-0.25", "0.25-1")
    np.testing.assert_allclose(data.distribution.mean[:, 1], [0.1, 0.5], atol=1e-6)
    np.testing.assert_allclose(data.distribution.std[:, 1], np.std([0.0, 0.1, 0.2]), atol=1e-6)
    item = data.train.dataset(augment=False)[1]
    np.testing.assert_allclose(item["fraction"], [0.9, 0.1], atol=1e-6)
    np.testing.assert_allclose(item["fraction_std"], [0.05, 0.05], atol=1e-6)
    content["data"].pop("edges")
    content["data"]["distribution"] = "distribution.json"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"labels are numbers alone; give data\.edges or data\.bins"):
        prepare_data(load_config(path))


def test_masks_of_held_out_images_are_for_scoring_alone(tmp_path):
    (tmp_path / "truth").mkdir()
    for index in range(8):
        Image.fromarray(draw_disc(8)[1]).save(tmp_path / "truth" / f"disc{index}.png")
    data = prepare_data(load_config(write_labels_run(tmp_path, data={"masks": "truth"})))
    assert data.train.masks is None
    held_out = data.test.blocks[0].image
    assert data.test.masks[held_out].sum() == draw_disc(8)[1].sum()


def write_truth(folder, draw):
    folder.mkdir()
    for index in range(8):
        Image.fromarray(draw(draw_disc(6 + 9 * (index % 2) + index / 4)[1])).save(folder / f"disc{index}.png")


def test_mask_ids_are_bound_to_classes_by_name(tmp_path):
    write_truth(tmp_path / "truth", lambda disc: 1 - disc)
    data = {"masks": "truth", "mask_classes": ["disc", "ground"]}
    found = prepare_data(load_config(write_labels_run(tmp_path, data=data))).test
    discs = [draw_disc(6 + 9 * (k % 2) + k / 4)[1] for k in range(8)]
    for block in found.blocks:
        np.testing.assert_array_equal(found.masks[block.image], discs[int(found.names[block.image][4])])
    with pytest.raises(ValueError, match="mask_classes names the ids of masks: give masks too"):
        load_config(write_labels_run(tmp_path, data=data | {"masks": None}))
    for wrong, message in (
        (["disc", "tumour"], r"expected classes among \['ground', 'disc'\], got 'tumour'"),
        (["disc", "disc"], "expected each class once"),
        (["disc"], r"expected class ids in \[0, 1\), got 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare_data(load_config(write_labels_run(tmp_path, data=data | {"mask_classes": wrong})))


@pytest.mark.parametrize("inverted", [False, True])
def test_masks_in_another_order_than_the_labels_are_told_of(tmp_path, caplog, inverted):
    write_truth(tmp_path / "truth", lambda disc: 1 - disc if inverted else disc)
    data = prepare_data(load_config(write_labels_run(tmp_path, data={"masks": "truth"})))
    warn_of_other_order(data)
    assert ("'ground' as 'disc', 'disc' as 'ground'; see data.mask_classes" in caplog.text) is inverted


@pytest.mark.parametrize("key", ["labels", "distribution", "images"])
def test_missing_files_are_named(tmp_path, key):
    path = write_labels_run(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["data"][key] = "absent.json"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(FileNotFoundError, match="absent"):
        prepare_data(load_config(path))


def images_of(blocks):
    return {block.image for block in blocks}


def test_validation_images_are_on_neither_other_side(tmp_path):
    path = write_masks_run(tmp_path, data={"test_fraction": 0.4, "validation_fraction": 0.2})
    scored = {part: prepare_data(load_config(path, {"evaluation.split": part})) for part in ("test", "validation")}
    test, validation = (images_of(scored[part].test.blocks) for part in ("test", "validation"))
    assert (len(test), len(validation)) == (2, 1)
    for data in scored.values():
        assert images_of(data.train.blocks) == set(range(5)) - test - validation
    # The same training blocks with the same labels, whichever part is scored.
    assert np.array_equal(scored["test"].train.labels, scored["validation"].train.labels)


def test_the_split_may_stay_as_it_is_for_all_seeds(tmp_path):
    path = write_masks_run(tmp_path)
    drawn = {tuple(images_of(prepare_data(load_config(path, {"seed": s})).test.blocks)) for s in range(6)}
    fixed = {
        tuple(images_of(prepare_data(load_config(path, {"seed": s, "data.split_seed": 1})).test.blocks))
        for s in range(6)
    }
    assert len(drawn) > 1
    assert len(fixed) == 1


def test_images_of_a_patient_stay_together(tmp_path):
    path = write_masks_run(tmp_path)
    for index in range(5):
        for suffix in ("", "_mask"):
            image = tmp_path / f"disc{index}{suffix}.png"
            image.rename(tmp_path / f"p{index % 2}-disc{index}{suffix}.png")
    data = prepare_data(load_config(path, {"data.patient": r"p\d", "data.test_fraction": 0.5}))
    patients = [{data.train.names[i][:2] for i in images_of(side.blocks)} for side in (data.train, data.test)]
    assert sorted(map(len, patients)) == [1, 1]
    assert patients[0] != patients[1]
    with pytest.raises(ValueError, match="'q' is nowhere in the name 'p0-disc0.png'"):
        prepare_data(load_config(path, {"data.patient": "q"}))


def test_patients_of_the_labels_table_stay_together(tmp_path):
    path = write_labels_run(tmp_path, data={"test_fraction": 0.5})
    rows = [f"disc{index}.png,{index % 2},p{index // 2}" for index in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,patient", *rows]))
    for seed in range(4):
        data = prepare_data(load_config(path, {"seed": seed}))
        train, test = (
            {int(side.names[i][4]) // 2 for i in images_of(side.blocks)} for side in (data.train, data.test)
        )
        assert len(train) == len(test) == 2 and not train & test
    splits = [f"disc{index}.png,{'train' if index % 2 else 'test'}" for index in range(8)]
    (tmp_path / "splits.csv").write_text("\n".join(["image,split", *splits]))
    with pytest.raises(
        ValueError, match="patient 'p0' is in two splits: 'disc0.png' in test, 'disc1.png' in train"
    ):
        prepare_data(load_config(path, {"data.splits": "splits.csv"}))


def test_simulated_fields_have_labels_per_class_and_dots(tmp_path):
    data = {"source": "simulated", "count": 40, "field_px": 64, "block_size_px": 64, "high_share": 0.2}
    content = {"output": "run", "data": data | {"noise_std": 0.001, "cells": True, "stains": "multiplex"}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    prepared = prepare_data(load_config(tmp_path / "run.yaml"))
    fields = simulate_fields(40, 64, 0)
    assert prepared.train.classes == list(fields[0].classes)
    assert (len(prepared.train), len(prepared.test)) == (28, 12)
    assert prepared.train.labels.shape == (28, 6)
    assert (prepared.train.labels[:, 0] == -1).all()
    assert prepared.train.labels[:, 1:].sum(0).tolist() == pytest.approx([5.6] * 5, abs=1)
    assert prepared.stains.classes == tuple(fields[0].classes[1:])
    for image, dots in prepared.dots["truth"].items():
        assert len(dots) == len(fields[image].dots)


def test_every_pixel_of_land_cover_has_a_label():
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    data = prepare_data(load_config(EXAMPLES / "land_cover.yaml"))
    maps = low_resolution_maps(data)
    truth = np.stack([block.cut(data.test.masks[block.image]) for block in data.test.blocks])
    assert (maps == truth).mean() == pytest.approx(0.83176, abs=1e-5)  # of the eight patches, by their own arrays
    assert len(data.train.patches) == 8
    assert (data.train.channels, data.train.block_images([0])[0].shape[2]) == (4, 4)


def test_painted_masks_give_cells_of_two_kinds():
    if not SHARED.is_dir():
        pytest.skip("needs ../shared")
    data = prepare_data(load_config(EXAMPLES / "ki67.yaml", {"data.downscale": 1}))
    counts = {
        Path(data.test.names[image]).stem: [int((dots.classes == name).sum()) for name in ("positive", "negative")]
        for image, dots in data.dots["truth"].items()
    }
    published = {"22_2": [10, 130], "34_3": [22, 79], "6_2": [22, 24], "799_2": [1, 63]}
    assert counts == {name: published[name] for name in counts}
    assert len(counts) == 2


def test_cells_have_the_classes_of_their_tables(tmp_path):
    # Cells of 4 x 4 pixels, ids 1 to 100 in rows, of which every fourth is an "a" and every fifth a "b".
    cells = np.kron(np.arange(1, 101).reshape(10, 10), np.ones((4, 4), np.uint8))
    for name in ("disc0", "disc1", "disc2", "disc3", "disc4"):
        rows = [f"{i},{'a' if i % 4 == 0 else 'b' if i % 5 == 0 else 'other'}" for i in range(1, 101)]
        (tmp_path / f"{name}_cells.csv").write_text("\n".join(["cell_id,kind", *rows]))
    given = {"cells_suffix": "_cells", "cell_class_column": "kind", "classes": ["ground", "a", "b"]}
    given |= {
        "bins": None,
        "high_share": 0.5,
        "noise_std": 0.05,
        "cells": True,
        "downscale": 2,
        "block_size_px": 5,
    }
    path = write_masks_run(tmp_path, data=given)
    for mask in tmp_path.glob("*_mask.png"):
        Image.fromarray(cells.astype(np.uint8)).save(mask)
    data = prepare_data(load_config(path))
    expected = np.array([[1 if i % 4 == 0 else 2 if i % 5 == 0 else 0 for i in range(1, 101)]]).reshape(10, 10)
    for mask in data.test.masks:
        np.testing.assert_array_equal(mask[::2, ::2], expected)
    dots = next(iter(data.dots["truth"].values()))
    # Cell 4 is of columns 12 to 15 at full size, so its centre is at (14, 2) there, and at (7, 1) at half.
    assert sorted(zip(dots.rows.tolist(), dots.classes.tolist(), dots.xy.tolist(), strict=True))[:2] == [
        (4, "a", [7.0, 1.0]),
        (5, "b", [9.0, 1.0]),
    ]
    assert len(dots) == 25 + 15

    (tmp_path / "disc3_cells.csv").write_text("cell_id,kind\n101,a")
    with pytest.raises(ValueError, match=r"disc3_cells\.csv: none of its 1 cells is in the mask of disc3\.png"):
        prepare_data(load_config(path))
    (tmp_path / "disc3_cells.csv").write_text("cell_id,kind\n1,a")
    with pytest.raises(ValueError, match=r"no cell is of the class 'B', the tables have \['a', 'b', 'other'\]"):
        prepare_data(load_config(path, {"data.classes": ["ground", "a", "B"]}))


def test_tables_of_cells_need_masks_of_cells(tmp_path):
    with pytest.raises(ValueError, match="cells_suffix needs masks of cell ids"):
        load_config(write_masks_run(tmp_path, data={"cells_suffix": "_cells", "instance_masks": False}))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_phenotypes_are_where_the_table_says():
    data = prepare_data(load_config(EXAMPLES / "phenotypes.yaml"))
    (table,) = (SHARED / "mif_lung_akoya").glob("*_cells.csv")
    with table.open() as file:
        places = {
            int(row["cell_id"]): (float(row["x_um"]), float(row["y_um"]), row["phenotype"])
            for row in csv.DictReader(file)
        }
    (dots,) = data.dots["truth"].values()
    assert len(dots) == sum(kind != "other" for _, _, kind in places.values())
    expected = [places[row] for row in dots.rows.tolist()]
    assert dots.classes.tolist() == [kind for _, _, kind in expected]
    # The table is in um, and a pixel is 1 um here.
    off_px = np.linalg.norm(dots.xy - [(x, y) for x, y, _ in expected], axis=1)
    assert np.median(off_px) < 1.5
    assert np.quantile(off_px, 0.99) < 5
