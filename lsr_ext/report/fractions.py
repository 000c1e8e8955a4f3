"""Draw what the loss matches: predicted class fractions of blocks against their labels' distributions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lsr_ext.metrics import FractionCalibration
from lsr_ext.report.figures import WIDE, PageWidth, make_panels
from lsr_ext.report.styles import METHOD_COLOURS, METHOD_TITLES

_EXPECTED, _OTHER = "#c9ced4", "#0072b2"


def draw_fraction_histograms(
    calibrations: Mapping[str, FractionCalibration], class_index: int, page: PageWidth = WIDE
) -> Figure:
    """Draw a panel for each label that has blocks: histograms of mu_k by method over that of N(eta, rho^2).

    Args:
        calibrations: method -> result of `fraction_calibration`, for the same blocks.
        class_index: the class whose fractions are drawn.
        page: the page that it is drawn for.
    """
    some = next(iter(calibrations.values()))
    labels = np.flatnonzero(some.blocks[:, class_index])
    figure, axes = make_panels(max(1, len(labels)), min(4, max(1, len(labels))), 0.6, 0.45, page)
    for ax, z in zip(axes, labels, strict=False):
        ax.stairs(some.expected[z, class_index], some.edges, fill=True, color=_EXPECTED)
        for method, found in calibrations.items():
            colour = METHOD_COLOURS.get(method, _OTHER)
            ax.stairs(found.counts[z, class_index], found.edges, color=colour, linewidth=1.6)
        ax.axvline(some.eta[z, class_index], color="black", linewidth=0.8, linestyle=":")
        ax.set_title(f"label {some.labels[z]}, {some.blocks[z, class_index]} blocks", fontsize=10, loc="left")
        ax.set_xlim(0, 1)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=_EXPECTED, label="expected")]
    for method, found in calibrations.items():
        colour = METHOD_COLOURS.get(method, _OTHER)
        handles.append(Line2D([], [], color=colour, linewidth=2, label=_caption(method, found, class_index)))
    title = f"number of blocks by fraction of {some.classes[class_index]}"
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(3, page.most_columns),
        frameon=False,
        fontsize=8,
        title=title,
        title_fontsize=9,
    )
    return figure


def _caption(method: str, found: FractionCalibration, class_index: int) -> str:
    return f"{METHOD_TITLES.get(method, method)}: mean absolute error {found.overall_error[class_index]:.3f}"
