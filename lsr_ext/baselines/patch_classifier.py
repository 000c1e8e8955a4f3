"""The paper's patch classifier (Appendix C): a ResNet for the probability that a patch is positive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from monai.networks.nets import resnet10, resnet18, resnet34
from skimage.measure import block_reduce
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from lsr_ext.data import cut_blocks, jitter_colours, quantise_fractions
from lsr_ext.progress import track_progress

_NETWORKS = {10: resnet10, 18: resnet18, 34: resnet34}
_BATCH = 64  # patches that are classified at once


@dataclass(frozen=True)
class ClassifierSettings:
    """The settings that a classifier's weights depend on, together with its data.

    Args:
        patch_px: the side of a patch, in pixels: at 40x for slides, in its own pixels for an image.
        input_px: the side that patches are resized to, in pixels.
        depth: depth of the ResNet: 34 as in the paper, or 18 or 10 for small machines.
        epochs: number of epochs; each draws about as many patches as there are.
        batch_size: an even number: each class has half of every batch.
        learning_rate: initial rate of AdamW; it decreases to zero along a cosine.
        seed: random seed of weights, order and augmentation.
        colour_jitter: standard deviation of the logarithm of each channel's random gain in training; that of its
            random offset is a fifth of it. It imitates differences in staining and exposure.

    Raises:
        ValueError: a value out of range.
    """

    patch_px: int
    input_px: int = 224
    depth: int = 34
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    colour_jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("patch_px", "input_px", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}")
        if self.depth not in _NETWORKS:
            raise ValueError(f"expected a depth among {', '.join(map(str, _NETWORKS))}, got {self.depth}")
        if self.batch_size % 2:
            raise ValueError(f"expected an even batch_size, half of it for each class, got {self.batch_size}")
        if not self.learning_rate > 0:
            raise ValueError(f"expected a learning_rate above 0, got {self.learning_rate}")
        if not 0 <= self.colour_jitter < float("inf"):
            raise ValueError(f"expected a finite colour_jitter of at least 0, got {self.colour_jitter}")


class PatchClassifier(lightning.LightningModule):
    """A ResNet with one logit; trained by binary cross-entropy on randomly turned patches, with random colours if
    set.

    It uses BatchNorm, unlike the networks that learn from groups, because every batch holds both classes. For
    prediction its statistics are the plain average over the last epoch: the usual running averages lag behind the
    weights, and after a short training they moved every probability to one side of 0.5.

    Args:
        settings: see `ClassifierSettings`.
        data_digest: digest of the training data, stored in the checkpoint.

    Shape:
        (N, 3, H, W) float32 in [0, 1], resized to `input_px` -> logits (N,).
    """

    def __init__(self, settings: ClassifierSettings, data_digest: str = "") -> None:
        super().__init__()
        self.settings = settings
        self.save_hyperparameters({"settings": asdict(settings), "data_digest": data_digest})
        self.network = _NETWORKS[settings.depth](
            spatial_dims=2, n_input_channels=3, num_classes=1, conv1_t_stride=2
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N,)."""
        return self.network(resize_patches(image, self.settings.input_px))[:, 0]

    def on_train_epoch_start(self) -> None:
        """Reset BatchNorm's statistics for the last epoch."""
        if self.current_epoch < self.settings.epochs - 1:
            return
        for layer in self.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.reset_running_stats()
                layer.momentum = None  # a plain average from here on

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        """Compute the loss of a batch of "image" (N, 3, H, W) and "label" (N,) of 0 and 1; None if it is empty."""
        if not len(batch["label"]):  # no patch of the batch could be read
            return None
        # Depends only on the step's number, so a resumed run continues like an uninterrupted one.
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.global_step)
        images = _turn_at_random(batch["image"], generator)
        logits = self(jitter_colours(images, self.settings.colour_jitter, generator))
        loss = binary_cross_entropy_with_logits(logits, batch["label"].to(logits.dtype))
        self.log("loss", loss, prog_bar=True, batch_size=len(logits))
        return loss

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Use AdamW with a rate that decreases to zero along a cosine."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.settings.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def digest(self) -> str:
        """Return a digest that changes when the weights change."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            found.update(name.encode())
            found.update(tensor.cpu().numpy().tobytes())
        return found.hexdigest()


def load_patch_classifier(path: str | Path) -> PatchClassifier:
    """Load the classifier from a checkpoint of `train_patch_classifier`, on the CPU, ready to predict.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a checkpoint of a patch classifier. Only tensors and numbers are unpickled.
    """
    content = read_checkpoint(path)
    model = PatchClassifier(ClassifierSettings(**content["hyper_parameters"]["settings"]))
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"{path}: weights of another network ({error})") from error
    return model.eval()


def read_checkpoint(path: str | Path) -> dict[str, object]:
    """Read a checkpoint with its "state_dict", "hyper_parameters" and "global_step"; raises the same errors."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint of a patch classifier, found none at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        ClassifierSettings(**content["hyper_parameters"]["settings"])
        content["state_dict"], content["global_step"]
    except Exception as error:  # the unpickler raises many kinds of errors on foreign bytes
        raise ValueError(f"{path}: expected a checkpoint of a patch classifier ({error!r})") from error
    return content


