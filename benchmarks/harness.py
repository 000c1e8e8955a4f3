"""Helpers of all benchmarks: interleaved timing, peak memory, a description of the machine, JSON output."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

import lsr_ext

GLIBC_M_TRIM_THRESHOLD, GLIBC_M_MMAP_THRESHOLD = -1, -3


def reuse_memory() -> None:
    """Make glibc keep freed memory for the whole process, so that no method is timed on new pages."""
    libc = ctypes.CDLL("libc.so.6")
    for option in (GLIBC_M_MMAP_THRESHOLD, GLIBC_M_TRIM_THRESHOLD):
        if not libc.mallopt(option, 2**31 - 1):
            raise OSError(f"mallopt refused option {option}")


def part_compiled_code() -> None:
    """Give each instruction set that ATEN_CPU_CAPABILITY names a cache: torch would run one's code for another."""
    if instructions := os.environ.get("ATEN_CPU_CAPABILITY"):
        folder = Path(__file__).parents[1] / "build" / "inductor" / instructions
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


@lru_cache
def _more_than_the_caches() -> torch.Tensor:
    return torch.ones(64 << 20, device="cuda")


def _read_past_the_caches(times: int) -> None:
    """Empty the second-level cache by reads: what is written would go to memory on the next one's time."""
    for _ in range(times):
        _more_than_the_caches().sum()


@lru_cache
def _seconds_of_a_read() -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    _read_past_the_caches(3)
    start.record()
    _read_past_the_caches(10)
    end.record()
    torch.cuda.synchronize()
    return 1e-4 * start.elapsed_time(end)


class Timing(NamedTuple):
    """One call: seconds on its device, seconds of the host, and whether the device had to wait for the host."""

    seconds: float
    host: float
    waited: bool


def time_on_device(prepare: Callable, run: Callable, host: float) -> Timing:
    """A call between events on a GPU that has work before it for twice as long as the host took."""
    state = prepare()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    _read_past_the_caches(1 + math.ceil(min(2 * host, 0.2) / _seconds_of_a_read()))
    start.record()
    begin = time.perf_counter()
    result = run(state)
    host = time.perf_counter() - begin
    waited = start.query()
    end.record()
    torch.cuda.synchronize()
    del result, state
    return Timing(1e-3 * start.elapsed_time(end), host, waited)


def time_once(prepare: Callable, run: Callable, device: str, host: float = 0.0) -> Timing:
    """A call of run(prepare()), without what prepare takes; `host` is what the host took the last time."""
    if device == "cuda":
        return time_on_device(prepare, run, host)
    state = prepare()
    start = time.perf_counter()
    result = run(state)
    seconds = time.perf_counter() - start
    del result, state
    return Timing(seconds, seconds, False)


def interleaved(
    candidates: Mapping[str, tuple[Callable, Callable]], repeats: int, seconds: float, device: str
) -> dict[str, dict[str, float]]:
    """Time each candidate's (prepare, run) in turn, round after round, so that a drift of the machine affects all
    alike.

    Stops after `repeats` rounds, or after `seconds` once there were five. On a GPU beside the device's time the
    host's, and the share of rounds in which the device waited for it.
    """
    host: dict[str, float] = {}
    for name, (prepare, run) in candidates.items():
        for _ in range(3):
            host[name] = time_once(prepare, run, device).host
    timings: dict[str, list[Timing]] = {name: [] for name in candidates}
    start = time.perf_counter()
    gc.disable()
    for round_number in range(repeats):
        if round_number >= 5 and time.perf_counter() - start > seconds:
            break
        for name, (prepare, run) in candidates.items():
            timings[name].append(time_once(prepare, run, device, host[name]))
    gc.enable()
    found = {name: summary([timing.seconds for timing in each]) for name, each in timings.items()}
    if device == "cuda":
        for name, each in timings.items():
            found[name]["host_ms"] = 1e3 * statistics.median(timing.host for timing in each)
            found[name]["waited"] = sum(timing.waited for timing in each) / len(each)
    return found


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


def driver() -> str:
    """The version of the GPU's driver, as it tells itself."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def environment() -> dict[str, object]:
    gpu = {"driver": driver(), "cuda_runtime": torch.version.cuda} if torch.cuda.is_available() else {}
    return {
        "date": date.today().isoformat(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **gpu,
        **lsr_ext.build_info(),
    }


def tiatoolbox_seconds(python: Path, work: str, asked: Mapping[str, object]) -> list[float]:
    """Seconds of each repeat of a work of `tiatoolbox_peer.py`, by the Python that has TIAToolbox."""
    script = Path(__file__).with_name("tiatoolbox_peer.py")
    # Without -P, a package that TIAToolbox imports would be looked for among the benchmarks first.
    command = [python, "-P", "-W", "ignore", script, work]
    done = subprocess.run(command, input=json.dumps(asked), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)
