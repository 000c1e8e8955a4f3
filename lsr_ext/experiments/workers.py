"""Carry out runs in separate processes: if one dies, only its own run is lost."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

import torch

from lsr_ext.experiments.plan import Run
from lsr_ext.experiments.runs import Execute, Unscored, do_run
from lsr_ext.processes import end_with_parent
from lsr_ext.training.errors import NoTargetsError

LOG_NAME = "run.log"


def carry_out(runs: Sequence[Run], workers: int, execute: Execute) -> Iterator[tuple[Run, Unscored | None]]:
    """Do the runs, `workers` at a time; yield each run when it ends, with the reason if it has no scores.

    A process does one run after another, and is replaced after a failed run. All processes end with the process
    that started them, however that ends. The output of a run is appended to `run.log` in its folder.

    Args:
        runs: the runs to do.
        workers: number of processes; the threads of this one are divided among them.
        execute: function from a run to its scores; defined in a module, because new processes import it.
    """
    if workers < 1:
        raise ValueError(f"expected at least 1 worker, got {workers}")
    threads = max(1, torch.get_num_threads() // workers)  # OMP_NUM_THREADS, or the processors
    waiting = deque(runs)
    idle: list[_Worker] = []
    busy: dict[Connection, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < workers:
                worker = idle.pop() if idle else _Worker(threads, execute)
                busy[worker.connection] = worker
                worker.begin(waiting.popleft())
            for connection in wait(list(busy)):
                worker = busy[connection]
                run, unscored = worker.run, worker.end()
                del busy[connection]
                if unscored is None or unscored.is_left_out:
                    idle.append(worker)
                else:
                    unscored = Unscored(f"{unscored.reason} (see {run.folder / LOG_NAME})")
                    worker.stop()
                yield run, unscored
    finally:
        for worker in [*idle, *busy.values()]:
            worker.stop()


class _Worker:
    """The parent's side of a worker process."""

    def __init__(self, threads: int, execute: Execute) -> None:
        # Forking a process that has used threads or CUDA is not safe.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads, execute))
        self.process.start()
        theirs.close()
        self.run: Run | None = None

    def begin(self, run: Run) -> None:
        self.run = run
        self.connection.send(run)

    def end(self) -> Unscored | None:
        """Return why the run has no scores, or None."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            return Unscored(f"its process ended with exit code {self.process.exitcode}")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, threads: int, execute: Execute) -> None:
    """Run inside the process: do runs until it is stopped."""
    end_with_parent()
    torch.set_num_threads(threads)
    # Otherwise Numba's parallel loops would let OpenMP in this process, torch included, use every processor.
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
    logging.basicConfig(format="%(asctime)s %(message)s", stream=sys.stdout)
    logging.getLogger("lsr_ext").setLevel(logging.INFO)
    while True:
        run = connection.recv()
        _print_to(run.folder / LOG_NAME)
        try:
            do_run(run, execute)
        except NoTargetsError as error:
            connection.send(Unscored(str(error), is_left_out=True))
        except Exception as error:
            traceback.print_exc()
            connection.send(Unscored(f"{type(error).__name__}: {error}"))
        else:
            connection.send(None)


def _print_to(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
