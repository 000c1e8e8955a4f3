from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from tiny_runs import write_masks_run
from torch import nn

from lsr_ext import CountDistribution, LabelSuperResolutionLoss
from lsr_ext.config import METHODS, load_config
from lsr_ext.data import BlockDataset
from lsr_ext.sources import prepare_data
from lsr_ext.training import BlockDataModule, SegmentationModule
from lsr_ext.training.build import build_batches
from lsr_ext.training.module import fraction_errors
from lsr_ext.training.pixel_labels import blocks_for

DISTRIBUTION = CountDistribution([[0.9, 0.1], [0.4, 0.6]], [[0.1, 0.1], [0.1, 0.1]])


def module(**options):
    loss = LabelSuperResolutionLoss(DISTRIBUTION, mode="intra+inter")
    return SegmentationModule(nn.Conv2d(3, 2, 1), DISTRIBUTION, loss, torch.optim.SGD, **options)


def test_groups_are_those_of_the_batch_and_without_any_those_of_the_labels():
    images, labels, group = torch.rand(4, 3, 8, 8), torch.tensor([1, 1, 1, 1]), torch.tensor([0, 0, 1, 1])
    model = module()
    in_pairs, together = (model.loss(model(images), labels, ids) for ids in (group, None))
    assert model._loss(model(images), {"label": labels, "group": group}) == in_pairs != together
    assert model._loss(model(images), {"label": labels}) == together


class Recorder(nn.Conv2d):
    """A network that keeps the images it is shown."""

    def __init__(self):
        super().__init__(3, 2, 1)
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return super().forward(images)


def test_colours_vary_in_training(tmp_path):
    lightning = pytest.importorskip("lightning")
    data = prepare_data(load_config(write_masks_run(tmp_path)))
    network, images = Recorder(), [np.full_like(image, 128) for image in data.train.images]
    blocks = BlockDataset(replace(data.train, images=images))
    loss = LabelSuperResolutionLoss(data.distribution)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    model = SegmentationModule(network, data.distribution, loss, optimizer, colour_jitter=0.1)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(model, datamodule=BlockDataModule(blocks, data.train.labels, 1, 4, 2))
    [trained] = network.seen
    colours = trained.flatten(2)
    assert (colours == colours[..., :1]).all() and colours[..., 0].unique().numel() == 12


def test_any_network_trains(tmp_path):
    lightning = pytest.importorskip("lightning")
    data = prepare_data(load_config(write_masks_run(tmp_path)))
    network = nn.Conv2d(3, 2, 3, padding=1)
    before = network.weight.detach().clone()
    loss = LabelSuperResolutionLoss(data.distribution)
    model = SegmentationModule(network, data.distribution, loss, lambda p: torch.optim.SGD(p, lr=0.1))
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(model, datamodule=BlockDataModule(BlockDataset(data.train), data.train.labels, 3, 4, 2))
    assert trainer.global_step == 3
    assert not torch.equal(network.weight, before)


def test_pixel_masks_stay_out_of_reach_of_block_label_training(tmp_path):
    config = load_config(write_masks_run(tmp_path))
    data = prepare_data(config)
    assert data.train.masks is not None

    def shown(name):
        blocks = blocks_for(METHODS[name], data, tmp_path, None, torch.device("cpu"))
        return build_batches(METHODS[name], blocks, config.training, config.seed, config.output).train_set

    for name in ("intra", "inter", "intra+inter"):
        assert shown(name).collection.masks is None
        assert "mask" not in shown(name)[0]
    assert "mask" in shown("supervised")[0]


def test_fraction_errors_are_per_known_label():
    fractions = torch.tensor([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]])
    errors = fraction_errors(fractions, torch.tensor([0, 0, -1]), DISTRIBUTION.mean.float())
    assert list(errors) == [0]
    torch.testing.assert_close(errors[0], torch.tensor(0.2))


def test_fraction_errors_with_labels_per_class():
    fractions = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    errors = fraction_errors(fractions, torch.tensor([[0, -1], [-1, 1]]), DISTRIBUTION.mean.float())
    torch.testing.assert_close(errors[0], torch.tensor(0.1))
    torch.testing.assert_close(errors[1], torch.tensor(0.2))
