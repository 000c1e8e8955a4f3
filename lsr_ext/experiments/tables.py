"""The tables: their rows, how each row is trained, the scores, and the results of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# Rows that need no training and are scored together with every trained method, and the data that they need.
BASELINES = {
    "low_resolution": "block labels",
    "deconvolution": "stains that absorb light",
    "l2": "stains",
    "inter_rater": "dots of two raters",
}


@dataclass(frozen=True)
class Row:
    """One line of a table: a method, and its changes to the configuration.

    `overrides` are dotted keys for `lsr_ext.config.load_config`; `paper` holds the published scores by the key of
    the score. In an ablation the row has one `value` of the setting that its `family` varies.
    """

    name: str
    method: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)
    family: str | None = None
    value: float | str | None = None

    @property
    def is_baseline(self) -> bool:
        """Whether the row needs no training."""
        return self.method in BASELINES


@dataclass(frozen=True)
class Table:
    """Rows in order, and the scores of the columns; figures show the first score first.

    `reference` is the name of the row whose paired differences from every other row are reported; `low` and `full`
    are the rows between which the share of the closed gap is measured. `per_class` is a score that is also
    reported per class.
    """

    name: str
    title: str
    scores: tuple[str, ...]
    rows: tuple[Row, ...]
    reference: str
    low: str | None = None
    full: str | None = None
    per_class: str | None = None

    def select(self, names: Sequence[str]) -> Table:
        """Return the table with only the rows, or families of rows, of these names (upper or lower case).

        Raises:
            ValueError: no row or family has this name.
        """
        wanted = {name.casefold() for name in names}
        known = {name.casefold() for row in self.rows for name in (row.name, row.family) if name}
        if wanted - known:
            unknown = [name for name in names if name.casefold() not in known]
            rows = "; ".join(row.name for row in self.rows)
            raise ValueError(f"{self.name} has no row {', '.join(map(repr, unknown))}, expected one of: {rows}")
        kept = [row for row in self.rows if wanted & {row.name.casefold(), (row.family or row.name).casefold()}]
        return replace(self, rows=tuple(kept))


_LOW = "Low resolution model"
_FULL = "Full pixel supervision"
_PROPOSED = "Intra+inter-instance"
_REGION_SCORES = ("masked_iou", "masked_dice", "iou", "dice")

# Tables 6 and 7 differ by 3.6 points, root mean square over labels, in means of 17 blocks each: 10 to 15 points a
# block, if the errors of the annotators are independent.
_GUESS_STD = 0.1


def _regions(masked_iou: float, masked_dice: float) -> dict[str, float]:
    return {"masked_iou": masked_iou, "masked_dice": masked_dice}


def _cells(*f1: float) -> dict[str, float]:
    classes = ("CD16", "CD20", "CD3", "CD4", "CD8")
    return {"f1": f1[0]} | {f"per_class/{name}/f1": value for name, value in zip(classes, f1[1:], strict=True)}


_TABLE_3 = Table(
    "table3",
    "Cells in multiplex images (Table 3)",
    ("f1", "iou"),
    (
        Row("Inter-rater agreement", "inter_rater", paper=_cells(0.7411, 0.6387, 0.7007, 0.7035, 0.8253, 0.8372)),
        Row("Color deconvolution", "deconvolution", paper=_cells(0.1846, 0.1294, 0.2031, 0.1236, 0.3420, 0.1246)),
        Row("Color separation via L2", "l2", paper=_cells(0.2655, 0.2306, 0.1911, 0.2623, 0.2913, 0.3521)),
        Row("high res", "high_res", paper=_cells(0.5013, 0.4601, 0.3690, 0.5060, 0.5505, 0.6207)),
        Row(
            "Intra-instance & high res",
            "intra+high_res",
            paper=_cells(0.5241, 0.4031, 0.4339, 0.4801, 0.6137, 0.6894),
        ),
        Row(
            "Inter-instance & high res",
            "inter+high_res",
            paper=_cells(0.5355, 0.5082, 0.3825, 0.5541, 0.5755, 0.6574),
        ),
        Row(
            "Intra+inter-instance & high res",
            "intra+inter+high_res",
            paper=_cells(0.5507, 0.4934, 0.4394, 0.5248, 0.6190, 0.6772),
        ),
        Row(_FULL, "supervised"),
    ),
    reference="Intra+inter-instance & high res",
    full=_FULL,
    per_class="f1",
)

_TABLE_4 = Table(
    "table4",
    "Regions from block labels (Table 4)",
    _REGION_SCORES,
    (
        Row(_LOW, "low_resolution", paper=_regions(0.5722, 0.7278)),
        Row("Intra-instance", "intra", paper=_regions(0.5810, 0.7350)),
        Row("Inter-instance", "inter"),
        Row(_PROPOSED, "intra+inter", paper=_regions(0.5953, 0.7463)),
        Row(f"{_PROPOSED} & self-training", "intra+inter+self"),
        Row("high res", "high_res"),
        Row(f"{_PROPOSED} & high res", "intra+inter+high_res"),
        Row(_FULL, "supervised"),
    ),
    reference=_PROPOSED,
    low=_LOW,
    full=_FULL,
)

_TABLE_5 = Table(
    "table5",
    "The factor of the standard deviation (Table 5)",
    ("masked_iou", "iou"),
    (
        Row(_LOW, "low_resolution"),
        *(
            Row(
                f"{_PROPOSED}, alpha = {alpha}",
                "intra+inter",
                {"loss.alpha": alpha},
                {"masked_iou": paper},
                "alpha",
                alpha,
            )
            for alpha, paper in ((0.2, 0.5656), (0.4, 0.5753), (0.6, 0.5716), (0.8, 0.6275), (1.0, 0.6223))
        ),
        Row(_FULL, "supervised"),
    ),
    reference=f"{_PROPOSED}, alpha = 1.0",
    low=_LOW,
    full=_FULL,
)

_GUESSED = {"data.distribution_noise_std": _GUESS_STD}
_TABLE_9 = Table(
    "table9",
    "Guessed and measured count distributions, and few masks (Table 9)",
    _REGION_SCORES,
    (
        Row(_LOW, "low_resolution", paper=_regions(0.5722, 0.7279)),
        Row("Model trained with limited high-res supervision", "limited", paper=_regions(0.5507, 0.7103)),
        Row("Intra-instance (visually approximated)", "intra", _GUESSED, _regions(0.5827, 0.7363)),
        Row("Intra-instance (mask estimated)", "intra", paper=_regions(0.5832, 0.7367)),
        Row("Intra+inter-instance (visually approximated)", "intra+inter", _GUESSED, _regions(0.5850, 0.7381)),
        Row("Intra+inter-instance (mask estimated)", "intra+inter", paper=_regions(0.6315, 0.7741)),
        Row(_FULL, "supervised"),
    ),
    reference="Intra+inter-instance (mask estimated)",
    low=_LOW,
    full=_FULL,
)


def _vary(
    family: str, values: Sequence[float | str], key: str, shared: Mapping[str, Any] | None = None
) -> list[Row]:
    """Make a row for each value of one key, with overrides that the whole family shares."""
    return [
        Row(f"{family}: {value}", "intra+inter", {**(shared or {}), key: value}, family=family, value=value)
        for value in values
    ]


def _vary_group_size(sizes: Sequence[int], blocks_per_batch: int) -> list[Row]:
    """Make rows with groups of these sizes in batches of about equal size, so that only the grouping differs."""
    return [
        Row(
            f"group size: {size}",
            "intra+inter",
            {"training.group_size": size, "training.groups_per_batch": max(1, round(blocks_per_batch / size))},
            family="group size",
            value=size,
        )
        for size in sizes
    ]


_ABLATION = Table(
    "ablation",
    "One choice changed at a time",
    ("masked_iou", "iou"),
    (
        Row(_LOW, "low_resolution"),
        Row(f"{_PROPOSED}, as configured", "intra+inter"),
        *_vary("form", ("paper", "marginal", "kl", "reverse_kl", "wasserstein", "legacy"), "loss.form"),
        *_vary("n_eff", ("printed", 4, 16, 64, 256, "independent"), "loss.variance"),
        *_vary_group_size((2, 4, 8, 10, 16, 32, 64), blocks_per_batch=64),
        *_vary("distribution blocks", (3, 6, 12, 24, "all"), "data.distribution_blocks"),
        *_vary("distribution noise", (0.0, 0.05, 0.1, 0.2), "data.distribution_noise_std"),
        *_vary("floor of the paper's form", (0.0, 1e-4, 1e-3, 1e-2, 1e-1), "loss.floor", {"loss.form": "paper"}),
        *_vary("sharpness", (0.0, 0.1, 0.3, 1.0), "loss.sharpness"),
        Row(_FULL, "supervised"),
    ),
    reference=f"{_PROPOSED}, as configured",
    low=_LOW,
    full=_FULL,
)

_NUMBERS_STD = 0.05
_BY_NUMBERS = {"loss.targets": "fractions"}
_BY_NUMBERS_WITH_STD = {**_BY_NUMBERS, "loss.std": _NUMBERS_STD}


def _form(name: str) -> dict[str, str | None]:
    """Another form, with its own floor: that of the configuration was chosen for the configuration's form."""
    return {"loss.form": name, "loss.floor": None}


