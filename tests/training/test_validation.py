"""Validation while training: scores, the best weights, the early stop, and splits that are fixed."""

import numpy as np
import pytest
import torch
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext import CountDistribution
from lsr_ext.config import load_config
from lsr_ext.data import block_fractions
from lsr_ext.metrics import overlap_scores
from lsr_ext.report.curves import read_curves
from lsr_ext.sources import prepare_data
from lsr_ext.training import SegmentationModule, train
from lsr_ext.training.validation import ValidationScores, in_batches, validation_order

VALIDATED = {"data": {"validation_fraction": 0.2}, "training": {"steps": 8, "validate_every_steps": 2}}


def configure(folder, output="run", **training):
    sections = VALIDATED | {"training": VALIDATED["training"] | training}
    return load_config(write_masks_run(folder, **sections), {"output": folder / output})


def checkpoint(config, name="last.ckpt", method="intra+inter"):
    return torch.load(config.output / method / name, weights_only=True)


def test_scores_are_those_of_all_blocks_at_once():
    rng = np.random.default_rng(0)
    distribution = CountDistribution([[0.9, 0.1], [0.4, 0.6]], [[0.1, 0.1]] * 2, ["low", "high"])
    logits = torch.from_numpy(rng.normal(size=(6, 2, 5, 5)))
    labels, masks = torch.tensor([0, 0, 1, 1, 1, -1]), torch.from_numpy(rng.integers(0, 2, (6, 5, 5)))
    scores = ValidationScores(distribution)
    for batch in (slice(0, 4), slice(4, 6)):
        scores.add(logits[batch], labels[batch], masks[batch])
        scores.add_loss(torch.tensor(float(batch.stop)), batch.stop - batch.start)
    fractions = logits.softmax(1).mean((2, 3)).numpy()
    found = scores.results()
    low = np.abs(fractions[:2].mean(0) - [0.9, 0.1]).mean()
    high = np.abs(fractions[2:5].mean(0) - [0.4, 0.6]).mean()
    assert found["fraction_error/low"] == pytest.approx(low)
    assert found["fraction_error"] == pytest.approx((low + high) / 2)
    assert found["loss"] == pytest.approx((4 * 4 + 2 * 6) / 6)
    assert found["iou"] == pytest.approx(overlap_scores(logits.argmax(1).numpy(), masks.numpy(), 2).iou[1])


def test_blocks_to_validate_on_are_drawn_once_and_sorted_by_label():
    labels = np.random.default_rng(0).integers(-1, 3, 50)
    order = validation_order(labels, 50, 20, seed=1)
    assert len(set(order.tolist())) == 20
    assert (np.diff(labels[order]) >= 0).all()
    np.testing.assert_array_equal(order, validation_order(labels, 50, 20, seed=1))
    assert [len(batch) for batch in in_batches(order, 8)] == [8, 8, 4]
    assert len(validation_order(None, 5, 20, seed=1)) == 5


def test_validation_is_logged_and_leaves_the_weights_as_they_are(tmp_path):
    plain = load_config(write_masks_run(tmp_path, data={"validation_fraction": 0.2}, training={"steps": 8}))
    train(plain)
    validated = configure(tmp_path, "validated")
    train(validated)
    first, second = checkpoint(plain)["state_dict"], checkpoint(validated)["state_dict"]
    assert all(torch.equal(first[name], second[name]) for name in first)
    curves = read_curves(validated.output / "intra+inter")
    assert {"validation/loss", "validation/iou", "validation/fraction_error"} <= curves.keys()
    assert len(curves["validation/loss"]) == 4


def test_the_rhythm_is_of_steps_and_not_of_the_batches_that_they_add_up(tmp_path):
    training = VALIDATED["training"] | {"steps": 4, "accumulate_batches": 2}
    config = load_config(write_masks_run(tmp_path, methods=["intra"], **VALIDATED | {"training": training}))
    train(config)
    assert read_curves(config.output / "intra")["validation/loss"][:, 0].tolist() == [1, 3]


def test_validation_by_numbers_has_the_numbers_of_held_out_blocks(tmp_path):
    numbers = {"data": {"validation_fraction": 0.2}, "loss": {"targets": "fractions", "std": 0.05}}
    training = VALIDATED["training"] | {"steps": 2}
    config = load_config(write_masks_run(tmp_path, training=training, **numbers))
    held_out = prepare_data(config).validation
    exact = block_fractions(held_out.masks, held_out.blocks, 2)
    np.testing.assert_allclose(held_out.targets.fractions, exact, atol=1e-6)
    train(config)
    assert np.isfinite(read_curves(config.output / "intra+inter")["validation/loss"][:, 1]).all()


def test_the_best_weights_are_kept(tmp_path):
    config = configure(tmp_path, keep="best", monitor="loss", optimizer={"name": "SGD", "params": {"lr": 0.5}})
    train(config)
    curve = read_curves(config.output / "intra+inter")["validation/loss"]
    best = checkpoint(config, "best.ckpt")
    assert best["global_step"] == int(curve[curve[:, 1].argmin(), 0]) + 1
    weights = torch.load(config.output / "intra+inter/best.ckpt", weights_only=True)["state_dict"]
    from safetensors.torch import load_file

    kept = load_file(config.output / "intra+inter/model/weights.safetensors")
    assert all(torch.equal(weights[f"network.{name}"], tensor) for name, tensor in kept.items())


