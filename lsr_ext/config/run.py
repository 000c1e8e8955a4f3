"""The configuration of a run: what may stand in its YAML file, and the checks on it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from lsr_ext.config.data import Data
from lsr_ext.config.methods import METHODS, MethodName
from lsr_ext.config.section import Count, PositiveNumber, Section, Weights
from lsr_ext.config.terms import JointTerms
from lsr_ext.config.training import TrainingConfig
from lsr_ext.options import FORMS, LossOptions

HeldOutSplit = Literal["test", "validation"]

# Losses of other methods, in plain PyTorch, for comparison: see `lsr_ext.training.peers`.
PEER_FORMS = ("implicit_posterior", "implicit_posterior_rq", "maximum")


class LossConfig(Section):
    """The choices of `LabelSuperResolutionLoss`; its mode comes from the method.

    Here a block counts as 16 independent pixels, because neighbouring pixels are alike. With all pixels
    independent, the loss's own default, the predicted variance hardly matters, and some seeds learn maps with
    the right fractions in the wrong places.

    Attributes:
        targets: what a block's predicted fractions are matched to. "labels": mean and standard deviation of its
            label, p(c_l | z). "fractions": the block's own numbers, where the source knows them.
        std: standard deviation of those numbers, one for all or one a class; None: the source's own.
        count: instead of `std`, the number of cells or independent pixels that each was counted from: the standard
            deviation is then binomial.
        form: one of `lsr_ext.functional.label_super_resolution_loss`, or of `lsr_ext.training.peers`:
            "implicit_posterior", "implicit_posterior_rq", "maximum".
    """

    targets: Literal["labels", "fractions"] = "labels"
    std: PositiveNumber | list[PositiveNumber] | None = None
    count: Count | None = None
    form: str = "marginal"
    variance: Literal["independent", "printed"] | float = 16.0
    alpha: float = 1.0
    floor: float | None = None
    sharpness: float = 0.0
    class_weights: Weights | None = None
    backend: Literal["auto", "fused", "reference"] = "auto"

    @model_validator(mode="after")
    def _check_options(self) -> LossConfig:
        if self.form not in (*FORMS, *PEER_FORMS):
            raise ValueError(f"form must be one of {(*FORMS, *PEER_FORMS)}, got {self.form!r}")
        if self.form in FORMS:
            LossOptions(**self.options)
        elif self.targets == "fractions":
            raise ValueError(f"form {self.form!r} learns from labels: targets 'fractions' are for the other forms")
        return self

    @model_validator(mode="after")
    def _check_std(self) -> LossConfig:
        given = [name for name in ("std", "count") if getattr(self, name) is not None]
        if self.targets == "labels":
            if given:
                raise ValueError(f"{given[0]} is that of targets: fractions, got targets: labels")
        elif len(given) > 1:
            raise ValueError("targets: fractions take either std or count, got both")
        return self

    @property
    def options(self) -> dict[str, str | float | None]:
        """The choices of `LossOptions` but for the mode."""
        return {name: getattr(self, name) for name in ("form", "variance", "alpha", "floor", "sharpness")}


class EvaluationConfig(Section):
    """Which held-out split is scored, and how.

    Masked scores count the pixels within `boundary_distance_px` of a true boundary. Images are predicted by
    windows of `window_px` (None: of a block's size), `overlap` of it shared with the next, and averaged over
    `symmetries` of 1, 2, 4 or 8 (see `lsr_ext.inference.symmetries`). Regions below `min_area_px` are no cells; a
    dot within `dilation_px` of a region hits it. `decoding`: "likeliest" takes a pixel's likeliest class;
    "expected_fraction" adds a constant to each class's logit first, fitted so that the class covers its expected
    share of the training blocks.
    """

    split: HeldOutSplit = "test"
    boundary_distance_px: float = Field(8, gt=0)
    window_px: Count | None = None
    overlap: float = Field(0.5, ge=0, lt=1)
    symmetries: Literal[1, 2, 4, 8] = 8
    min_area_px: Count = 1
    dilation_px: float = Field(0.0, ge=0)
    decoding: Literal["likeliest", "expected_fraction"] = "likeliest"


class RunConfig(Section):
    """A whole run: its data, the methods to train, and the folder for what comes of it.

    In a YAML file, `data.root` and `training.network.weights.file` are relative to the folder of the file,
    `output` and `shared` to the folder that the command is started in.

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
    joint: JointTerms = JointTerms()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="after")
    def _check_validation(self) -> RunConfig:
        if self.evaluation.split == "validation" and not self.data.has_validation:
            raise ValueError("evaluation.split 'validation' needs data.validation_fraction above 0")
        if self.training.validate_every_steps is not None and not self.data.has_validation:
            raise ValueError(
                "training.validate_every_steps needs a validation split: data.validation_fraction above 0, or "
                "fixed splits with one"
            )
        return self

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: list[str]) -> list[str]:
        if len(set(methods)) < len(methods):
            raise ValueError(f"each method may be named once, got {methods}")
        return methods

    @model_validator(mode="after")
    def _check_accumulation(self) -> RunConfig:
        grouped = [name for name in self.methods if METHODS[name].is_grouped]
        if self.training.accumulate_batches > 1 and grouped:
            raise ValueError(
                f"training.accumulate_batches: {grouped[0]!r} compares the blocks of a group, and adding up the "
                "gradients of smaller batches is not the gradient of larger groups, but up to 5 % off. Use "
                "accumulate_batches: 1 and a smaller group_size, or the method intra"
            )
        return self

    @model_validator(mode="after")
    def _check_targets(self) -> RunConfig:
        if self.loss.targets == "fractions" and "fractions" in self.data.lacks:
            raise ValueError(f"loss.targets: 'fractions' {self.data.lacks['fractions']}")
        grouped = [name for name in self.methods if METHODS[name].is_grouped]
        if self.loss.form in PEER_FORMS and grouped:
            raise ValueError(
                f"loss.form: {self.loss.form!r} is of single blocks, not for the method {grouped[0]!r}"
            )
        return self

    @model_validator(mode="after")
    def _check_supervision(self) -> RunConfig:
        for name in self.methods:
            pixels = METHODS[name].pixels
            if pixels in self.data.lacks:
                raise ValueError(f"methods: {name!r} {self.data.lacks[pixels]}")
            if pixels == "pseudo" and self.data.stains is None:
                raise ValueError(f"methods: {name!r} needs data.stains for its pseudo-labels, got none")
        return self
