from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from lsr_ext.faults import describe_faults


class Masks(BaseModel):
    kind: Literal["masks"]
    size_px: int


class Dots(BaseModel):
    kind: Literal["dots"]


class Run(BaseModel):
    data: Annotated[Masks | Dots, Field(discriminator="kind")]


def faults_of(content):
    with pytest.raises(ValidationError) as caught:
        Run.model_validate(content)
    return describe_faults(caught.value, "run", kinds=("data",))


def test_the_name_of_a_kind_is_no_key():
    (line,) = faults_of({"data": {"kind": "masks", "size_px": "wide"}})
    assert line.startswith("data.size_px: ") and line.endswith(", got 'wide'")


def test_what_is_missing_and_what_is_no_run_at_all():
    assert faults_of({}) == ["data: Field required"]
    (line,) = faults_of([1])
    assert line.startswith("run: ") and line.endswith(", got [1]")


def test_a_long_value_is_cut():
    (line,) = faults_of({"data": {"kind": "masks", "size_px": "x" * 10**6}})
    assert line.endswith("xxx ...") and len(line) < 400
