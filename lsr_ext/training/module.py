"""Training of any segmentation network by block labels, or by pixel masks for comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from lsr_ext.config import JointTerms
from lsr_ext.data import jitter_colours
from lsr_ext.data.seeded_items import batch_seed
from lsr_ext.distributions import CountDistribution
from lsr_ext.functional import block_moments
from lsr_ext.losses import FractionLoss, LabelSuperResolutionLoss
from lsr_ext.options import FORMS_WITHOUT_STD
from lsr_ext.training.objective import PixelLoss
from lsr_ext.training.validation import ValidationScores


class SegmentationModule(lightning.LightningModule):
    """A network, what it is trained by, and its optimizer.

    Logs `loss`, where it has two terms each by itself, and per label `fraction_error/<label>`: the mean over
    classes of |predicted - expected| fraction.

    Args:
        network: (N, C, H, W) float32 in [0, 1] -> logits (N, L, H, W).
        distribution: expected fractions per label, for the log.
        loss: of logits and labels, or a `FractionLoss`, of logits and the blocks' own numbers; None: `pixel_loss`
            alone.
        optimizer: makes the optimizer of the network's parameters.
        decay_steps: steps over which the learning rate falls to zero along a cosine; None: it stays.
        seed: of each batch's random draws.
        pixel_loss: of logits and the batch's "mask"; None: `loss` alone.
        joint: the weights of the two, where both are given.
        colour_jitter: of the images in training, see `lsr_ext.data.jitter_colours`.
        channels_last: store images and features with the channels last; convolutions are faster so.
        compiled: compile the network by `torch.compile`.
        foreground: the class whose IoU is validated where there are two.

    Validation logs "validation/" and the names of `ValidationScores.results`.

    Batch:
        a dict of "image" (N, C, H, W); "label" int64 (N,) or (N, L), -1 = unknown, or (K,) with "block_ids" int32
        (N, H, W), -1 = none; for a `FractionLoss` "fraction" (N, L), NaN = unknown, and "fraction_std", which the
        loss's own `std` takes the place of; for a pixel loss "mask" int64 (N, H, W), -1 = not labelled. "group"
        int64 (N,), the number of each block's group; without it the blocks of one label form one group.

    Raises:
        ValueError: neither loss is given; in a step, fractions that were rounded to 16 bits.
    """

    def __init__(
        self,
        network: nn.Module,
        distribution: CountDistribution,
        loss: LabelSuperResolutionLoss | FractionLoss | nn.Module | None,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        decay_steps: int | None = None,
        seed: int = 0,
        pixel_loss: PixelLoss | None = None,
        joint: JointTerms | None = None,
        colour_jitter: float = 0.0,
        channels_last: bool = True,
        compiled: bool = False,
        foreground: int = -1,
    ) -> None:
        if loss is None and pixel_loss is None:
            raise ValueError("expected a loss, a pixel_loss or both, got neither")
        super().__init__()
        self.pixel_loss = pixel_loss
        self.joint = joint or JointTerms()
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(memory_format=self._format)
        # Not `torch.compile(network)`, whose weights would have other names in a checkpoint.
        self._predict = torch.compile(network.forward) if compiled else network.forward
        self.loss = loss
        self.decay_steps = decay_steps
        self.seed = seed
        self.colour_jitter = colour_jitter
        self._build_optimizer = optimizer
        self._label_names = distribution.labels
        self._new_scores = lambda: ValidationScores(distribution, foreground)
        self._scores = self._new_scores()
        self.register_buffer("expected", distribution.mean.float(), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, L, H, W)."""
        dtype = next(self.network.parameters()).dtype  # bfloat16 by the precision bf16-true
        return self._predict(image.to(dtype).contiguous(memory_format=self._format))

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Seed the batch's colours and dropout by its number alone, so that a resumed run repeats them."""
        torch.manual_seed(batch_seed(self.seed, batch_idx * self.trainer.world_size + self.trainer.global_rank))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        """The loss of one batch; None, which changes nothing, if no block of it could be read."""
        if not len(batch["image"]):
            return None
        logits = self(jitter_colours(batch["image"], self.colour_jitter))
        loss = self._loss(logits, batch)
        self.log("loss", loss, prog_bar=True)
        if self.global_step % self.trainer.log_every_n_steps == 0:
            self._log_fraction_errors(logits.detach(), batch["label"], batch.get("block_ids"))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start new sums."""
        self._scores = self._new_scores()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Count one batch of held-out blocks."""
        if not len(batch["image"]):
            return
        logits, mask = self(batch["image"]), batch.get("mask")
        self._scores.add(logits, batch["label"], mask)
        if self.loss is not None:
            self._scores.add_loss(self._super_resolution_loss(logits, batch), len(logits))
        elif mask is not None:
            self._scores.add_loss(self.pixel_loss(logits, mask), len(logits))

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all batches."""
        found = self._scores.results()
        self.log_dict({f"validation/{name}": value for name, value in found.items()})

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig | torch.optim.Optimizer:
        """The optimizer of the network's parameters, and its schedule."""
        optimizer = self._build_optimizer(self.network.parameters())
        if self.decay_steps is None:
            return optimizer
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.decay_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if self.loss is None:
            return self.pixel_loss(logits, batch["mask"])
        super_resolution = self._super_resolution_loss(logits, batch)
        if self.pixel_loss is None:
            return super_resolution
        pixel = self.pixel_loss(logits, batch["mask"])
        self.log_dict({"loss/pixel": pixel, "loss/super_resolution": super_resolution})
        step, steps = self.global_step, self.trainer.estimated_stepping_batches
        weights = (term.at(step, steps) for term in (self.joint.pixel, self.joint.super_resolution))
        return sum(weight * loss for weight, loss in zip(weights, (pixel, super_resolution), strict=True))

    def _super_resolution_loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        labels, group = batch["label"], batch.get("group")
        if not isinstance(self.loss, FractionLoss):
            return self.loss(logits, labels, group=group, block_ids=batch.get("block_ids"))
        fractions = batch["fraction"]
        if fractions.dtype.itemsize < torch.float32.itemsize:
            raise ValueError(
                f"expected the batch's fractions in float32, got {fractions.dtype}: Lightning's precisions "
                "bf16-true and 16-true round whole batches. Give the Trainer precision 32-true and cast the "
                "network alone: module.network.to(torch.bfloat16)"
            )
        # Groups are those of the labels here too; without any the loss would make one of the whole batch.
        group = labels if group is None else group
        # What the blocks bring may be NaN, with which a fraction takes no part.
        is_needed = self.loss.std is None and self.loss.options.form not in FORMS_WITHOUT_STD
        return self.loss(logits, fractions, batch["fraction_std"] if is_needed else None, group=group)

    def _log_fraction_errors(self, logits: Tensor, labels: Tensor, block_ids: Tensor | None) -> None:
        count = None if block_ids is None else len(labels)
        pixels, sums, _ = block_moments(logits, block_ids=block_ids, num_blocks=count)
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
