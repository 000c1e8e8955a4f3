from dataclasses import replace

import lightning
import numpy as np
import pytest
import torch
from tiny_runs import write_masks_run
from torch import nn

from lsr_ext import CountDistribution, FractionLoss, LabelSuperResolutionLoss
from lsr_ext.config import METHODS, LossConfig, load_config
from lsr_ext.data import Targets
from lsr_ext.distributions import binomial_std
from lsr_ext.sources import prepare_data
from lsr_ext.training import SegmentationModule, train
from lsr_ext.training.block_loss import build_block_loss, labels_to_draw
from lsr_ext.training.build import build_batches, build_module
from lsr_ext.training.folders import model_folder

BY_NUMBERS = {"targets": "fractions", "std": 0.05}


class _Trainer:
    global_rank, world_size = 0, 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    config = load_config(write_masks_run(tmp_path_factory.mktemp("run")))
    return config, prepare_data(config)


def first_batch(config, data, method):
    batches = build_batches(METHODS[method], data.train, config.training, 0, config.output)
    batches.trainer = _Trainer()
    return next(iter(batches.train_dataloader()))


def module_of(loss, data):
    return SegmentationModule(nn.Conv2d(3, len(data.train.classes), 1), data.distribution, loss, torch.optim.SGD)


@pytest.mark.parametrize("method", ["intra", "intra+inter"])
@pytest.mark.parametrize("given", [{"std": 0.05}, {"std": [0.05, 0.1]}, {"count": 40}])
def test_numbers_are_the_targets(prepared, method, given):
    config, data = prepared
    loss = build_block_loss(METHODS[method].mode, LossConfig(targets="fractions", **given), data)
    batch = first_batch(config, data, method)
    logits = torch.randn(4, 2, 20, 20)
    found = module_of(loss, data)._super_resolution_loss(logits, batch)
    known = torch.from_numpy(data.train.targets.fractions)[batch["index"]]
    std = binomial_std(known, 40) if "count" in given else torch.tensor(given["std"]).expand(known.shape)
    expected = FractionLoss(METHODS[method].mode, variance=16.0)(logits, known, std, group=batch.get("group"))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("given", [{"std": 0.05}, {"count": 40}])
def test_a_step_reads_no_value_of_the_targets(prepared, given):
    """So that it never waits for a GPU: tensors on "meta" have no values."""
    _, data = prepared
    loss = build_block_loss("intra+inter", LossConfig(targets="fractions", **given), data).to("meta")
    logits, known = torch.empty(4, 2, 20, 20, device="meta"), torch.empty(4, 2, device="meta")
    group = torch.empty(4, dtype=torch.int64, device="meta")
    assert loss(logits, known, known, group=group).device.type == "meta"


@pytest.mark.parametrize("options", [{"form": "squared"}, {"form": "proportion"}, {"form": "size", "std": 0.1}])
def test_unknown_spreads_of_the_blocks_leave_no_fraction_out(prepared, options):
    """Those of the blocks are NaN here, with which the loss would be 0 without a word."""
    config, data = prepared
    batch, logits = first_batch(config, data, "intra"), torch.randn(4, 2, 20, 20)
    assert batch["fraction_std"].isnan().all()
    loss = FractionLoss("intra", **options)
    found = module_of(loss, data)._super_resolution_loss(logits, batch)
    assert found > 0
    torch.testing.assert_close(found, loss(logits, batch["fraction"]))


def test_numbers_equal_to_the_labels_means_give_the_loss_of_the_labels(prepared):
    config, data = prepared
    wide = CountDistribution(data.distribution.mean, torch.full_like(data.distribution.std, 0.05))
    known = wide.mean.numpy()[data.train.labels]
    data = replace(data, train=replace(data.train, targets=Targets.of_fractions(known)), distribution=wide)
    batch = first_batch(config, data, "intra+inter")
    logits = torch.randn(4, 2, 20, 20)
    by_labels, by_numbers = (
        module_of(build_block_loss("intra+inter", LossConfig(**options), data), data)
        for options in ({}, BY_NUMBERS)
    )
    torch.testing.assert_close(
        by_numbers._super_resolution_loss(logits, batch), by_labels._super_resolution_loss(logits, batch)
    )


