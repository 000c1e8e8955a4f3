"""The configuration of a run: what may stand in its YAML file, and the checks on it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lsr_ext.options import LossOptions
from lsr_ext.training.presets import PRESETS

Method = Literal["intra", "inter", "intra+inter", "supervised"]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Blocks(_Section):
    """What all sources share: the side of a block, the share held out, the class that two-class scores are of."""

    block_size_px: Count
    test_fraction: float = Field(0.3, gt=0, lt=1)
    foreground: str | None = None


class _QuantisedFractions(_Blocks):
    """Labels made from pixel truth: the noisy fraction of the foreground, cut at `edges` or into `bins` quantiles.

    `stride_px` overlaps the training blocks. `distribution_blocks` training blocks per label give the count
    distribution, as an annotator would estimate it.
    """

    stride_px: Count | None = None
    edges: list[Annotated[float, Field(gt=0, lt=1)]] | None = None
    bins: int | None = Field(None, ge=2)
    noise_std: float = Field(0.0, ge=0)
    distribution_blocks: Count = 12

    @model_validator(mode="after")
    def _check_labelling(self) -> _QuantisedFractions:
        if (self.edges is None) == (self.bins is None):
            raise ValueError("expected either edges or bins, got " + ("none" if self.bins is None else "both"))
        if self.edges is not None and any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must increase, got {self.edges}")
        return self


class StainedImage(_QuantisedFractions):
    """scikit-image's `immunohistochemistry`; the truth is where it is brown (DAB), by colour deconvolution."""

    source: Literal["skimage_ihc"]


class MaskFolders(_QuantisedFractions):
    """Folders of images with masks (none named: beside the images); all folders are relative to `root`.

    `resize_list` is the name of a file in each image folder, see `lsr_ext.data.read_resize_list`.
    """

    source: Literal["masks"]
    root: Path = Path()
    images: list[Path] = Field([Path()], min_length=1)
    masks: list[Path] | None = None
    mask_suffix: str = "_mask"
    instance_masks: bool = True
    resize_list: str | None = None
    downscale: Count = 1
    classes: list[str] = Field(["background", "foreground"], min_length=2)

    @model_validator(mode="after")
    def _check_folders(self) -> MaskFolders:
        if self.masks is not None and len(self.masks) != len(self.images):
            raise ValueError(f"expected a mask folder per image folder, got {len(self.masks)}")
        return self


class LabelledImages(_Blocks):
    """A folder of images with a CSV of labels and a count distribution; paths are relative to `root`.

    `distribution` is a JSON file (`CountDistribution.save`), a CSV of fractions approximated by eye
    (`CountDistribution.from_fractions`) or a table of the paper, and names classes and labels. Images are one
    block each, or are cut into blocks of `block_size_px`. `masks`, class ids, serve to score held-out images.
    """

    source: Literal["labels"]
    root: Path = Path()
    images: Path = Path()
    labels: Path
    distribution: Literal["table1", "table6", "table7"] | Path
    masks: Path | None = None
    mask_suffix: str = ""


class LossConfig(_Section):
    """The choices of `LabelSuperResolutionLoss`; its mode comes from the method."""

    form: str = "marginal"
    variance: Literal["independent", "printed"] | float = "independent"
    alpha: float = 1.0
    floor: float | None = None
    sharpness: float = 0.0
    class_weights: list[float] | None = None
    backend: Literal["auto", "fused", "reference"] = "auto"

    @model_validator(mode="after")
    def _check_options(self) -> LossConfig:
        LossOptions(**self.model_dump(exclude={"class_weights", "backend"}))
        return self


class OptimizerConfig(_Section):
    """A class of `torch.optim` by name, and its parameters."""

    name: str = "RMSprop"
    params: dict[str, bool | int | float | list[float]] = {"lr": 1e-3, "alpha": 0.9}

    @model_validator(mode="after")
    def _check_by_building(self) -> OptimizerConfig:
        try:
            self.build([torch.nn.Parameter(torch.zeros(1))])
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not an optimizer of torch.optim with its parameters: {error}") from error
        return self

    def build(self, parameters: Any) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        return getattr(torch.optim, self.name)(parameters, **self.params)


class NetworkConfig(_Section):
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


class TrainingConfig(_Section):
    """Steps, batches, optimizer and network.

    "inter" and "intra+inter" train on `groups_per_batch` groups of `group_size` blocks; "intra" and
    "supervised", which know no groups, on `ungrouped_batch_size` blocks (None: as many as the others).

    Two things steady the few-hundred-step runs: the gradient's norm is clipped, for a label of little spread
    makes the loss of a block that misses it, and its gradient, some hundred times that of the others; and the
    learning rate falls to zero along a cosine. null and "constant" turn them off.
    """

    steps: Count = 1000
    group_size: Count = 10
    groups_per_batch: Count = 2
    ungrouped_batch_size: Count | None = None
    augment: bool = True
    checkpoint_every_steps: Count = 100
    log_every_steps: Count = 10
    accelerator: str = "auto"
    devices: Count = 1
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Literal["cosine", "constant"] = "cosine"
    gradient_clip_norm: float | None = Field(1.0, gt=0)
    network: NetworkConfig = NetworkConfig()


class EvaluationConfig(_Section):
    """Masked scores count the pixels within `boundary_distance_px` of a true boundary."""

    boundary_distance_px: float = Field(8, gt=0)


class RunConfig(_Section):
    """A whole run: its data, the methods to train, and the folder for what comes of it."""

    preset: Literal["ihc", "brca"] | None = None
    output: Path
    seed: int = Field(0, ge=0, lt=2**32)
    data: Annotated[StainedImage | MaskFolders | LabelledImages, Field(discriminator="source")]
    methods: list[Method] = Field(["intra", "inter", "intra+inter"], min_length=1)
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"each method may be named once, got {methods}")
        return methods

    @model_validator(mode="after")
    def _check_supervision(self) -> RunConfig:
        if "supervised" in self.methods and self.data.source == "labels":
            raise ValueError(
                "methods: 'supervised' needs pixel truth, and the source 'labels' has none to train on"
            )
        return self


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> RunConfig:
    """Read a configuration from YAML.

    Args:
        path: the file; `data.root` in it is relative to the file's folder.
        overrides: dotted keys and values that replace the file's, such as {"data.root": "/cohort"}.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no YAML mapping, or a key or value that is not allowed; the message names file and key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a configuration file, found none at {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not readable YAML ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping of sections, got {type(content).__name__}")
    data = content.get("data")
    if isinstance(data, dict) and data.get("source") != "skimage_ihc":
        data["root"] = path.parent / str(data.get("root", "."))
    content = _merge(PRESETS.get(content.get("preset"), {}), content)
    for key, value in (overrides or {}).items():
        content = _merge(content, _nest(key, value))
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise ValueError("\n".join(f"{path}: {line}" for line in _describe(error))) from error


def _merge(base: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        # A named optimizer comes with its own parameters, not with those of the one below.
        merged[key] = _merge(merged[key], value) if both and key != "optimizer" else value
    return merged


def _nest(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _describe(error: ValidationError) -> list[str]:
    """One line per fault: key, rule and, for a plain value, what came."""
    lines = []
    for fault in error.errors():
        location = [str(part) for part in fault["loc"]]
        if location[:1] == ["data"]:
            del location[1:2]  # the source's name, which is a value in the file
        key = ".".join(location) or "configuration"
        came = "" if isinstance(fault["input"], (dict, BaseModel)) else f", got {fault['input']!r}"
        lines.append(f"{key}: {fault['msg']}{came}")
    return lines