_PEERS = Table(
    "peers",
    "Losses that learn pixels from what is known of blocks",
    ("masked_iou", "iou", "f1"),
    (
        Row(_LOW, "low_resolution"),
        Row("Maximum (multiple-instance learning)", "intra", _form("maximum")),
        Row("Implicit posterior, QR (Rolf et al. 2022)", "intra", _form("implicit_posterior")),
        Row("Implicit posterior, RQ (Rolf et al. 2022)", "intra", _form("implicit_posterior_rq")),
        Row("Proportion loss", "intra", _form("proportion")),
        Row("Squared error", "intra", _form("squared")),
        Row("Size penalty (Kervadec et al. 2019)", "intra", _form("size")),
        Row("Label super-resolution (Malkin et al. 2019)", "intra", _form("legacy")),
        Row("Intra+inter-instance, the paper's form", "intra+inter", _form("paper")),
        Row("Intra-instance", "intra"),
        Row(_PROPOSED, "intra+inter"),
        Row("Proportion loss, by numbers", "intra", {**_form("proportion"), **_BY_NUMBERS}),
        Row("Squared error, by numbers", "intra", {**_form("squared"), **_BY_NUMBERS}),
        Row("Size penalty, by numbers", "intra", {**_form("size"), **_BY_NUMBERS_WITH_STD}),
        Row("Intra-instance, by numbers", "intra", _BY_NUMBERS_WITH_STD),
        Row(f"{_PROPOSED}, by numbers", "intra+inter", _BY_NUMBERS_WITH_STD),
        Row(_FULL, "supervised"),
    ),
    reference=_PROPOSED,
    low=_LOW,
    full=_FULL,
)

TABLES = {table.name: table for table in (_TABLE_3, _TABLE_4, _TABLE_5, _TABLE_9, _ABLATION, _PEERS)}
