"""What all sections of a configuration share, and the numbers that stand in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator


def _some_weight(weights: list[float]) -> list[float]:
    if not any(weights):
        raise ValueError(f"expected a weight above 0, got {weights}")
    return weights


def _each_once(names: list[str]) -> list[str]:
    if not all(name.strip() for name in names):
        raise ValueError(f"expected a name for each class, got {names}")
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"expected each class once, got {repeated[0]!r} {names.count(repeated[0])} times")
    return names


Count = Annotated[int, Field(ge=1)]
Page = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
ClassNames = Annotated[list[str], Field(min_length=2), AfterValidator(_each_once)]
Weights = Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], AfterValidator(_some_weight)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Colour = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]


class Section(BaseModel):
    """A section of the file: no other keys than those named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _expand_home(cls, value: Any) -> Any:
        """A path's `~` is the home folder, as in a shell."""
        if isinstance(value, list):
            return [cls._expand_home(each) for each in value]
        return value.expanduser() if isinstance(value, Path) else value
