"""Blocks that cannot be read are left out, counted and recorded with the reason; too many stop the run."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from lsr_ext.files import write_atomically

DEFAULT_LIMIT = 0.05


class QuarantineLimitError(ValueError):
    """More was left out than the user allows."""


class Quarantine:
    """The blocks of a dataset that are left out, shared by all processes that use the dataset.

    Args:
        num_blocks: number of blocks N.
        report: a file of JSON lines, one per event: slide, blocks, reason, ... None: no report.
        limit: the largest share of the N blocks that may be left out, in [0, 1].
        resumed: leave out what the report lists, and go on with it; otherwise the report starts empty.

    Raises:
        ValueError: a limit outside [0, 1], or a report of other blocks.
    """

    def __init__(
        self,
        num_blocks: int,
        report: str | Path | None = None,
        limit: float = DEFAULT_LIMIT,
        *,
        resumed: bool = False,
    ) -> None:
        if not 0 <= limit <= 1:
            raise ValueError(f"expected a limit in [0, 1], got {limit}")
        self.limit = limit
        self.report = None if report is None else Path(report)
        # In shared memory, so that all workers of a DataLoader see it.
        self._left_out = torch.zeros(num_blocks, dtype=torch.bool).share_memory_()
        if self.report is not None:
            self.report.parent.mkdir(parents=True, exist_ok=True)
            events = _whole_lines(self.report) if resumed and self.report.is_file() else []
            self._leave_out_again(events)
            write_atomically(self.report, b"".join(events))

    def _leave_out_again(self, events: Sequence[bytes]) -> None:
        for event in events:
            blocks = json.loads(event)["blocks"]
            if blocks and not 0 <= min(blocks) <= max(blocks) < len(self._left_out):
                raise ValueError(f"{self.report}: expected blocks below {len(self._left_out)}, got {max(blocks)}")
            self._left_out[blocks] = True

    def __contains__(self, block: int) -> bool:
        return bool(self._left_out[block])

    @property
    def count(self) -> int:
        """How many blocks are left out."""
        return int(self._left_out.sum())

    def blocks(self) -> np.ndarray:
        """The indices of these blocks: int64, increasing."""
        return np.flatnonzero(self._left_out.numpy())

    def add(self, blocks: Sequence[int] | np.ndarray, reason: str, about: Mapping[str, object]) -> None:
        """Leave blocks out from now on; blocks that are already left out count once.

        Args:
            blocks: indices into the dataset.
            reason: reason of the failure.
            about: further fields for the report.

        Raises:
            QuarantineLimitError: more are left out now than the limit allows.
        """
        new = [int(block) for block in blocks if block not in self]
        if new and self.report is not None:
            with self.report.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # Another process may have been first.
                new = [block for block in new if block not in self]
                if new:
                    file.write(json.dumps({**about, "blocks": new, "reason": reason}) + "\n")
                    file.flush()
                self._left_out[new] = True
        self._left_out[new] = True
        if self.count > self.limit * len(self._left_out):
            where = "" if self.report is None else f"; see {self.report}"
            raise QuarantineLimitError(
                f"{self.count} of {len(self._left_out)} blocks cannot be read, more than the limit of "
                f"{self.limit:.2%}{where}; the last: {reason}"
            )


def _whole_lines(path: Path) -> list[bytes]:
    """The lines of a report; a killed process may have left the last one half written."""
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def read_report(path: str | Path) -> list[dict]:
    """Read the events of a report, in the order in which they were written."""
    return [json.loads(line) for line in _whole_lines(Path(path))]
