"""What may stand in the `training` section of a configuration: steps, batches, optimizer, network and machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from lsr_ext.config.section import Count, Section

Precision = Literal["32", "bf16-mixed", "16-mixed", "bf16-true"]
LoggerName = Literal["tensorboard", "csv", "wandb", "mlflow"]
LearningRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# How a training is executed, and not what it learns: a resumed run may have others.
EXECUTION = frozenset(
    {
        "accelerator",
        "devices",
        "strategy",
        "compile",
        "channels_last",
        "tf32",
        "cudnn_benchmark",
        "workers",
        "prefetch_batches",
        "checkpoint_every_steps",
        "log_every_steps",
        "loggers",
    }
)


class OptimizerConfig(Section):
    """A class of `torch.optim` by name, and its parameters."""

    name: str = "RMSprop"
    params: dict[str, bool | int | float | list[float]] = Field({})


class WeightsConfig(Section):
    """Weights to start from, for the whole network or for a part of it.

    Attributes:
        file: .safetensors, or a file of `torch.save` that `torch.load(weights_only=True)` reads. Relative to the
            configuration's folder.
        part: the part of the network that they are of, such as "encoder"; "": the whole network.
    """

    file: Path
    part: str = ""


class NetworkConfig(Section):
    """A network by its import path, or by default MONAI's BasicUNet with the norms that block labels need.

    Attributes:
        class_path: `class` in the file: the import path of a `torch.nn.Module` from images (N, C, H, W) to logits
            (N, L, h, w), such as "monai.networks.nets.SwinUNETR". null: the default network.
        params: its keyword arguments.
        norm: what takes the place of BatchNorm in it. "group": GroupNorm. "affine": a scale and shift per channel,
            which start at what BatchNorm would do in testing, and are learned: it keeps what weights from a file
            know. null: a network with BatchNorm is refused.
        multiple_px: images are padded to a multiple of this before the network sees them, and its output is cut.
        weights: weights to start from.
        frozen: parts that are not trained, such as "encoder".
        learning_rates: part -> its own learning rate.
        features: of the default network: channels of its five levels and of the last feature map.
        norm_groups: of the default network: groups of its GroupNorm.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    class_path: str | None = Field(None, alias="class", min_length=3)
    params: dict[str, Any] = Field({})
    norm: Literal["group", "affine"] | None = None
    multiple_px: Count = 1
    weights: WeightsConfig | None = None
    frozen: list[str] = Field([])
    learning_rates: dict[str, LearningRate] = Field({})
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

    @model_validator(mode="after")
    def _check_keys_fit(self) -> NetworkConfig:
        default = self.class_path is None
        others = {"params", "norm", "multiple_px"} if default else {"features", "norm_groups"}
        if given := sorted(others & self.model_fields_set):
            raise ValueError(
                f"{given[0]} is {'for a network with class' if default else 'of the default network'}, "
                f"got class: {self.class_path}"
            )
        return self


class TrainingConfig(Section):
    """Steps, batches, optimizer, network and machine.

    Methods with a loss of groups train on `groups_per_batch` groups of `group_size` blocks per step, the others on
    `ungrouped_batch_size` blocks (null: as many). The norm of the gradient is clipped, because one block that
    misses a label of small spread has a hundred times the gradient of the others; null turns it off. By the
    schedule "cosine" the learning rate falls to zero. With `start_at_prior` an untrained network predicts the
    expected fractions of the training blocks. `colour_jitter` changes the images' colours at random, see
    `lsr_ext.data.jitter_colours`.

    Attributes:
        accumulate_batches: batches per step whose gradients are added up; for methods without groups only.
        precision: "32"; "bf16-mixed" and "16-mixed": the network in mixed precision, the loss in its own;
            "bf16-true": the network's weights are bfloat16 too.
        accelerator, devices, strategy: as Lightning's Trainer takes them.
        compile: compile the network by `torch.compile`.
        channels_last: store images and features with the channels last, which convolutions are faster on.
        tf32: on GPUs that have it, float32 matrices and convolutions use TF32: faster, with 10 bits of mantissa.
        cudnn_benchmark: let cuDNN choose the fastest algorithm by trying: results may then differ between runs.
        workers: processes that read blocks ahead. null: one less than the processors where blocks are read from
            files, none where they are in memory.
        prefetch_batches: batches that each of them reads ahead.
        loggers: where the curves go. The report draws those of tensorboard or csv.
        validate_every_steps: validate on blocks of the validation split so often. null: never.
        validation_blocks: the most blocks to validate on; they are drawn once.
        keep: the weights of the model: the last, or the best by `monitor` of all validations.
        monitor: "fraction_error", the mean over labels, "loss", or "iou" where there is pixel truth.
        patience: stop after so many validations without a better value of `monitor`. null: do not.
    """

    steps: Count = 1000
    group_size: Count = 10
    groups_per_batch: Count = 2
    ungrouped_batch_size: Count | None = None
    accumulate_batches: Count = 1
    augment: bool = True
    colour_jitter: float = Field(0.0, ge=0, allow_inf_nan=False)
    checkpoint_every_steps: Count = 100
    log_every_steps: Count = 10
    loggers: list[LoggerName] = Field(["tensorboard"])
    precision: Precision = "32"
    accelerator: str = "auto"
    devices: Count | Literal["auto"] = 1
    strategy: str = "auto"
    compile: bool = False
    channels_last: bool = True
    tf32: bool = True
    cudnn_benchmark: bool = False
    workers: int | None = Field(None, ge=0)
    prefetch_batches: Count = 2
    optimizer: OptimizerConfig = OptimizerConfig(params={"lr": 1e-3, "alpha": 0.9})
    schedule: Literal["cosine", "constant"] = "cosine"
    gradient_clip_norm: float | None = Field(1.0, gt=0)
    start_at_prior: bool = False
    validate_every_steps: Count | None = None
    validation_blocks: Count = 500
    keep: Literal["last", "best"] = "last"
    monitor: Literal["fraction_error", "loss", "iou"] = "fraction_error"
    patience: Count | None = None
    network: NetworkConfig = NetworkConfig()

    @field_validator("precision", mode="before")
    @classmethod
    def _read_precision(cls, value: object) -> object:
        return str(value) if isinstance(value, int) else value  # 32 is a number in YAML

    @field_validator("loggers")
    @classmethod
    def _check_loggers(cls, loggers: list[str]) -> list[str]:
        if len(set(loggers)) < len(loggers):
            raise ValueError(f"each logger may be named once, got {loggers}")
        return loggers

    @model_validator(mode="after")
    def _check_validation(self) -> TrainingConfig:
        if self.validate_every_steps is None and (self.keep == "best" or self.patience is not None):
            key = "keep: best" if self.keep == "best" else "patience"
            raise ValueError(f"{key} needs validate_every_steps, got null")
        if self.validate_every_steps is not None and self.validate_every_steps > self.steps:
            raise ValueError(
                f"validate_every_steps: expected at most the {self.steps} steps, got {self.validate_every_steps}"
            )
        return self

    @model_validator(mode="after")
    def _check_start(self) -> TrainingConfig:
        if self.start_at_prior and self.network.class_path is not None:
            raise ValueError("start_at_prior is for the default network, got network.class")
        return self
