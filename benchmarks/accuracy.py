"""The accuracy of each method on each data set, drawn from the scores in docs/results.md.

python benchmarks/accuracy.py                # benchmarks/results/accuracy.json -> docs/accuracy.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot
from matplotlib.axes import Axes

from lsr_ext.report.styles import METHOD_COLOURS, METHOD_TITLES

HERE = Path(__file__).parent
PANELS = {"masked_iou": "Regions: masked IoU", "f1": "Cells: F1"}


def draw_panel(ax: Axes, sets: Sequence[dict], title: str) -> None:
    """A row for each data set; in it a dot for each method's mean, with its standard deviation over seeds."""
    methods = [name for name in METHOD_COLOURS if any(name in entry["methods"] for entry in sets)]
    for i, method in enumerate(methods):
        shown = [(y, entry["methods"][method]) for y, entry in enumerate(sets) if method in entry["methods"]]
        ax.errorbar(
            [score["mean"] for _, score in shown],
            [y + 0.11 * (i - (len(methods) - 1) / 2) for y, _ in shown],
            xerr=[score["std"] for _, score in shown],
            fmt="o",
            markersize=6,
            elinewidth=1.6,
            color=METHOD_COLOURS[method],
            label=METHOD_TITLES[method],
        )
    for y in range(1, len(sets)):
        ax.axhline(y - 0.5, color="#dddddd", linewidth=0.8)
    ax.set_yticks(range(len(sets)), [entry["set"].replace(", ", ",\n", 1) for entry in sets], fontsize=9)
    ax.set_ylim(len(sets) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(title, fontsize=10.5, loc="left")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.08), ncols=1, fontsize=9, frameon=False)


def draw(content: dict, path: Path) -> None:
    """One panel for the scores of regions and one for the scores of cells."""
    machine = content["environment"]
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(9.6, 8), layout="constrained")
    for ax, (score, title) in zip(axes, PANELS.items(), strict=True):
        draw_panel(ax, [entry for entry in content["sets"] if entry["score"] == score], title)
    figure.suptitle(
        "Held-out images: mean ± standard deviation of five seeds on one split\n"
        f"{machine['cores']} CPU cores, torch {machine['torch']}, {machine['date']}",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=Path, default=HERE / "results" / "accuracy.json")
    parser.add_argument("--plot", type=Path, default=HERE.parent / "docs" / "accuracy.png")
    args = parser.parse_args()
    draw(json.loads(args.scores.read_text()), args.plot)


if __name__ == "__main__":
    main()
