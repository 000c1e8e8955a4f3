"""Prediction of whole images by a method's trained network."""

from __future__ import annotations

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lsr_ext.config.run import RunConfig
from lsr_ext.data import Block, BlockCollection
from lsr_ext.data.dataset import to_tensor
from lsr_ext.evaluation.low_resolution import expected_area
from lsr_ext.inference.decoding import fit_shift
from lsr_ext.inference.symmetries import SymmetricInferer
from lsr_ext.inference.windows import WindowInferer
from lsr_ext.sources.prepared import PreparedData
from lsr_ext.training.building import CHECKPOINT_NAME, build_module, method_folder
from lsr_ext.training.module import SegmentationModule

_BLOCKS_TO_FIT, _PIXELS_TO_FIT = 200, 2**18


def load_module(config: RunConfig, method: str, data: PreparedData) -> SegmentationModule:
    """The method's module with its trained weights, set to predict as `config.evaluation` says.

    Raises:
        FileNotFoundError: it is not trained yet.
        ValueError: it is not trained to the end, or the weights are another network's.
    """
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


def predict_regions(
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


def fit_decoding(config: RunConfig, module: SegmentationModule, data: PreparedData) -> np.ndarray | None:
    """The shift for `decode` that `config.evaluation.decoding` asks for, None for the likeliest class.

    The shift gives a sample of the training blocks the areas that their labels say.
    """
    if config.evaluation.decoding == "likeliest":
        return None
    rng = np.random.default_rng(config.seed)
    sample = data.train.subset(rng.permutation(len(data.train))[:_BLOCKS_TO_FIT])
    found = predict_regions(config, module, sample, sample.blocks)
    pixels = np.concatenate([probabilities.reshape(len(probabilities), -1).T for probabilities in found])
    chosen = rng.permutation(len(pixels))[:_PIXELS_TO_FIT]
    return fit_shift(pixels[chosen], expected_area(data))


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
