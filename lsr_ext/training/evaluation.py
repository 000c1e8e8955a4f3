"""Predict held-out images with every trained method, and score the maps beside those of the baselines."""

from __future__ import annotations

import io
from pathlib import Path

import lightning
import numpy as np
import orjson
import torch
from torch.utils.data import DataLoader, Dataset

from lsr_ext.data import Block, BlockCollection
from lsr_ext.data.dataset import to_tensor
from lsr_ext.files import write_atomically
from lsr_ext.training.config import RunConfig
from lsr_ext.training.decoding import decode, fit_shift
from lsr_ext.training.low_resolution import expected_area, low_resolution_maps
from lsr_ext.training.module import SegmentationModule
from lsr_ext.training.prepared import PreparedData
from lsr_ext.training.regions import cut_regions, regions_of
from lsr_ext.training.run import CHECKPOINT_NAME, build_module, check_output, method_folder
from lsr_ext.training.scoring import score_maps, score_raters
from lsr_ext.training.sources import prepare_data
from lsr_ext.training.symmetries import SymmetricInferer
from lsr_ext.training.windows import WindowInferer

LOW_RESOLUTION, DECONVOLUTION, L2, INTER_RATER = "low_resolution", "deconvolution", "l2", "inter_rater"
_BLOCKS_TO_FIT, _PIXELS_TO_FIT = 200, 2**18


def evaluate(config: RunConfig) -> dict[str, dict]:
    """Score each trained method, the low-resolution map and what colour alone gives, into `<output>/metrics.json`.

    The maps of a method go to `<output>/<method>/prediction.npz`: `classes` uint8 (N, H, W), the class of
    every pixel of the held-out blocks, and `fractions` float32 (N, L), the mean probabilities.

    Returns:
        What the file holds: method -> {"iou", "dice", "masked_iou", "masked_dice"}, in [0, 1] or None where
        there is no truth, of the foreground for two classes, else the mean over classes; "f1" of cells, the mean
        over their classes, where there are dots; and for more than two classes "per_class": class -> the same.

    Raises:
        FileNotFoundError: a method has no checkpoint yet.
        ValueError: the output folder holds a run with another configuration.
    """
    check_output(config)
    data = prepare_data(config)
    maps = baseline_maps(data)
    for method in config.methods:
        maps[method], fractions = _predict(config, method, data)
        _save_prediction(method_folder(config, method), maps[method], fractions)
    metrics = {method: score_maps(predicted, data, config.evaluation) for method, predicted in maps.items()}
    if agreement := score_raters(data):
        metrics[INTER_RATER] = agreement
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_atomically(config.output / "metrics.json", orjson.dumps(metrics, option=options))
    return metrics


def baseline_maps(data: PreparedData) -> dict[str, np.ndarray]:
    """Maps (N, H, W) of the held-out blocks that need no training: by labels, and with stains by colour."""
    maps = {LOW_RESOLUTION: low_resolution_maps(data)}
    if data.stains is None:
        return maps
    from lsr_ext.baselines import deconvolution_map, l2_map

    separations = {DECONVOLUTION: deconvolution_map} if data.stains.absorb_light else {}  # not of fluorescence
    for name, separate in (separations | {L2: l2_map}).items():
        regions = {
            image: separate(np.ascontiguousarray(region.cut(data.test.images[image])), data.stains)
            for image, region in regions_of(data.test.blocks).items()
        }
        maps[name] = cut_regions(data.test.blocks, regions)
    return maps


def load_prediction(config: RunConfig, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The `classes` and `fractions` that `evaluate` wrote."""
    path = method_folder(config, method) / "prediction.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"expected the predictions of method {method!r}, found none at {path}: evaluate first"
        )
    with np.load(path) as content:
        return content["classes"], content["fractions"]


class _Regions(Dataset[torch.Tensor]):
    """Rectangles of images, float32 (C, H, W) in [0, 1]."""

    def __init__(self, images: list[np.ndarray], regions: list[Block]) -> None:
        self.images, self.regions = images, regions

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        region = self.regions[index]
        pixels = to_tensor(region.cut(self.images[region.image]), 0, False)
        return {"image": pixels.permute(2, 0, 1).float() / 255}


def _predict(config: RunConfig, method: str, data: PreparedData) -> tuple[np.ndarray, np.ndarray]:
    """Class maps, uint8 (N, H, W), and mean probabilities, float32 (N, L), of the held-out blocks."""
    module = _load_module(config, method, data)
    shift = None
    if config.evaluation.decoding == "expected_fraction":
        shift = _fit_on_training(config, module, data)
    regions = regions_of(data.test.blocks)
    predicted = _probabilities(config, module, data.test, list(regions.values()))
    classes, fractions = {}, np.empty((len(data.test), len(data.test.classes)), np.float32)
    for image, probabilities in zip(regions, predicted, strict=True):
        classes[image] = decode(probabilities, shift)
        for index, block in enumerate(data.test.blocks):
            if block.image == image:
                place = Block(
                    image, block.x - regions[image].x, block.y - regions[image].y, block.width, block.height
                )
                fractions[index] = place.cut(probabilities.transpose(1, 2, 0)).mean((0, 1))
    return cut_regions(data.test.blocks, classes), fractions


def _fit_on_training(config: RunConfig, module: SegmentationModule, data: PreparedData) -> np.ndarray:
    """The shift that gives the training blocks the areas that their labels say, on a sample of them."""
    rng = np.random.default_rng(config.seed)
    sample = data.train.subset(rng.permutation(len(data.train))[:_BLOCKS_TO_FIT])
    found = _probabilities(config, module, sample, sample.blocks)
    pixels = np.concatenate([probabilities.reshape(len(probabilities), -1).T for probabilities in found])
    chosen = rng.permutation(len(pixels))[:_PIXELS_TO_FIT]
    return fit_shift(pixels[chosen], expected_area(data))


def _load_module(config: RunConfig, method: str, data: PreparedData) -> SegmentationModule:
    checkpoint = method_folder(config, method) / CHECKPOINT_NAME
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint of method {method!r}, found none at {checkpoint}: train first"
        )
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if content["global_step"] < config.training.steps:
        raise ValueError(
            f"{checkpoint} is of step {content['global_step']} of {config.training.steps}: train to the end first"
        )
    module = build_module(config, method, data)
    try:
        module.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"{checkpoint}: weights of another network: choose another output folder") from error
    window_px = config.evaluation.window_px or config.data.block_size_px
    module.inferer = SymmetricInferer(WindowInferer(window_px, config.evaluation.overlap))
    return module


def _probabilities(
    config: RunConfig, module: SegmentationModule, collection: BlockCollection, regions: list[Block]
) -> list[np.ndarray]:
    """Class probabilities of rectangles, each float32 (L, H, W)."""
    trainer = lightning.Trainer(
        accelerator=config.training.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(_Regions(collection.images, regions), batch_size=1)
    return [batch[0].cpu().numpy() for batch in trainer.predict(module, loader)]


def _save_prediction(folder: Path, classes: np.ndarray, fractions: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, classes=classes, fractions=fractions)
    write_atomically(folder / "prediction.npz", buffer.getvalue())
