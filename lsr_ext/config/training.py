"""What may stand in the `training` section of a configuration: steps, batches, optimizer and network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from lsr_ext.config.section import Count, Section


class OptimizerConfig(Section):
    """A class of `torch.optim` by name, and its parameters."""

    name: str = "RMSprop"
    params: dict[str, bool | int | float | list[float]] = Field({})


class NetworkConfig(Section):
    """MONAI's BasicUNet: channels of its five levels and of the last feature map."""

    features: list[Count] = Field([32, 32, 64, 128, 256, 32], min_length=6, max_length=6)
    norm_groups: Count = 8

    @model_validator(mode="after")
    def _check_norm_groups(self) -> NetworkConfig:
        if any(channels % self.norm_groups for channels in self.features):
            raise ValueError(
                f"every number of features must be a multiple of norm_groups = {self.norm_groups}, "
                f"got {self.features}"
            )
        return self


class TrainingConfig(Section):
    """Steps, batches, optimizer and network.

    Methods with a loss of groups train on `groups_per_batch` groups of `group_size` blocks per step, the others on
    `ungrouped_batch_size` blocks (null: as many). The norm of the gradient is clipped, because one block that
    misses a label of small spread has a hundred times the gradient of the others; null turns it off. By the
    schedule "cosine" the learning rate falls to zero. With `start_at_prior` an untrained network predicts the
    expected fractions of the training blocks. `colour_jitter` changes the images' colours at random, see
    `lsr_ext.data.jitter_colours`.
    """

    steps: Count = 1000
    group_size: Count = 10
    groups_per_batch: Count = 2
    ungrouped_batch_size: Count | None = None
    augment: bool = True
    colour_jitter: float = Field(0.0, ge=0, allow_inf_nan=False)
    checkpoint_every_steps: Count = 100
    log_every_steps: Count = 10
    accelerator: str = "auto"
    devices: Count = 1
    optimizer: OptimizerConfig = OptimizerConfig(params={"lr": 1e-3, "alpha": 0.9})
    schedule: Literal["cosine", "constant"] = "cosine"
    gradient_clip_norm: float | None = Field(1.0, gt=0)
    start_at_prior: bool = False
    network: NetworkConfig = NetworkConfig()