@pytest.mark.parametrize("method", ["intra", "intra+inter"])
def test_blocks_with_a_number_and_no_label_are_drawn_by_numbers_alone(prepared, method):
    config, data = prepared
    labels = np.where(np.arange(12) % 3 == 0, -1, data.train.labels)
    fractions = np.where(np.arange(12)[:, None] == 6, np.nan, data.train.targets.fractions)
    blocks = replace(data.train, labels=labels, targets=Targets.of_fractions(fractions))
    drawn = {}
    for by_numbers in (False, True):
        training = config.training.model_copy(update={"steps": 40})
        batches = build_batches(METHODS[method], blocks, training, 0, config.output, by_numbers=by_numbers)
        batches.trainer = _Trainer()
        drawn[by_numbers] = list(batches.train_dataloader())
    unlabelled = {
        way: {int(k) for batch in found for k in batch["index"] if labels[k] < 0} for way, found in drawn.items()
    }
    assert unlabelled == {False: set(), True: {0, 3, 9}}
    for batch in drawn[True]:
        groups = batch["label"].reshape(2, 2)
        assert method == "intra" or bool((groups[:, 0] == groups[:, 1]).all())
        assert not (batch["label"] >= 2).any()  # the label that they are drawn by is not theirs


def test_labels_of_classes_to_draw_by():
    labels = np.array([[-1, 0], [-1, -1], [-1, -1]])
    targets = Targets.of_fractions(np.array([[0.5, 0.5], [np.nan, 0.2], [np.nan, np.nan]]))
    assert labels_to_draw(labels, targets).tolist() == [[-1, 0], [-1, 1], [-1, -1]]


def test_blocks_without_a_number_are_counted(prepared, caplog):
    _, data = prepared
    fractions = np.where(np.arange(12)[:, None] < 5, np.nan, data.train.targets.fractions)
    some = replace(data, train=replace(data.train, targets=Targets.of_fractions(fractions)))
    for known, expected in ((data, []), (some, ["5 of 12 training blocks have no number: they teach nothing"])):
        caplog.clear()
        build_block_loss("intra", LossConfig(**BY_NUMBERS), known)
        assert caplog.messages == expected


def test_what_another_methods_loss_does_not_have_is_named(prepared, caplog):
    _, data = prepared
    build_block_loss("intra", LossConfig(form="implicit_posterior"), data)
    assert not caplog.messages
    build_block_loss("intra", LossConfig(form="implicit_posterior", sharpness=0.1, class_weights=[1, 2]), data)
    assert caplog.messages == [
        "loss.class_weights, loss.sharpness: the form 'implicit_posterior' does not have it"
    ]


def test_labels_per_class_make_the_groups_of_numbers(prepared):
    _, data = prepared
    labels = torch.tensor([[-1, 0], [-1, 1], [-1, 1], [-1, 0]])
    fractions = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [1.0, 0.0]])
    loss = build_block_loss("inter", LossConfig(**BY_NUMBERS), data)
    logits = torch.randn(4, 2, 20, 20)
    found = module_of(loss, data)._super_resolution_loss(
        logits, {"label": labels, "fraction": fractions, "fraction_std": fractions}
    )
    for backend in ("fused", "reference"):
        expected = FractionLoss("inter", variance=16.0, std=0.05, backend=backend)(logits, fractions, group=labels)
        torch.testing.assert_close(found, expected)


