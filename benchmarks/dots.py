"""Measure matching of dots: closest_first against a KD-tree with the same rule, and a dense assignment.

Dots are at random positions, at the density of nuclei, in um. The second set is the first in another order, with
each dot moved by 2 um in a random direction (normal) and one in ten replaced by a random dot. The KD-tree is
scipy's cKDTree, queried for all pairs within the radius; the greedy rule on the sorted pairs is compiled too, so
that the tree is measured and not Python's loop. Everything runs on one thread.

    python benchmarks/dots.py
    python benchmarks/dots.py --counts 1000000 --json result.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from harness import environment, interleaved, peak_extra_bytes, write_json
from numba import njit
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from lsr_ext.metrics import match_dots

SETTINGS = {  # nuclei per mm2 and radius in um
    "sparse tissue": (2000, 5.0),
    "tumour": (5000, 5.0),
    "lymphocytes": (8000, 5.0),
    "wide radius": (5000, 10.0),
}
DENSE_DOTS = 3000  # the dense assignment needs 8 bytes per pair and cubic time


def make_dots(count: int, per_mm2: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(count)
    side_um = 1000 * np.sqrt(count / per_mm2)
    a = rng.random((count, 2)) * side_um
    b = a + rng.normal(0, 2, a.shape)
    elsewhere = rng.random(count) < 0.1
    b[elsewhere] = rng.random((elsewhere.sum(), 2)) * side_um
    return a, rng.permutation(b)


@njit(cache=True)
def take_in_order(i, j, count_a, count_b):
    partner, is_free = np.full(count_a, -1), np.ones(count_b, np.bool_)
    for k in range(len(i)):
        if partner[i[k]] < 0 and is_free[j[k]]:
            partner[i[k]] = j[k]
            is_free[j[k]] = False
    return partner


def match_by_kd_tree(dots: tuple[np.ndarray, np.ndarray], radius_um: float) -> np.ndarray:
    a, b = dots
    pairs = cKDTree(a).sparse_distance_matrix(cKDTree(b), radius_um, output_type="ndarray")
    order = np.lexsort((pairs["j"], pairs["i"], pairs["v"]))
    return take_in_order(pairs["i"][order], pairs["j"][order], len(a), len(b))


def match_by_assignment(dots: tuple[np.ndarray, np.ndarray], radius_um: float) -> int:
    distances = cdist(*dots)
    rows, columns = linear_sum_assignment(np.where(distances <= radius_um, distances, 1e6))
    return int((distances[rows, columns] <= radius_um).sum())


def extra_bytes(name: str, count: int, method: str) -> int:
    """Measure peak memory of a method beyond the dots; needs a new process, because freed memory may be kept."""
    per_mm2, radius_um = SETTINGS[name]
    few, dots = make_dots(10, per_mm2), make_dots(count, per_mm2)
    run: Callable = match_by_kd_tree if method == "cKDTree" else lambda d, r: match_dots(*d, r)
    run(few, radius_um)  # loads the compiled kernels
    return peak_extra_bytes(lambda: None, lambda _: run(dots, radius_um), "cpu")


def measure(name: str, count: int, args: argparse.Namespace) -> dict:
    per_mm2, radius_um = SETTINGS[name]
    dots = make_dots(count, per_mm2)
    runs: dict[str, Callable] = {
        "closest_first": lambda _: match_dots(*dots, radius_um),
        "cKDTree": lambda _: match_by_kd_tree(dots, radius_um),
    }
    if count <= DENSE_DOTS:
        runs["dense assignment"] = lambda _: match_by_assignment(dots, radius_um)
    if name == "tumour":
        runs["optimal"] = lambda _: match_dots(*dots, radius_um, "optimal")
    matches = runs["closest_first"](None)
    expected = np.flatnonzero(match_by_kd_tree(dots, radius_um) >= 0)
    if not np.array_equal(matches.pairs[:, 0], expected):
        raise AssertionError(f"{name}, {count}: closest_first and the KD-tree match different dots")
    candidates = {key: (lambda: None, run) for key, run in runs.items()}
    row = {"setting": name, "per_mm2": per_mm2, "radius_um": radius_um, "dots": count, "f1": matches.f1}
    row["times"] = interleaved(candidates, args.repeats, args.seconds, "cpu")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        asked = {key: pool.submit(extra_bytes, name, count, key) for key in ("closest_first", "cKDTree")}
        row["extra_bytes"] = {key: answer.result() for key, answer in asked.items()}
    return row


def print_table(rows: list[dict]) -> None:
    table = Table(title="dots against dots: medians in ms, peak memory in bytes per dot of one side")
    methods = ("closest_first", "cKDTree", "dense assignment", "optimal")
    for column in ("setting", "per mm2", "radius um", "dots a side", *methods, "x cKDTree", "x dense"):
        table.add_column(column, justify="right")
    for method in methods[:2]:
        table.add_column(f"B/dot {method}", justify="right")
    for row in rows:
        times = {name: value["median_ms"] for name, value in row["times"].items()}
        own = times["closest_first"]
        cells = [row["setting"], f"{row['per_mm2']}", f"{row['radius_um']:g}", f"{row['dots']:,}"]
        cells += [f"{times[name]:.2f}" if name in times else "-" for name in methods]
        cells += [f"{times[name] / own:.1f}" if name in times else "-" for name in methods[1:3]]
        cells += [f"{row['extra_bytes'][name] / row['dots']:.0f}" for name in methods[:2]]
        table.add_row(*cells)
    Console(width=190).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--counts", nargs="+", type=int, default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--repeats", type=int, default=15, help="rounds at the most")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one configuration, after five rounds")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/dots.json"))
    args = parser.parse_args()
    configurations = [(name, count) for name in args.settings for count in args.counts]
    rows = [measure(*configuration, args) for configuration in track(configurations, console=Console(stderr=True))]
    write_json(args.json, {"environment": environment(), "rows": rows})
    print_table(rows)


if __name__ == "__main__":
    main()
