"""Helpers of all benchmarks: interleaved timing, peak memory, a description of the machine, JSON output."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path

import torch

import lsr_ext

GLIBC_M_TRIM_THRESHOLD, GLIBC_M_MMAP_THRESHOLD = -1, -3


def reuse_memory() -> None:
    """Make glibc keep freed memory for the whole process, so that no method is timed on new pages."""
    libc = ctypes.CDLL("libc.so.6")
    for option in (GLIBC_M_MMAP_THRESHOLD, GLIBC_M_TRIM_THRESHOLD):
        if not libc.mallopt(option, 2**31 - 1):
            raise OSError(f"mallopt refused option {option}")


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@lru_cache
def _more_than_the_caches() -> torch.Tensor:
    return torch.empty(256 << 20, dtype=torch.uint8, device="cuda")


def time_on_device(prepare: Callable, run: Callable) -> float:
    """Measure seconds between events on a GPU; its L2 cache is overwritten before."""
    state = prepare()
    _more_than_the_caches().zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    result = run(state)
    end.record()
    torch.cuda.synchronize()
    del result, state
    return 1e-3 * start.elapsed_time(end)


def time_once(prepare: Callable, run: Callable, device: str) -> float:
    """Measure seconds of run(prepare()), without the time of prepare."""
    if device == "cuda":
        return time_on_device(prepare, run)
    state = prepare()
    synchronise(device)
    start = time.perf_counter()
    result = run(state)
    synchronise(device)
    seconds = time.perf_counter() - start
    del result, state
    return seconds


def interleaved(
    candidates: Mapping[str, tuple[Callable, Callable]], repeats: int, seconds: float, device: str
) -> dict[str, dict[str, float]]:
    """Time each candidate's (prepare, run) in turn, round after round, so that a drift of the machine affects all
    alike.

    It stops after `repeats` rounds, or after `seconds` if there were at least five rounds.
    """
    for prepare, run in candidates.values():
        for _ in range(2):
            time_once(prepare, run, device)
    times: dict[str, list[float]] = {name: [] for name in candidates}
    start = time.perf_counter()
    gc.disable()
    for round_number in range(repeats):
        if round_number >= 5 and time.perf_counter() - start > seconds:
            break
        for name, (prepare, run) in candidates.items():
            times[name].append(time_once(prepare, run, device))
    gc.enable()
    return {name: summary(values) for name, values in times.items()}


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles in milliseconds."""
    low, median, high = (1e3 * q for q in statistics.quantiles(values, n=4, method="inclusive"))
    return {"median_ms": median, "q1_ms": low, "q3_ms": high, "rounds": len(values)}


def _status_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def peak_extra_bytes(prepare: Callable, run: Callable, device: str) -> int:
    """Measure peak memory during run(prepare()), beyond the memory in use before it."""
    state = prepare()
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run(state)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # freed memory still counts as resident, and its reuse would not show
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory that is resident now
    before = _status_kib("VmRSS")
    result = run(state)
    after = _status_kib("VmHWM")
    del result
    return 1024 * (after - before)


def processor_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def environment() -> dict[str, object]:
    return {
        "date": date.today().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **lsr_ext.build_info(),
    }


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)
