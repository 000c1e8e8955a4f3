"""Draw a count distribution: each label's histogram with its Gaussian."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import norm

from lsr_ext.distributions import CountDistribution
from lsr_ext.report.figures import make_panels

_BINS = np.linspace(0, 1, 21)
_POINTS = np.linspace(0, 1, 501)


def draw_distribution(
    distribution: CountDistribution, fractions: np.ndarray | None = None, labels: np.ndarray | None = None
) -> Figure:
    """Draw a panel for each label: the Gaussian of each class and, where blocks are given, their histogram.

    Args:
        distribution: Z labels, L classes.
        fractions: (N, L) of the blocks that it was estimated from.
        labels: (N,), theirs.
    """
    count = len(distribution.labels)
    figure, axes = make_panels(count, min(4, count), 0.6, 0.35)
    for z, ax in enumerate(axes):
        members = None if fractions is None else fractions[labels == z]
        for c, name in enumerate(distribution.classes):
            colour, mean, std = f"C{c}", float(distribution.mean[z, c]), float(distribution.std[z, c])
            if members is not None and len(members):
                ax.hist(members[:, c], _BINS, density=True, color=colour, alpha=0.3)
            if std > 0:
                ax.plot(_POINTS, norm.pdf(_POINTS, mean, std), color=colour, linewidth=1.6, label=name)
            else:
                ax.axvline(mean, color=colour, linewidth=1.6, label=name)
        blocks = "" if members is None else f", {len(members)} blocks"
        ax.set_title(f"label {distribution.labels[z]}{blocks}", fontsize=10, loc="left")
        ax.set_xlim(0, 1)
        ax.set_yticks([])
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right", "left"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("fraction of the block", fontsize=9)
    return figure
