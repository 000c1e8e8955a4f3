"""Training of any segmentation network by block labels, or by pixel masks for comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lsr_ext.distributions import CountDistribution
from lsr_ext.functional import block_moments
from lsr_ext.losses import LabelSuperResolutionLoss


class SegmentationModule(lightning.LightningModule):
    """A network, its loss and its optimizer.

    Logs `loss`, and per label `fraction_error/<label>`: the mean over classes of |predicted - expected| fraction.

    Args:
        network: (N, 3, H, W) float32 in [0, 1] -> logits (N, L, H, W).
        distribution: expected fractions per label, for the log.
        loss: the label super-resolution loss; None: cross-entropy on the batch's "mask".
        optimizer: makes the optimizer of the network's parameters.
        group_size: blocks per group, the groups of a batch lying one after the other; None: the blocks of
            a batch with one label form one group.
        decay_steps: steps over which the learning rate falls to zero along a cosine; None: it stays.
        seed: of each step's random draws.

    Batch:
        a dict of "image" (N, 3, H, W); "label" int64 (N,) or (N, L), -1 = unknown; for cross-entropy
        "mask" int64 (N, H, W).
    """

    def __init__(
        self,
        network: nn.Module,
        distribution: CountDistribution,
        loss: LabelSuperResolutionLoss | None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        group_size: int | None = None,
        decay_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.loss = loss
        self.group_size = group_size
        self.decay_steps = decay_steps
        self.seed = seed
        self._build_optimizer = optimizer
        self._label_names = distribution.labels
        self.register_buffer("expected", distribution.mean.float(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, L, H, W)."""
        return self.network(image)

    def on_train_start(self) -> None:
        """Seed the first step."""
        self._seed_step()

    def on_train_batch_end(self, *args: object) -> None:
        """Seed the next step."""
        self._seed_step()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        logits = self(batch["image"])
        loss = self._loss(logits, batch)
        self.log("loss", loss, prog_bar=True)
        if self.global_step % self.trainer.log_every_n_steps == 0:
            self._log_fraction_errors(logits.detach(), batch["label"])
        return loss

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Class probabilities (N, L, H, W)."""
        return self(batch["image"]).softmax(1)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig | torch.optim.Optimizer:
        """The optimizer of the network's parameters, and its schedule."""
        optimizer = self._build_optimizer(self.network.parameters())
        if self.decay_steps is None:
            return optimizer
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.decay_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _seed_step(self) -> None:
        # Augmentation and dropout of a step depend on its number alone, so a resumed run repeats them.
        torch.manual_seed(self.seed * 1_000_003 + self.global_step)

    def _loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if self.loss is None:
            return cross_entropy(logits, batch["mask"])
        labels = batch["label"]
        if self.group_size is None or labels.ndim == 2:
            return self.loss(logits, labels)
        return self.loss(logits, labels, torch.arange(len(labels), device=labels.device) // self.group_size)

    def _log_fraction_errors(self, logits: Tensor, labels: Tensor) -> None:
        pixels, sums, _ = block_moments(logits)
        errors = fraction_errors(sums / pixels[:, None], labels, self.expected.to(sums.dtype))
        for z, error in errors.items():
            self.log(f"fraction_error/{self._label_names[z]}", error)


def fraction_errors(fractions: Tensor, labels: Tensor, expected: Tensor) -> dict[int, Tensor]:
    """Per label that occurs, how far the mean predicted fraction of its blocks is from the expected one.

    Args:
        fractions: (N, L) predicted.
        labels: (N,) or (N, L), -1 = unknown.
        expected: (Z, L).

    Returns:
        label -> mean over classes of |mean over blocks - expected|, a scalar.
    """
    labels = labels.reshape(len(labels), -1).expand(fractions.shape)
    errors = {}
    for z in labels[labels >= 0].unique().tolist():
        members = (labels == z).to(fractions.dtype)
        blocks = members.sum(0)
        means = (members * fractions).sum(0) / blocks.clamp(min=1)
        errors[z] = (means - expected[z]).abs()[blocks > 0].mean()
    return errors
