"""A trained model that stands alone: a folder with its weights and all else that prediction needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lsr_ext.distributions import CountDistribution
from lsr_ext.files import written_whole
from lsr_ext.inference.decoding import decode
from lsr_ext.inference.model_file import (
    DECODINGS,
    DESCRIPTION_NAME,
    WEIGHTS_NAME,
    ModelDescription,
    PredictionDescription,
    dump_description,
    read_description,
)
from lsr_ext.inference.symmetries import predict_symmetric
from lsr_ext.inference.windows import predict_windows
from lsr_ext.networks import Adaptation, AdaptedNetwork, build_network
from lsr_ext.networks.build import check_trusted


@dataclass(frozen=True)
class TrainedModel:
    """A trained network, and how images are prepared for it and its output is decoded.

    Args:
        network: (N, C, H, W) float32 in [0, 1] -> logits (N, L, H, W); put into evaluation mode, on `device`.
        description: its classes, window, decoding and so on.
        device: where it predicts.
    """

    network: nn.Module
    description: ModelDescription
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        # Convolutions on the CPU are faster so.
        self.network.to(self.device, memory_format=torch.channels_last).eval()

    @property
    def classes(self) -> list[str]:
        """The names of the L pixel classes."""
        return self.description.class_names

    @property
    def colours(self) -> dict[str, str]:
        """The colour that each class is drawn in, "#rrggbb"."""
        return {described.name: described.colour for described in self.description.classes}

    @property
    def mpp(self) -> float | None:
        """Microns per pixel of the images that it takes; None: not known."""
        return self.description.mpp

    @property
    def distribution(self) -> CountDistribution:
        """p(c_l | z), which it was trained with."""
        return CountDistribution(**self.description.distribution.model_dump())

    @torch.inference_mode()
    def predict(self, image: np.ndarray, prediction: PredictionDescription | None = None) -> np.ndarray:
        """Class probabilities of every pixel.

        Args:
            image: (H, W, C), or (N, H, W, C) for several of one size; integers are divided by the model's scale,
                255; floating-point numbers are in [0, 1].
            prediction: window, overlap and symmetries in place of the model's own.

        Returns:
            float32 (L, H, W) or (N, L, H, W); they sum to 1 over the classes.

        Raises:
            ValueError: an image of another shape or range, or predictions that are not finite.
        """
        how = prediction or self.description.prediction
        pixels = self.to_input(image if image.ndim == 4 else image[None])

        def predict(turned: Tensor) -> Tensor:
            return predict_windows(turned, self.probabilities, how.window_px, how.overlap)

        found = predict_symmetric(pixels, predict, how.symmetries).cpu().numpy()
        if not np.isfinite(found).all():
            raise ValueError("the network's predictions are not finite: its training diverged")
        return found if image.ndim == 4 else found[0]

    def decode(self, probabilities: np.ndarray, kind: str | None = None) -> np.ndarray:
        """The class of every pixel.

        Args:
            probabilities: (L, H, W), as `predict` gives them.
            kind: "likeliest" or "expected_fraction", in place of the model's own decoding.

        Returns:
            uint8 (H, W), indices of `classes`.
        """
        decoding = self.description.decoding
        kind = kind or decoding.kind
        if kind not in DECODINGS:
            raise ValueError(f"expected a decoding of {DECODINGS}, got {kind!r}")
        return decode(probabilities, np.array(decoding.shift) if kind == "expected_fraction" else None)

    def save(self, folder: str | Path) -> None:
        """Write `model.json` and `weights.safetensors` into a folder, which replaces an older one as a whole."""
        # A copy of each, because the file format refuses tensors that share their memory.
        weights = {name: tensor.cpu().contiguous().clone() for name, tensor in self.network.state_dict().items()}
        with written_whole(folder) as temporary:
            temporary.mkdir()
            save_file(weights, temporary / WEIGHTS_NAME)
            (temporary / DESCRIPTION_NAME).write_bytes(dump_description(self.description))

    def probabilities(self, pixels: Tensor) -> Tensor:
        """Class probabilities of what `to_input` makes, as they are: (N, C, H, W) -> (N, L, H, W)."""
        # In full precision also where the network runs in less.
        return self.network(pixels.contiguous(memory_format=torch.channels_last)).float().softmax(1)

    def to_input(self, images: np.ndarray) -> Tensor:
        """Images (N, H, W, C), as `predict` takes them, to what the network takes: float32 (N, C, H, W) in [0, 1].

        Raises:
            ValueError: images of another shape or range.
        """
        expected = self.description.input
        if images.ndim != 4 or images.shape[3] != expected.channels or not images.size:
            raise ValueError(f"expected an image (H, W, {expected.channels}), got {images.shape[1:]}")
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2)
        pixels = pixels.float() if pixels.is_floating_point() else pixels.float().div_(expected.scale)
        if images.dtype == np.uint8 and expected.scale >= 255:
            return pixels  # in range whatever they are
        low, high = (value.item() for value in pixels.aminmax())
        if not 0 <= low <= high <= 1:
            raise ValueError(f"expected pixels in [0, 1] after scaling, got {low:g} to {high:g}")
        return pixels


def load_model(
    folder: str | Path, device: str | torch.device = "cpu", packages: Sequence[str] = ()
) -> TrainedModel:
    """Read a trained model; nothing but its folder is needed, and nothing in it is unpickled.

    The network's class is imported, which runs the code of its module, so only classes of the packages
    `lsr_ext.networks.TRUSTED_PACKAGES` are, and of those that the caller trusts.

    Args:
        folder: of `model.json` and `weights.safetensors`.
        device: where to predict.
        packages: packages or modules to trust, such as "my_networks".

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file that cannot be read, that a newer lsr_ext wrote, a network of a package that is not
            trusted, or weights that are not the network's.
    """
    folder = Path(folder)
    description = read_description(folder / DESCRIPTION_NAME)
    try:
        check_trusted(description.network.path, packages)
    except ValueError as error:
        raise ValueError(f"{folder / DESCRIPTION_NAME}: {error}") from error
    weights = folder / WEIGHTS_NAME
    if not weights.is_file():
        raise FileNotFoundError(f"expected the weights of a model, found none at {weights}")
    _check_weights(weights, description)
    network = _build(description)
    network.load_state_dict(load_file(weights))
    return TrainedModel(network, description, torch.device(device))


def _build(description: ModelDescription) -> nn.Module:
    """The network as it is described, with its first weights."""
    about = description.network
    network = build_network(about.path, about.params)
    if about.adapter is None:
        return network
    return AdaptedNetwork(network, Adaptation(len(description.classes), **about.adapter.model_dump()))


def _check_weights(path: Path, description: ModelDescription) -> None:
    """Refuse weights of other names, shapes or types before memory is taken for the network or for them."""
    with torch.device("meta"):
        network = _build(description)
    expected = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in network.state_dict().items()}
    found = _stored_shapes(path)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found or name not in expected:
            missing = "has no" if name not in found else "has, beyond the network's,"
            raise ValueError(f"{path}: {missing} tensor {name!r}")
        if found[name] != expected[name]:
            raise ValueError(f"{path}: expected {name!r} as {_show(expected[name])}, got {_show(found[name])}")


def _stored_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (tuple(one.get_shape()), _DTYPES.get(one.get_dtype())) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable file of weights ({error})") from error


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def _show(stored: tuple[tuple[int, ...], torch.dtype]) -> str:
    return f"{stored[1]} {stored[0]}"