def test_it_is_the_loss_by_labels_otherwise(prepared):
    _, data = prepared
    loss = build_block_loss("intra", LossConfig(form="kl", class_weights=[1.0, 2.0]), data)
    assert isinstance(loss, LabelSuperResolutionLoss)
    assert (loss.options.form, loss.options.variance, loss.class_weights.tolist()) == ("kl", 16.0, [1.0, 2.0])


def test_blocks_without_numbers_and_lists_of_another_length_are_refused(prepared):
    _, data = prepared
    bare = replace(data, train=replace(data.train, targets=None))
    with pytest.raises(ValueError, match=r"loss\.targets: 'fractions' need numbers of each block"):
        build_block_loss("intra", LossConfig(**BY_NUMBERS), bare)
    for name in ("std", "class_weights"):
        options = BY_NUMBERS | {name: [0.1, 0.1, 0.1]}
        with pytest.raises(ValueError, match=rf"loss\.{name}: expected 2 numbers, one a class, got 3"):
            build_block_loss("intra", LossConfig(**options), data)


def test_a_network_is_trained_by_numbers(tmp_path):
    config = load_config(write_masks_run(tmp_path, loss=BY_NUMBERS, methods=["intra", "intra+inter"]))
    train(config)
    assert all((model_folder(config.output, name) / "model.json").is_file() for name in config.methods)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "bf16-true"])
def test_targets_keep_their_digits_in_any_precision(tmp_path, monkeypatch, precision):
    training = {"steps": 1, "precision": precision}
    config = load_config(write_masks_run(tmp_path, loss=BY_NUMBERS, methods=["intra"], training=training))
    seen = []
    forward = FractionLoss.forward
    monkeypatch.setattr(
        FractionLoss,
        "forward",
        lambda self, logits, fractions, *rest, **more: (
            seen.append((logits.dtype, fractions.clone())) or forward(self, logits, fractions, *rest, **more)
        ),
    )
    train(config)
    known = prepare_data(config).train.targets.fractions
    [(dtype, fractions)] = seen
    assert dtype == (torch.float32 if precision == "32" else torch.bfloat16)
    assert fractions.dtype == torch.float32
    assert all(any(np.array_equal(row, other) for other in known) for row in fractions.numpy())


def test_targets_that_a_trainer_rounded_are_refused(prepared):
    config, data = prepared
    training, method = config.training, METHODS["intra"]
    module = build_module(method, data, training, LossConfig(**BY_NUMBERS), config.joint, 0)
    batches = build_batches(method, data.train, training, 0, config.output)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(accelerator="cpu", precision="bf16-true", max_steps=1, **quiet)
    with pytest.raises(ValueError, match="fractions in float32, got torch.bfloat16: .* precision 32-true"):
        trainer.fit(module, datamodule=batches)


def test_known_fractions_out_of_range_are_refused(prepared):
    _, data = prepared
    wrong = np.full((len(data.train), 2), 0.5)
    wrong[3, 1] = 1.2
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\] or be NaN, got 1.2 for block 3, class 1"):
        replace(data.train, targets=Targets.of_fractions(wrong))
    with pytest.raises(ValueError, match=r"expected fractions \(12, 2\), got \(12, 1\)"):
        replace(data.train, targets=Targets.of_fractions(wrong[:, :1]))


def test_the_source_own_standard_deviations(prepared):
    config, data = prepared
    by_own = LossConfig(targets="fractions")
    with pytest.raises(
        ValueError, match=r"loss\.std or loss\.count: 24 of the source's fractions have no standard"
    ):
        build_block_loss("intra", by_own, data)
    targets = data.train.targets._replace(std=np.full((12, 2), 0.07, np.float32))
    data = replace(data, train=replace(data.train, targets=targets))
    batch, logits = first_batch(config, data, "intra"), torch.randn(4, 2, 20, 20)
    found, expected = (
        module_of(build_block_loss("intra", loss, data), data)._super_resolution_loss(logits, batch)
        for loss in (by_own, LossConfig(targets="fractions", std=0.07))
    )
    torch.testing.assert_close(found, expected)
