"""The configuration of a run: what may stand in its YAML file, and the checks on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from lsr_ext.options import LossOptions
from lsr_ext.training.data_config import Count, Data, LabelledImages, LandCover, Section
from lsr_ext.training.methods import METHODS, MethodName
from lsr_ext.training.objective import JointTerms, Term
from lsr_ext.training.presets import PRESETS

HeldOutPart = Literal["test", "validation"]


class LossConfig(Section):
    """The choices of `LabelSuperResolutionLoss`; its mode comes from the method.

    A block counts as 16 independent pixels here, for neighbours are alike. With all pixels independent, the loss's
    own default, the predicted variance hardly matters, and some seeds learn a map that has the right fractions and
    the wrong places.
    """

    form: str = "marginal"
    variance: Literal["independent", "printed"] | float = 16.0
    alpha: float = 1.0
    floor: float | None = None
    sharpness: float = 0.0
    class_weights: list[float] | None = None
    backend: Literal["auto", "fused", "reference"] = "auto"

    @model_validator(mode="after")
    def _check_options(self) -> LossConfig:
        LossOptions(**self.model_dump(exclude={"class_weights", "backend"}))
        return self


class TermConfig(Section):
    """The weight of a term of the joint loss over the steps: see `lsr_ext.training.objective.Term`."""

    weight: float = Field(1.0, ge=0)
    start_step: int = Field(0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    final_weight: float | None = Field(None, ge=0)


class PixelTermConfig(TermConfig):
    """The weight of the pixel term, which falls to zero unless told otherwise; `final_weight: null` keeps it.

    Pseudo-labels of blocks "high" or "low" show what a class looks like. Of how much there is they know nothing,
    and many are wrong: the last word is the super-resolution term's. Those by a block's area know, and are better
    kept.
    """

    final_weight: float | None = Field(0.0, ge=0)


class JointConfig(Section):
    """Weights of the two terms of the methods that have both, and of the classes in the pixel term of all."""

    pixel: PixelTermConfig = PixelTermConfig()
    super_resolution: TermConfig = TermConfig()
    pixel_class_weights: list[float] | None = None

    def build(self) -> JointTerms:
        """The terms' schedules."""
        return JointTerms(Term(**self.pixel.model_dump()), Term(**self.super_resolution.model_dump()))


class OptimizerConfig(Section):
    """A class of `torch.optim` by name, and its parameters."""

    name: str = "RMSprop"
    params: dict[str, bool | int | float | list[float]] = Field({"lr": 1e-3, "alpha": 0.9})

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

    "inter" and "intra+inter" train on `groups_per_batch` groups of `group_size` blocks; "intra" and
    "supervised", which know no groups, on `ungrouped_batch_size` blocks (None: as many as the others).

    Two things steady the few-hundred-step runs: the gradient's norm is clipped, for a label of little spread
    makes the loss of a block that misses it, and its gradient, some hundred times that of the others; and the
    learning rate falls to zero along a cosine. null and "constant" turn them off. With `start_at_prior` an
    untrained network predicts the expected fractions of the training blocks. `colour_jitter` is of the images, see
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
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Literal["cosine", "constant"] = "cosine"
    gradient_clip_norm: float | None = Field(1.0, gt=0)
    start_at_prior: bool = False
    network: NetworkConfig = NetworkConfig()


class EvaluationConfig(Section):
    """Which held-out part is scored, and how.

    Masked scores count the pixels within `boundary_distance_px` of a true boundary. Images are predicted by
    windows of `window_px` (None: of a block's size), `overlap` of it shared with the next, and turned and
    flipped in all eight ways (see `lsr_ext.training.symmetries`). Regions below `min_area_px` are no cells; a
    dot within `dilation_px` of a region hits it. `decoding`: a pixel's class is the likeliest, or the likeliest
    after each class's logit was shifted so that the training blocks hold its expected fraction
    ("expected_fraction").
    """

    part: HeldOutPart = "test"
    boundary_distance_px: float = Field(8, gt=0)
    window_px: Count | None = None
    overlap: float = Field(0.5, ge=0, lt=1)
    min_area_px: Count = 1
    dilation_px: float = Field(0.0, ge=0)
    decoding: Literal["likeliest", "expected_fraction"] = "likeliest"


class RunConfig(Section):
    """A whole run: its data, the methods to train, and the folder for what comes of it.

    In the folder `shared` (None: `output`) lies what runs of one seed on the same data may have in common, such as
    the patch classifier of their labels.
    """

    preset: Literal["ihc", "brca"] | None = None
    output: Path
    shared: Path | None = None
    seed: int = Field(0, ge=0, lt=2**32)
    data: Data
    methods: list[MethodName] = Field(["intra", "inter", "intra+inter"], min_length=1)
    loss: LossConfig = LossConfig()
    joint: JointConfig = JointConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _check_validation(self) -> RunConfig:
        if self.evaluation.part == "validation" and not self.data.validation_fraction:
            raise ValueError("evaluation.part 'validation' needs data.validation_fraction above 0")
        return self

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"each method may be named once, got {methods}")
        return methods

    @model_validator(mode="after")
    def _check_supervision(self) -> RunConfig:
        for name in self.methods:
            pixels = METHODS[name].pixels
            if pixels in ("all", "limited") and isinstance(self.data, LabelledImages):
                raise ValueError(
                    f"methods: {name!r} needs pixel truth, and the source 'labels' has none to train on"
                )
            if pixels in ("limited", "pseudo", "own") and isinstance(self.data, LandCover):
                raise ValueError(
                    f"methods: {name!r} cannot be had from the source 'land_cover', of labelled pixels"
                )
            if pixels == "pseudo" and self.data.stains is None:
                raise ValueError(f"methods: {name!r} needs data.stains for its pseudo-labels, got none")
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
    if isinstance(data, dict):
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