def best_device() -> str:
    """The GPU if there is one, otherwise the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def resize_patches(image: Tensor, input_px: int) -> Tensor:
    """Resize (N, 3, H, W) to (N, 3, input_px, input_px), smoothed where it shrinks."""
    if image.shape[-2:] == (input_px, input_px):
        return image
    return interpolate(image, (input_px, input_px), mode="bilinear", antialias=True)


@torch.inference_mode()
def classify_patches(model: PatchClassifier, patches: Sequence[np.ndarray]) -> np.ndarray:
    """Compute the probabilities of patches.

    Args:
        model: the classifier, on the device to compute on.
        patches: N uint8 (H, W, 3), of any sizes.

    Returns:
        float32 (N,) in [0, 1].
    """
    model.eval()
    probabilities = [np.empty(0, np.float32)]
    for start in range(0, len(patches), _BATCH):
        batch = [_as_input(patch, model.settings.input_px) for patch in patches[start : start + _BATCH]]
        logits = model(torch.cat(batch).to(model.device))
        probabilities.append(logits.float().sigmoid().cpu().numpy())
    return np.concatenate(probabilities)


def predict_probabilities(model: PatchClassifier, images: Iterable[np.ndarray], patch_px: int) -> list[np.ndarray]:
    """Compute the probability of every whole patch of images; patches lie side by side from the top left.

    Args:
        model: the classifier, on the device to compute on.
        images: uint8 (H, W, 3), each at least as large as one patch; used one at a time.
        patch_px: the side of a patch.

    Returns:
        Per image float32 (H // patch_px, W // patch_px) in [0, 1].

    Raises:
        ValueError: an image smaller than a patch.
    """
    found = []
    for index, image in enumerate(track_progress(images, "images", least=2)):
        rows, columns = (side // patch_px for side in image.shape[:2])
        if not rows or not columns:
            raise ValueError(f"image {index} is {image.shape[:2]} px, smaller than a patch of {patch_px} px")
        patches = [block.cut(image) for block in cut_blocks([image.shape[:2]], patch_px)]
        found.append(classify_patches(model, patches).reshape(rows, columns))
    return found


def merge_patches(probabilities: np.ndarray, times: int = 2) -> np.ndarray:
    """Take the maximum over `times` x `times` patches; the remainder at the right and the bottom is left out.

    Args:
        probabilities: float (rows, columns); NaN = unknown; a block with an unknown patch is unknown.
        times: patches per block, across and down.

    Returns:
        (rows // times, columns // times), of the same dtype.
    """
    rows, columns = (side // times * times for side in probabilities.shape)
    return block_reduce(probabilities[:rows, :columns], times, np.max)


def bin_probabilities(probabilities: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Turn probabilities into low-resolution labels: the number of edges at or below a probability.

    Args:
        probabilities: any shape, in [0, 1].
        edges: (Z-1,), strictly increasing; the paper's ten bins are `data.cohort.PRESETS["breast-cancer"].edges`.

    Returns:
        int64 labels in [0, Z), shaped as `probabilities`.

    Raises:
        ValueError: probabilities outside [0, 1] or NaN, or edges that do not increase.
    """
    return quantise_fractions(probabilities.ravel(), edges).reshape(probabilities.shape)


def low_resolution_model_map(
    probabilities: np.ndarray, patch_px: int, shape: tuple[int, int], threshold: float = 0.5
) -> np.ndarray:
    """Apply the "low resolution model" of Tables 4 and 9: a pixel is positive if its patch is.

    Args:
        probabilities: (rows, columns) of patches from the top left; NaN counts as negative.
        patch_px: the side of a patch.
        shape: (H, W) of the image. Pixels beyond the last whole patch get the class of their nearest patch.
        threshold: the lowest probability of a positive patch, in [0, 1].

    Returns:
        uint8 (H, W) of 0 and 1.

    Raises:
        ValueError: no probabilities, or more probabilities than patches in the image.
    """
    rows, columns = probabilities.shape
    if not (0 < rows * patch_px <= shape[0] and 0 < columns * patch_px <= shape[1]):
        raise ValueError(
            f"expected up to {shape[0] // patch_px} x {shape[1] // patch_px} patches of {patch_px} px for an "
            f"image of {shape[0]} x {shape[1]} px, got {rows} x {columns}"
        )
    row, column = (
        np.minimum(np.arange(side) // patch_px, count - 1)
        for side, count in zip(shape, (rows, columns), strict=True)
    )
    return (probabilities >= threshold).astype(np.uint8)[row[:, None], column]


def _as_input(patch: np.ndarray, input_px: int) -> Tensor:
    """Convert a patch to (1, 3, input_px, input_px) in [0, 1]."""
    pixels = torch.from_numpy(np.ascontiguousarray(patch)).permute(2, 0, 1)[None].float() / 255
    return resize_patches(pixels, input_px)


def _turn_at_random(images: Tensor, generator: torch.Generator) -> Tensor:
    """Bring each image (3, S, S) into a random one of its eight orientations."""
    turns = torch.randint(8, (len(images),), generator=generator).tolist()
    turned = [torch.rot90(image, turn % 4, (1, 2)) for image, turn in zip(images, turns, strict=True)]
    return torch.stack([image.flip(2) if turn > 3 else image for image, turn in zip(turned, turns, strict=True)])
