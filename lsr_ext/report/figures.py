"""The figures of the report: contours on tissue, training curves, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from lsr_ext.inference.colours import CLASS_COLOURS
from lsr_ext.report.styles import METHOD_COLOURS, METHOD_TITLES

_PREDICTED, _TRUE = "#ffe119", "#00d5ff"


class PageWidth(NamedTuple):
    """The width of a page in inches, and the number of panels, and of words in a legend, that fit side by side."""

    width_in: float
    most_columns: int


WIDE, NARROW = PageWidth(12.6, 99), PageWidth(4.4, 1)  # a desk's, and a phone's


def draw_overlays(
    image: np.ndarray,
    truth: np.ndarray | None,
    maps: Mapping[str, np.ndarray],
    classes: Sequence[int],
    scores: Mapping[str, float | None],
    grid_px: int,
    title: str = "held-out image",
    page: PageWidth = WIDE,
) -> Figure:
    """Draw one held-out image as in the paper's Figures 3 and 4: its truth, then each method's contours.

    Args:
        image: uint8 (H, W, 3).
        truth: integer (H, W) class ids, or None.
        maps: method -> predicted class ids (H, W); "low_resolution" is drawn as shaded blocks.
        classes: the classes whose contours are drawn; one: prediction yellow and truth cyan.
        scores: method -> IoU on this image, for the titles of the panels.
        grid_px: the side of a block.
        title: title of the figure; it should name the data.
        page: the page that it is drawn for.
    """
    height, width = image.shape[:2]
    panels = len(maps) + 1
    # Tall images are shown side by side in one row, others in rows of three.
    figure, axes = make_panels(panels, panels if height > 1.5 * width else 3, height / width, 0.7, page)
    for ax in axes:
        ax.set_axis_off()
        ax.imshow(image, interpolation="nearest")
    figure.suptitle(title, fontsize=12, x=0.01, ha="left", wrap=True)
    axes[0].set_title("image" + ("" if truth is None else "\nand truth"), fontsize=10)
    if truth is not None:
        _draw_contours(axes[0], truth, classes, _TRUE, 1.4)
    for ax, (method, predicted) in zip(axes[1:], maps.items(), strict=True):
        score = scores.get(method)
        caption = METHOD_TITLES[method].replace(" & ", "\n& ") + ("" if score is None else f"\nIoU {score:.2f}")
        ax.set_title(caption, fontsize=10, color=METHOD_COLOURS[method])
        if method == "low_resolution":
            _draw_blocks(ax, predicted, classes, grid_px)
        if truth is not None:
            _draw_contours(ax, truth, classes, _TRUE, 0.9)
        if method != "low_resolution":
            _draw_contours(ax, predicted, classes, _PREDICTED, 1.3)
    columns = min(3, page.most_columns)
    handles = _overlay_legend(truth is not None)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def draw_curves(curves: Mapping[str, Mapping[str, np.ndarray]], page: PageWidth = WIDE) -> Figure:
    """Draw the loss of each method on its own scale, and the fraction errors of all methods on one scale.

    Where methods were validated, the loss of held-out blocks is dashed, their fraction errors have a panel, and so
    has their IoU if there is truth.

    Args:
        curves: method -> name -> (K, 2) steps and values, as `read_curves` gives them.
        page: the page that it is drawn for.
    """
    shared = {
        "fraction error in training, mean over labels": _mean_fraction_errors(curves),
        "fraction error of held-out blocks, mean over labels": _named(curves, "validation/fraction_error"),
        "IoU of held-out blocks": _named(curves, "validation/iou"),
    }
    shared = {title: found for title, found in shared.items() if found}
    figure, axes = make_panels(len(curves) + len(shared), 3, 0.65, 0.3, page)
    for ax, (method, scalars) in zip(axes, curves.items(), strict=False):
        steps, loss = scalars["loss"].T
        ax.plot(steps, loss, color=METHOD_COLOURS[method], alpha=0.3, linewidth=1)
        ax.plot(steps, _smooth(loss), color=METHOD_COLOURS[method], linewidth=1.8)
        if "validation/loss" in scalars:
            ax.plot(*scalars["validation/loss"].T, color=METHOD_COLOURS[method], linewidth=1.4, linestyle="--")
        if method != "supervised":
            # Early losses are orders of magnitude larger than later ones, which become negative.
            ax.set_yscale("symlog", linthresh=1)
        _finish(ax, f"loss, {METHOD_TITLES[method]}", "step", None)
    for ax, (title, found) in zip(axes[len(curves) :], shared.items(), strict=True):
        for method, (steps, values) in found.items():
            ax.plot(steps, values, color=METHOD_COLOURS[method], linewidth=1.8, label=METHOD_TITLES[method])
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False, fontsize=8)
        _finish(ax, title, "step", None)
    return figure


def draw_calibration(
    fractions: Mapping[str, np.ndarray],
    labels: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray,
    classes: Mapping[int, str],
    page: PageWidth = WIDE,
) -> Figure:
    """Draw for each label the predicted fraction in held-out blocks against the expected fraction of the label.

    Args:
        fractions: method -> (N, L) predicted.
        labels: (N,) or (N, L), -1 = unknown.
        mean, std: (Z, L) of the count distribution.
        classes: index -> name of the classes to draw.
        page: the page that it is drawn for.
    """
    labels = np.broadcast_to(labels.reshape(len(labels), -1), (len(labels), mean.shape[1]))
    figure, axes = make_panels(len(fractions), 4, 0.95, 0.15, page)
    for ax, (method, predicted) in zip(axes, fractions.items(), strict=True):
        ax.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, zorder=0)
        for order, (c, name) in enumerate(classes.items()):
            known = [z for z in range(len(mean)) if np.any(labels[:, c] == z)]
            members = [predicted[labels[:, c] == z, c] for z in known]
            ax.errorbar(
                mean[known, c],
                [values.mean() for values in members],
                xerr=std[known, c],
                yerr=[values.std() for values in members],
                fmt="o",
                markersize=5,
                elinewidth=1,
                color=METHOD_COLOURS.get(method, "#0072b2") if len(classes) == 1 else f"C{order}",
                label=name,
            )
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        _finish(ax, METHOD_TITLES.get(method, method), "expected fraction", "predicted fraction")
        if len(classes) > 1:
            ax.legend(frameon=False, fontsize=8)
    return figure


def make_panels(
    count: int, columns: int, aspect: float, title_in: float, page: PageWidth = WIDE
) -> tuple[Figure, list[Axes]]:
    """Make a figure of the page's width with `count` panels of height / width = `aspect`, row by row."""
    columns = min(columns, page.most_columns)
    rows = -(-count // columns)
    height_in = rows * (page.width_in / columns * aspect + title_in) + 0.3
    figure = Figure(figsize=(page.width_in, height_in), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, list(axes[:count])


def _draw_contours(ax: Axes, ids: np.ndarray, classes: Sequence[int], colour: str, width: float) -> None:
    for order, c in enumerate(classes):
        line = colour if len(classes) == 1 else CLASS_COLOURS[order % len(CLASS_COLOURS)]
        if np.any(ids == c) and np.any(ids != c):
            # A dark edge under the line keeps it readable on light and dark tissue.
            ax.contour(ids == c, levels=[0.5], colors="black", linewidths=width + 0.8, alpha=0.5)
            ax.contour(ids == c, levels=[0.5], colors=line, linewidths=width)


def _draw_blocks(ax: Axes, ids: np.ndarray, classes: Sequence[int], grid_px: int) -> None:
    for order, c in enumerate(classes):
        shade = np.zeros((*ids.shape, 4))
        shade[ids == c] = to_rgba(CLASS_COLOURS[order % len(CLASS_COLOURS)], 0.45)
        ax.imshow(shade, interpolation="nearest")
    for position in range(grid_px, ids.shape[0], grid_px):
        ax.axhline(position - 0.5, color="white", linewidth=0.6)
    for position in range(grid_px, ids.shape[1], grid_px):
        ax.axvline(position - 0.5, color="white", linewidth=0.6)


def _overlay_legend(with_truth: bool) -> list[Line2D | Patch]:
    handles = [
        Line2D([], [], color=_PREDICTED, linewidth=2.5, label="predicted boundary"),
        Patch(color=_PREDICTED, alpha=0.45, label="foreground block by its label"),
    ]
    truth = Line2D([], [], color=_TRUE, linewidth=2.5, label="true boundary")
    return [truth, *handles] if with_truth else handles


def _mean_fraction_errors(
    curves: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Method -> steps and smoothed errors in training, averaged over the labels that occur at each logged step."""
    found = {}
    for method, scalars in curves.items():
        of_labels = [curve for name, curve in scalars.items() if name.startswith("fraction_error/")]
        if of_labels:
            steps, errors = np.concatenate(of_labels).T
            distinct, position = np.unique(steps, return_inverse=True)
            found[method] = distinct, _smooth(np.bincount(position, errors) / np.bincount(position))
    return found


def _named(curves: Mapping[str, Mapping[str, np.ndarray]], name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Method -> steps and values of one scalar, for the methods that have it."""
    return {method: tuple(scalars[name].T) for method, scalars in curves.items() if name in scalars}


def _smooth(values: np.ndarray) -> np.ndarray:
    """Average over a window of a tenth of the curve, narrower at the ends."""
    window = np.ones(max(1, len(values) // 10))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _finish(ax: Axes, title: str, xlabel: str, ylabel: str | None) -> None:
    ax.set_title(title, fontsize=10, loc="left")
    ax.set_xlabel(xlabel, fontsize=9)
    if ylabel:
        ax.set_ylabel(ylabel, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
