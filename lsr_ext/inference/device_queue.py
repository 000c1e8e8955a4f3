"""A queue of slides over several devices, a process each; one that dies loses its own slide alone."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

import torch

from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.inference.model import TrainedModel
from lsr_ext.processes import end_with_parent
from lsr_ext.progress import hide_progress


class PredictOne(Protocol):
    """Predicts a slide and returns why it failed, or None; a module's function, as new processes import it."""

    def __call__(self, model: TrainedModel, slide: CohortSlide, **options: Any) -> str | None: ...


def predict_on_devices(
    predict_one: PredictOne,
    model: TrainedModel,
    devices: Sequence[torch.device],
    slides: Sequence[CohortSlide],
    options: dict[str, Any],
) -> Iterator[tuple[CohortSlide, str | None]]:
    """Give each device the next slide when it is free; yield slides as they end, with the reason if one failed."""
    model = dataclasses.replace(model, device=torch.device("cpu"))
    threads = max(1, torch.get_num_threads() // len(devices))
    waiting, busy = deque(slides), {}
    idle = [_Worker(predict_one, model, device, threads, options) for device in devices]
    try:
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop(0)
                worker.begin(waiting.popleft())
                busy[worker.connection] = worker
            for connection in wait(list(busy)):
                worker = busy.pop(connection)
                slide, reason, is_alive = worker.end()
                idle.append(worker if is_alive else worker.replaced())
                yield slide, reason
    finally:
        for worker in [*idle, *busy.values()]:
            worker.stop()


class _Worker:
    """The parent's side of a process."""

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments
        context = multiprocessing.get_context("spawn")  # forking after threads or CUDA started is not safe
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *arguments))
        self._process.start()
        theirs.close()
        self._slide: CohortSlide | None = None

    def begin(self, slide: CohortSlide) -> None:
        self._slide = slide
        with contextlib.suppress(ConnectionError):  # it died while it was idle; `end` says so
            self.connection.send(slide)

    def end(self) -> tuple[CohortSlide, str | None, bool]:
        """The slide, why it failed, and whether the process lives."""
        try:
            return self._slide, self.connection.recv(), True
        except (EOFError, ConnectionResetError):
            self._process.join()
            return self._slide, f"its process ended with code {self._process.exitcode}", False

    def replaced(self) -> _Worker:
        self.stop()
        return _Worker(*self._arguments)

    def stop(self) -> None:
        self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(
    connection: Connection,
    predict_one: PredictOne,
    model: TrainedModel,
    device: torch.device,
    threads: int,
    options: dict[str, Any],
) -> None:
    """Run inside the process: predict slides until it is stopped."""
    end_with_parent()
    hide_progress()
    logging.basicConfig(format=f"{device}: %(message)s", level=logging.INFO)
    torch.set_num_threads(threads)
    model = dataclasses.replace(model, device=device)
    while True:
        connection.send(predict_one(model, connection.recv(), **options))
