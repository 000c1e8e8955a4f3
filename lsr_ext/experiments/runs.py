"""Carry out runs, each in a process of its own; what is done stays done."""

from __future__ import annotations

import logging
import multiprocessing
import os
import platform
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import orjson
import torch

import lsr_ext
from lsr_ext import training
from lsr_ext.experiments.plan import Run
from lsr_ext.files import write_atomically

Scores = dict[str, dict]
LOG_NAME = "run.log"
_RECORD_NAME = "run.json"


class RunFailure(Exception):
    """Why a run has no scores, in a line."""


def execute_run(run: Run) -> Scores:
    """Train the run's method and score it, as `lsr train` and `lsr evaluate run` do."""
    training.train(run.config)
    return training.evaluate(run.config)


def load_record(run: Run) -> dict[str, Any] | None:
    """What is kept of a finished run, or None where it is to be done: no record, or of another configuration.

    Returns:
        {"config", "scores": method -> scores, "environment", "seconds"}.
    """
    path = run.folder / _RECORD_NAME
    if not path.is_file():
        return None
    try:
        record = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{path}: not the record of a run ({error}); remove it to have it done again") from error
    return record if record.get("config") == _identity(run) else None


def carry_out(
    runs: Sequence[Run], workers: int, execute: Callable[[Run], Scores] = execute_run
) -> Iterator[tuple[Run, RunFailure | None]]:
    """Do the runs, `workers` at a time, and tell of each as it ends and whether it failed.

    Every run has a new process, so that one that is killed, for its memory say, takes no other with it; and these
    end with the process that started them. What a run prints goes to `run.log` in its folder.

    Args:
        runs: to do.
        workers: processes at a time, among which the processors are shared out.
        execute: from a run to its scores; a function of a module, for processes are started afresh.
    """
    if workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    waiting = deque(runs)
    active: dict[Connection, tuple[Run, BaseProcess]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < workers:
                run = waiting.popleft()
                receiver, process = _start(run, threads, execute)
                active[receiver] = run, process
            for receiver in wait(list(active)):
                run, process = active.pop(receiver)
                yield run, _finish(receiver, process)
    finally:
        for _, process in active.values():
            process.kill()
            process.join()


def _start(run: Run, threads: int, execute: Callable[[Run], Scores]) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(run, threads, execute, sender))
    process.start()
    sender.close()
    return receiver, process


def _finish(receiver: Connection, process: BaseProcess) -> RunFailure | None:
    try:
        reason = receiver.recv()
    except EOFError:
        process.join()
        reason = f"its process ended with exit code {process.exitcode}"
    receiver.close()
    process.join()
    return None if reason is None else RunFailure(reason)


def _work(run: Run, threads: int, execute: Callable[[Run], Scores], sender: Connection) -> None:
    """In the new process: do the run, keep its record and send why it failed, or None."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _print_to(run.folder / LOG_NAME)
    torch.set_num_threads(threads)
    began = time.monotonic()
    try:
        scores = execute(run)
        record = {
            "config": _identity(run),
            "scores": scores,
            "environment": describe_environment(),
            "seconds": round(time.monotonic() - began, 3),
        }
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        write_atomically(run.folder / _RECORD_NAME, orjson.dumps(record, option=options))
    except Exception as error:
        traceback.print_exc()
        sender.send(f"{type(error).__name__}: {error}")
        return
    sender.send(None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _print_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("lsr_ext").setLevel(logging.INFO)


def describe_environment() -> dict[str, str]:
    """The machine and the versions that a run was made with."""
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


def _identity(run: Run) -> dict[str, Any]:
    """What the scores depend on: runs and data may be moved."""
    content = run.config.model_dump(mode="json", exclude={"output": True, "data": {"root"}})
    return orjson.loads(orjson.dumps(content))
