"""The format of a trained model's `model.json`, beside its `weights.safetensors`: see docs/model_format.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lsr_ext.faults import describe_faults
from lsr_ext.inference.symmetries import SYMMETRIES

FORMAT, VERSION = "lsr_ext.model", 2
DESCRIPTION_NAME, WEIGHTS_NAME = "model.json", "weights.safetensors"
_MAX_DESCRIPTION_BYTES = 2**24

DECODINGS = ("likeliest", "expected_fraction")

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AdapterDescription(_Part):
    """How a network of another package is adapted: see `lsr_ext.networks.AdaptedNetwork`."""

    norm: Literal["group", "affine"] | None = None
    multiple_px: Count = 1


class NetworkDescription(_Part):
    """The import path of the network's class, its keyword arguments, and how it is adapted; None: it is not."""

    path: str
    params: dict[str, Any]
    adapter: AdapterDescription | None = None


class ClassDescription(_Part):
    """A pixel class and the colour that it is drawn in, "#rrggbb"."""

    name: str
    colour: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]


class InputDescription(_Part):
    """Channels of an image; integers are divided by `scale`, floating-point pixels are in [0, 1] already."""

    channels: Count
    scale: Annotated[float, Field(gt=0)] = 255.0


class PredictionDescription(_Part):
    """Side of a window, the share of it that the next window has too, and how many symmetries are averaged."""

    window_px: Count
    overlap: Annotated[float, Field(ge=0, lt=1)]
    symmetries: int = 8

    @model_validator(mode="after")
    def _check_symmetries(self) -> PredictionDescription:
        if self.symmetries not in SYMMETRIES:
            raise ValueError(f"symmetries must be one of {SYMMETRIES}, got {self.symmetries}")
        return self

    def changed(self, given: Mapping[str, int | float | None]) -> PredictionDescription:
        """These values with others in place of some; None: as it is.

        Raises:
            ValueError: a value out of range.
        """
        values = self.model_dump() | {name: value for name, value in given.items() if value is not None}
        try:
            return PredictionDescription(**values)
        except ValidationError as error:
            raise ValueError("\n".join(describe_faults(error, "prediction"))) from error


class DecodingDescription(_Part):
    """How a pixel's class is chosen: the likeliest, or the likeliest after `shift` is added to the logarithms."""

    kind: Literal["likeliest", "expected_fraction"]
    shift: list[float]


class DistributionDescription(_Part):
    """The count distribution that the network was trained with: names, and mean and std (Z, L)."""

    labels: list[str]
    classes: list[str]
    exclusive: bool
    mean: list[list[Fraction]]
    std: list[list[Annotated[float, Field(ge=0)]]]


class ModelDescription(_Part):
    """What `model.json` holds.

    Attributes:
        network: the class of the network and its parameters.
        classes: the L pixel classes, in the order of the network's outputs.
        input: what the network takes.
        mpp: microns per pixel of what it takes; None: not known.
        prediction: how images larger than a window are predicted.
        decoding: how classes are chosen; its `shift` was fitted to the training blocks.
        distribution: p(c_l | z).
        trained_on: the data, method and steps, in a line.
        versions: of the software that trained it.
    """

    format: Literal["lsr_ext.model"] = FORMAT
    version: Literal[1, 2] = VERSION
    network: NetworkDescription
    classes: Annotated[list[ClassDescription], Field(min_length=1)]
    input: InputDescription
    mpp: Annotated[float, Field(gt=0)] | None = None
    prediction: PredictionDescription
    decoding: DecodingDescription
    distribution: DistributionDescription
    trained_on: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _check_classes(self) -> ModelDescription:
        names = self.class_names
        if names != self.distribution.classes:
            raise ValueError(f"classes {names} are not those of the distribution, {self.distribution.classes}")
        if len(self.decoding.shift) != len(names):
            raise ValueError(f"decoding.shift must hold {len(names)} numbers, got {len(self.decoding.shift)}")
        return self

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in order."""
        return [described.name for described in self.classes]


def dump_description(description: ModelDescription) -> bytes:
    """The content of `model.json`, in the oldest version that can hold it."""
    content = description.model_dump(mode="json")
    if description.network.adapter is None:
        content["version"] = 1
        del content["network"]["adapter"]
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def read_description(path: Path) -> ModelDescription:
    """Read `model.json`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no description of a model, or one that a newer lsr_ext wrote.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a trained model, found no {path}: train first")
    if path.stat().st_size > _MAX_DESCRIPTION_BYTES:
        raise ValueError(f"{path}: expected at most {_MAX_DESCRIPTION_BYTES} bytes, got {path.stat().st_size}")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a model of lsr_ext, with the format {FORMAT!r}")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ValueError(
            f"{path}: written in version {version} of the format, this lsr_ext reads up to {VERSION}: upgrade it"
        )
    try:
        return ModelDescription.model_validate(content)
    except ValidationError as error:
        faults = describe_faults(error, "model")
        raise ValueError("\n".join(f"{path}: {fault}" for fault in faults)) from error
