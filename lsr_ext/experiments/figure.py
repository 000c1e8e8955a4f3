"""Draw a table: a dot for each seed, their mean, and lines at the low-resolution model and full supervision."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lsr_ext.experiments.markdown import score_title
from lsr_ext.experiments.summary import Results
from lsr_ext.experiments.tables import Row
from lsr_ext.report.styles import METHOD_COLOURS, data_title

_LEGEND = "#56708f"
_PANELS_ACROSS = 3


def draw_results(results: Results) -> Figure:
    """Draw a panel for each score of the table, or, if rows form families, a panel of the first score for each."""
    families = list(dict.fromkeys(row.family for row in results.plan.table.rows if row.family))
    if families:
        return _draw_families(results, families)
    return _draw_rows(results)


def _draw_rows(results: Results) -> Figure:
    table = results.plan.table
    # DICE gives the same order as IoU, so it would show nothing new.
    keys = [key for key in results.scores if key in table.scores and not key.endswith("dice")]
    rows = [row for row in table.rows if row.name not in results.left_out]
    figure = Figure(figsize=(4.2 + 4.2 * len(keys), 1.4 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots(1, len(keys), squeeze=False, sharey=True)[0]
    for ax, key in zip(axes, keys, strict=True):
        for place, row in enumerate(rows):
            values = list(results.values(row, key).values())
            _draw_seeds(ax, values, [place] * len(values), METHOD_COLOURS[row.method], across=True)
        _draw_yardsticks(ax, results, key, across=True)
        ax.set_yticks(range(len(rows)), [row.name for row in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xlabel(score_title(key), fontsize=9)
        _tidy(ax)
    _explain(figure, results)
    return figure


def _draw_families(results: Results, families: Sequence[str]) -> Figure:
    key = results.scores[0]
    across = min(_PANELS_ACROSS, len(families))
    down = -(-len(families) // across)
    figure = Figure(figsize=(max(6.5, 4.3 * across), 3.3 * down + 0.6), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
    for ax in axes[len(families) :]:
        ax.remove()
    for ax, family in zip(axes, families, strict=False):
        rows = [row for row in results.plan.table.rows if row.family == family]
        means = [(place, results.summary(row, key).mean) for place, row in enumerate(rows)]
        if all(isinstance(row.value, float | int) for row in rows):
            known = [(place, mean) for place, mean in means if mean is not None]
            ax.plot(
                [place for place, _ in known],
                [mean for _, mean in known],
                color=METHOD_COLOURS[rows[0].method],
                linewidth=1.2,
            )
        for place, row in enumerate(rows):
            values = list(results.values(row, key).values())
            _draw_seeds(ax, [place] * len(values), values, METHOD_COLOURS[row.method], across=False)
        _draw_yardsticks(ax, results, key, across=False)
        ax.set_xticks(range(len(rows)), [str(row.value) for row in rows], rotation=20)
        ax.set_xlim(-0.5, len(rows) - 0.5)
        ax.set_xlabel(family, fontsize=9)
        ax.tick_params(labelleft=True)
        _tidy(ax)
    axes[0].set_ylabel(score_title(key), fontsize=9)
    _explain(figure, results)
    return figure


def _draw_seeds(ax: Axes, x: Sequence[float], y: Sequence[float], colour: str, across: bool) -> None:
    """Draw a dot for each seed and a bar at their mean."""
    if not x:
        return
    ax.scatter(x, y, s=20, color=colour, alpha=0.55, linewidths=0, zorder=3)
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    marker = "|" if across else "_"
    ax.scatter([mean_x], [mean_y], marker=marker, s=260, color=colour, linewidths=2.4, zorder=4)


def _draw_yardsticks(ax: Axes, results: Results, key: str, across: bool) -> None:
    for row in _yardsticks(results):
        mean = results.summary(row, key).mean
        if mean is not None:
            draw = ax.axvline if across else ax.axhline
            draw(mean, color=METHOD_COLOURS[row.method], linewidth=1, linestyle="--", zorder=1)


def _yardsticks(results: Results) -> list[Row]:
    """Return the low-resolution model and full supervision, if the table has these rows."""
    found = (results.row(name) for name in (results.plan.table.low, results.plan.table.full))
    return [row for row in found if row is not None]


def _explain(figure: Figure, results: Results) -> None:
    plan = results.plan
    handles = [
        Line2D([], [], color=_LEGEND, marker="o", linestyle="", alpha=0.55, markersize=5, label="a seed"),
        Line2D([], [], color=_LEGEND, marker="_", linestyle="", markersize=13, markeredgewidth=2.4, label="mean"),
    ]
    handles += [
        Line2D([], [], color=METHOD_COLOURS[row.method], linestyle="--", linewidth=1, label=row.name)
        for row in _yardsticks(results)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    title = f"{plan.table.title}: {data_title(plan.config.data)}, {plan.config.evaluation.split} split"
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")


def _tidy(ax: Axes) -> None:
    ax.grid(color="#e6e6e6", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(axis="both", labelsize=8, length=0)
    ax.spines[["top", "right"]].set_visible(False)