def test_a_training_that_gets_no_better_stops_and_is_not_resumed(tmp_path, caplog):
    optimizer = {"name": "SGD", "params": {"lr": 0.0}}
    config = configure(tmp_path, patience=2, optimizer=optimizer)
    train(config)
    assert checkpoint(config)["global_step"] == 6  # one validation sets the mark, two are not better
    with caplog.at_level("INFO"):
        train(config)
    assert "already trained" in caplog.text


@pytest.mark.parametrize("fails_at", [3, 4, 5])
def test_a_cut_run_ends_with_the_same_best_weights(tmp_path, monkeypatch, fails_at):
    settings = {"keep": "best", "monitor": "loss", "patience": 3}
    uncut, cut = (configure(tmp_path, name, **settings) for name in ("uncut", "cut"))
    train(uncut)
    original = SegmentationModule.training_step

    def fails(self, batch, batch_idx):
        if self.global_step == fails_at:
            raise RuntimeError("power cut")
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", fails)
        with pytest.raises(RuntimeError, match="power cut"):
            train(cut)
    assert checkpoint(cut)["global_step"] == fails_at // 2 * 2
    train(cut)
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (checkpoint(config, name) for config in (uncut, cut))
        assert first["global_step"] == second["global_step"]
        assert all(torch.equal(first["state_dict"][key], second["state_dict"][key]) for key in first["state_dict"])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"training": {"keep": "best"}}, "keep: best needs validate_every_steps"),
        ({"training": {"patience": 2}}, "patience needs validate_every_steps"),
        ({"training": {"validate_every_steps": 2}}, "needs a validation split"),
        ({"training": {"validate_every_steps": 5}}, "expected at most the 4 steps, got 5"),
    ],
)
def test_validation_needs_blocks_and_a_rhythm(tmp_path, sections, message):
    with pytest.raises(ValueError, match=message):
        load_config(write_masks_run(tmp_path, **sections))


def test_the_best_iou_needs_masks(tmp_path):
    training = {"validate_every_steps": 2, "keep": "best", "monitor": "iou"}
    path = write_labels_run(tmp_path, data={"validation_fraction": 0.25}, training=training)
    with pytest.raises(ValueError, match="monitor: iou needs pixel truth of the validation blocks"):
        train(load_config(path))


def write_splits(path, rows):
    path.write_text("\n".join(["image,split,patient", *rows]) + "\n")


def test_a_file_fixes_the_splits(tmp_path):
    config = load_config(write_masks_run(tmp_path, data={"splits": "splits.csv"}))
    splits = ["train", "test", "validation", "train", "test"]
    write_splits(tmp_path / "splits.csv", [f"disc{i}.png,{split},p{i}" for i, split in enumerate(splits)])
    data = prepare_data(config)
    assert {data.train.names[block.image] for block in data.train.blocks} == {"disc0.png", "disc3.png"}
    assert {data.test.names[block.image] for block in data.test.blocks} == {"disc1.png", "disc4.png"}
    validating = load_config(tmp_path / "run.yaml", {"training.validate_every_steps": 2})
    validation = prepare_data(validating).validation
    assert {validation.names[block.image] for block in validation.blocks} == {"disc2.png"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["disc0.png,train,a"], "no split for 4 images: 'disc1.png'"),
        (
            [f"disc{i}.png,{'test' if i else 'train'},a" for i in range(5)],
            "patient 'a' is in two splits: 'disc0.png'",
        ),
        (["disc0.png,training,a"], "row 2: expected a split of train, validation, test, got 'training'"),
        (["disc0.png,train,a", "disc0.png,train,a"], "row 3: image 'disc0.png' occurs a second time"),
    ],
)
def test_faulty_splits_are_refused(tmp_path, rows, message):
    config = load_config(write_masks_run(tmp_path, data={"splits": "splits.csv"}))
    write_splits(tmp_path / "splits.csv", rows)
    with pytest.raises(ValueError, match=message):
        prepare_data(config)


def test_folders_fix_the_splits(tmp_path):
    config_path = write_labels_run(tmp_path)
    for name, folder in (("disc0", "train"), ("disc1", "train"), ("disc2", "val"), ("disc3", "test")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / f"{name}.png").rename(tmp_path / folder / f"{name}.png")
    rows = ["image,label", "train/disc0.png,0", "train/disc1.png,1", "val/disc2.png,0", "test/disc3.png,1"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    folders = {"train": "train", "validation": "val", "test": "test"}
    data = prepare_data(load_config(config_path, {"data.split_folders": folders}))
    assert [data.train.names[block.image] for block in data.train.blocks] == ["train/disc0.png", "train/disc1.png"]
    with pytest.raises(ValueError, match="the image 'val/disc2.png' is in none of train: train, test: test"):
        prepare_data(load_config(config_path, {"data.split_folders": {"train": "train", "test": "test"}}))
