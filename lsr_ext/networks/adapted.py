"""Any segmentation network, with the output that the losses need."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from lsr_ext.networks.norms import fit_norms, replace_batch_norms


class Adaptation(NamedTuple):
    """How a network is adapted: see `AdaptedNetwork`."""

    num_classes: int
    norm: str | None = None
    multiple_px: int = 1


class AdaptedNetwork(nn.Module):
    """A network whose output is brought to the size of its input, without BatchNorm.

    Args:
        network: (N, C, h, w) -> logits (N, L, h / stride, w / stride); see `replace_batch_norms` for its norms.
        adaptation: L; what takes the place of BatchNorm; images are padded to a multiple of `multiple_px`, by
            repeating their edge.

    Shape:
        (N, C, H, W) -> logits (N, L, H, W), interpolated bilinearly if the network's are of another stride.

    Raises:
        ValueError: a network with BatchNorm and no other norm; in `forward`, an output that is no such tensor.

    Example:
        >>> network = AdaptedNetwork(nn.Conv2d(3, 2, 4, stride=4), Adaptation(2, multiple_px=4))
        >>> network(torch.zeros(1, 3, 30, 32)).shape
        torch.Size([1, 2, 30, 32])
    """

    def __init__(self, network: nn.Module, adaptation: Adaptation) -> None:
        super().__init__()
        replace_batch_norms(network, adaptation.norm)
        self.network = network
        self.adaptation = adaptation

    def fit_norms(self, images: Tensor) -> None:
        """Fit the norms of `norm: affine` that no weights were loaded for; see `norms.fit_norms`."""
        fit_norms(self, images)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of every pixel."""
        height, width = image.shape[-2:]
        multiple = self.adaptation.multiple_px
        if height % multiple or width % multiple:
            image = pad(image, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        logits = self.network(image)
        self._check(logits, len(image))
        if logits.shape[-2:] != image.shape[-2:]:
            logits = interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width]

    def _check(self, logits: Tensor, images: int) -> None:
        if not isinstance(logits, Tensor):
            raise ValueError(
                "training.network: expected one tensor of logits (N, L, H, W), got "
                f"{type(logits).__name__}{_content(logits)}; switch off deep supervision or auxiliary outputs"
            )
        expected = (images, self.adaptation.num_classes)
        if logits.ndim != 4 or tuple(logits.shape[:2]) != expected:
            raise ValueError(
                f"training.network: expected logits (N, {expected[1]}, H, W), for {expected[1]} classes, "
                f"got {tuple(logits.shape)}"
            )


def check_output(network: nn.Module, channels: int, size_px: int) -> None:
    """Try a network on one blank block.

    Raises:
        ValueError: it does not take images (1, channels, size_px, size_px), or its output is no map of classes.
    """
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, size_px, size_px))
    except (RuntimeError, TypeError, AttributeError, AssertionError, IndexError) as error:
        raise ValueError(
            f"training.network: it does not take images of {channels} channels and {size_px} x {size_px} px "
            f"({error}); multiple_px pads them, to 32 px for example"
        ) from error
    finally:
        network.train(was_training)


def _content(output: object) -> str:
    if not isinstance(output, (list, tuple, dict)):
        return ""
    parts = output.items() if isinstance(output, dict) else enumerate(output)
    return " of " + ", ".join(f"{key}: {tuple(part.shape)}" for key, part in parts if isinstance(part, Tensor))
