from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_runs import draw_disc, write_labels_run, write_masks_run

from lsr_ext.training import load_config, prepare_data
from lsr_ext.training.labelling import draw_annotated, estimate_distribution
from lsr_ext.training.sources import stained_image


def test_masks_are_split_by_image_and_labelled_by_quantiles_of_the_training_side(tmp_path):
    data = prepare_data(load_config(write_masks_run(tmp_path)))
    images = [{block.image for block in side.blocks} for side in (data.train, data.test)]
    assert [len(side) for side in images] == [3, 2]
    assert not images[0] & images[1]
    assert np.bincount(data.train.labels).tolist() == [6, 6]
    assert data.distribution.classes == ("background", "foreground")
    assert data.distribution.mean[0, 1] < data.distribution.mean[1, 1]


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
    assert prepare_data(load_config(path)).distribution.mean[1, 1] == 0.6


def test_masks_of_held_out_images_are_for_scoring_alone(tmp_path):
    (tmp_path / "truth").mkdir()
    for index in range(8):
        Image.fromarray(draw_disc(8)[1]).save(tmp_path / "truth" / f"disc{index}.png")
    data = prepare_data(load_config(write_labels_run(tmp_path, data={"masks": "truth"})))
    assert data.train.masks is None
    held_out = data.test.blocks[0].image
    assert data.test.masks[held_out].sum() == draw_disc(8)[1].sum()


@pytest.mark.parametrize("key", ["labels", "distribution", "images"])
def test_missing_files_are_named(tmp_path, key):
    path = write_labels_run(tmp_path)
    content = yaml.safe_load(path.read_text())
    content["data"][key] = "absent.json"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(FileNotFoundError, match="absent"):
        prepare_data(load_config(path))
