"""Carry out a run and write its record; a run with a record is finished."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import torch

import lsr_ext
from lsr_ext import evaluation, training
from lsr_ext.experiments.plan import Run
from lsr_ext.files import write_atomically
from lsr_ext.training.same_data import read_data_digests

Scores = dict[str, dict]
Execute = Callable[[Run], Scores]
_RECORD_NAME = "run.json"


class Unscored(NamedTuple):
    """Why a run has no scores; `is_left_out`: its data cannot give them, it did not fail."""

    reason: str
    is_left_out: bool = False


def execute_run(run: Run) -> Scores:
    """Train the run's method and score it, as `lsr train` and `lsr evaluate run` do."""
    training.train(run.config)
    return evaluation.evaluate(run.config)


def do_run(run: Run, execute: Execute) -> None:
    """Carry out a run and write its record as its last file."""
    began = time.monotonic()
    scores = execute(run)
    record = {
        "config": _identity(run),
        "scores": scores,
        "data": read_data_digests(run.folder),
        "environment": _describe_environment(),
        "seconds": round(time.monotonic() - began, 3),
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    write_atomically(run.folder / _RECORD_NAME, orjson.dumps(record, option=options))


def load_record(run: Run) -> dict[str, Any] | None:
    """Read the record of a finished run; None if it has no record, or one of another configuration.

    Returns:
        {"config", "scores": method -> scores, "environment", "seconds"}.

    Raises:
        ValueError: the file is not a record.
    """
    path = run.folder / _RECORD_NAME
    if not path.is_file():
        return None
    try:
        record = orjson.loads(path.read_bytes())
        keys = record.keys() & {"config", "scores", "environment", "seconds"}
    except (orjson.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{path}: not the record of a run ({error}); remove it to repeat the run") from error
    return record if len(keys) == 4 and record["config"] == _identity(run) else None


def _identity(run: Run) -> dict[str, Any]:
    """Return the settings that the scores depend on, without paths, because runs and data may be moved."""
    content = run.config.model_dump(mode="json", exclude={"output", "shared"})
    return orjson.loads(orjson.dumps(content))


def _describe_environment() -> dict[str, str]:
    """Describe the machine and the versions of a run."""
    packages = {name: version(name) for name in ("lightning", "monai", "numpy")}
    machine = {
        "platform": platform.platform(),
        "processor": _processor_name(),
        "processors": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
    return machine | {"python": platform.python_version()} | lsr_ext.build_info() | packages


def _processor_name() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
