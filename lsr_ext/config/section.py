"""What all sections of a configuration share, and the numbers that stand in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator


def _some_weight(weights: list[float]) -> list[float]:
    if not any(weights):
        raise ValueError(f"expected a weight above 0, got {weights}")
    return weights


Count = Annotated[int, Field(ge=1)]
Page = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
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
