"""What all sections of a configuration share, and the numbers that stand in them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Page = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Colour = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)]


class Section(BaseModel):
    """A section of the file: no other keys than those named."""

    model_config = ConfigDict(extra="forbid", frozen=True)
