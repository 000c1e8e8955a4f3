"""p(c_l | z): what fraction of a block each class takes up, given the block's low-resolution label."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lsr_ext.checks import check_labels, check_where_free
from lsr_ext.files import write_atomically

_PAPER_LABELS = (
    "0-20", "20-30", "30-40", "40-50", "50-60", "60-70", "70-80", "80-90", "90-95", "95-100",
)  # fmt: skip
# Percent of cancer pixels, mean and standard deviation, per label; non-cancer is the rest.
_PAPER_TABLES = {
    "table1": (
        (0.0, 1.0, 2.0, 5.0, 6.0, 8.0, 10.0, 10.0, 20.0, 70.0),
        (0.1, 0.4, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0, 2.0, 5.0),
    ),
    "table6": (
        (4.25, 2.45, 7.92, 7.00, 13.00, 6.69, 9.81, 16.56, 17.72, 49.94),
        (8.64, 6.43, 7.39, 10.75, 14.74, 8.17, 13.19, 21.96, 27.42, 29.13),
    ),
    "table7": (
        (3.39, 8.50, 11.06, 8.78, 10.67, 4.67, 11.27, 18.55, 25.01, 52.53),
        (7.95, 8.67, 11.23, 11.49, 16.08, 5.15, 11.01, 23.12, 33.76, 30.69),
    ),
}
_SUM_TOLERANCE = 0.02  # visual approximations are rounded to a percent or two


def binomial_std(fractions: Tensor, counts: Tensor | float) -> Tensor:
    """Standard deviation of fractions that were counted: sqrt(eta (1 - eta) / n).

    A fraction of 0 or 1 counts as half an item short of it: from n items none is known to be without doubt.

    Args:
        fractions: (N, L) in [0, 1], NaN = unknown; the values are checked where looking is free, not on a GPU.
        counts: how many cells, or independent pixels, were looked at: a number >= 1, (N,) or (N, L). The check of
            a tensor's values waits for a GPU, that of a number does not.

    Raises:
        ValueError: for counts that are below 1, or of another shape, and for fractions out of range.

    Example:
        >>> binomial_std(torch.tensor([[0.5, 0.0]]), 100)
        tensor([[0.0500, 0.0071]])
    """
    wide = torch.promote_types(fractions.dtype, torch.float32)  # a count may be too large for half of it
    if isinstance(counts, (int, float)):
        is_wrong = not counts >= 1
        counts = fractions.new_full((), counts, dtype=wide)  # filled there: a copy from the host would wait
    else:
        counts = torch.as_tensor(counts, dtype=wide, device=fractions.device)
        counts = counts[:, None] if counts.ndim == 1 else counts
        is_wrong = not bool((counts >= 1).all())
    if is_wrong:
        raise ValueError(f"counts must be at least 1, got {counts.min():g}")
    check_where_free(fractions.device, partial(_check_in_range, fractions))
    if torch.broadcast_shapes(counts.shape, fractions.shape) != fractions.shape:
        raise ValueError(f"counts must fit fractions {tuple(fractions.shape)}, got {tuple(counts.shape)}")
    half = 0.5 / counts
    eta = torch.minimum(torch.maximum(fractions.to(wide), half), 1 - half)
    return (eta * (1 - eta) / counts).clamp(min=0).sqrt().to(fractions.dtype)


def _check_in_range(fractions: Tensor) -> None:
    if bool(((fractions < 0) | (fractions > 1)).any()):
        low, high = fractions.nan_to_num().aminmax()
        raise ValueError(f"fractions must lie in [0, 1] or be NaN, got values from {low:g} to {high:g}")


@dataclass(frozen=True)
class CountDistribution:
    """Mean and standard deviation of each class's fraction of a block, per low-resolution label (Eq. 4).

    Args:
        mean: (Z, L) in [0, 1].
        std: (Z, L), in [0, 1]; of fractions, not of percents.
        labels: names of the Z labels; numbered by default.
        classes: names of the L classes; numbered by default.
        exclusive: classes exclude each other, so that the means of every label sum to 1.

    Raises:
        ValueError: where a table or a name list breaks these rules.
    """

    mean: Tensor
    std: Tensor
    labels: Sequence[str] = ()
    classes: Sequence[str] = ()
    exclusive: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        mean, std = (torch.as_tensor(table, dtype=torch.float64) for table in (self.mean, self.std))
        if mean.ndim != 2 or mean.shape != std.shape:
            raise ValueError(
                f"mean and std must both have shape (Z, L), got {tuple(mean.shape)} and {tuple(std.shape)}"
            )
        labels = tuple(self.labels) or tuple(map(str, range(mean.shape[0])))
        classes = tuple(self.classes) or tuple(map(str, range(mean.shape[1])))
        if (len(labels), len(classes)) != tuple(mean.shape):
            raise ValueError(
                f"expected {mean.shape[0]} labels and {mean.shape[1]} classes as in mean, "
                f"got {len(labels)} and {len(classes)}"
            )
        _check_rows(mean, labels, "mean must lie in [0, 1]", (mean >= 0) & (mean <= 1))
        _check_rows(std, labels, "std must lie in [0, 1], as fractions do", (std >= 0) & (std <= 1))
        if self.exclusive:
            _check_sums(mean.sum(1), [f"label {name!r}" for name in labels])
        for name, value in (("mean", mean), ("std", std), ("labels", labels), ("classes", classes)):
            object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CountDistribution):
            return NotImplemented
        return (self.labels, self.classes, self.exclusive) == (
            other.labels,
            other.classes,
            other.exclusive,
        ) and all(torch.equal(getattr(self, name), getattr(other, name)) for name in ("mean", "std"))

    __hash__ = None

    @classmethod
    def paper(cls, table: str) -> CountDistribution:
        """The paper's "table1", "table6" or "table7": ten bins of cancer probability, two classes."""
        if table not in _PAPER_TABLES:
            raise ValueError(f"table must be one of {tuple(_PAPER_TABLES)}, got {table!r}")
        mean, std = (torch.tensor(column, dtype=torch.float64) / 100 for column in _PAPER_TABLES[table])
        return cls(
            torch.stack([mean, 1 - mean], 1),
            torch.stack([std, std], 1),
            _PAPER_LABELS,
            ("cancer", "non-cancer"),
            exclusive=True,
        )

    @classmethod
    def from_masks(
        cls,
        masks: Iterable[Tensor],
        labels: Sequence[int] | Tensor,
        classes: Sequence[str],
        label_names: Sequence[str] = (),
    ) -> CountDistribution:
        """Estimate from pixel masks of some blocks (Appendix B.2).

        Args:
            masks: one (H, W) integer tensor or array of class ids in [0, L) per block.
            labels: the low-resolution label of each block, (K,), or (K, L) with one per class.
            classes: names of the L classes.
            label_names: names of the Z labels; by default as many as occur, numbered.
        """
        table = [_class_fractions(torch.as_tensor(mask), len(classes), k) for k, mask in enumerate(masks)]
        if not table:
            raise ValueError("expected at least one mask, got none")
        return cls._estimate(torch.stack(table), torch.as_tensor(labels), classes, label_names, True)

    @classmethod
    def from_fractions(
        cls,
        table: str | os.PathLike | Iterable[Mapping[str, object]],
        classes: Sequence[str] = (),
        label_names: Sequence[str] = (),
        *,
        exclusive: bool = True,
    ) -> CountDistribution:
        """Estimate from fractions that somebody approximated by eye (Appendix B.1).

        Args:
            table: a CSV file, or rows, with the columns ``label``, ``class``, ``fraction`` (in [0, 1]) and,
                where classes exclude each other, ``block``, which ties the classes of one block
                together; without it the n-th row of each class and label is the n-th block.
            classes, label_names: order of the names; by default that of their first appearance.
            exclusive: classes exclude each other: the fractions of every block must sum to 1.
        """
        source = str(table) if isinstance(table, (str, os.PathLike)) else "the table"
        cells = _read_fractions(table, source)
        classes = tuple(classes) or tuple(dict.fromkeys(name for _, name, _ in cells))
        label_names = tuple(label_names) or tuple(dict.fromkeys(label for (label, _), _, _ in cells))
        blocks: dict[tuple[str, str], dict[str, float]] = {}
        for block, name, fraction in cells:
            if name not in classes or block[0] not in label_names:
                raise ValueError(f"{source}: unexpected label {block[0]!r} or class {name!r}")
            if name in blocks.get(block, {}):
                raise ValueError(
                    f"{source}: label {block[0]!r}, block {block[1]!r} has two fractions of {name!r}: "
                    "give each annotation a block of its own"
                )
            blocks.setdefault(block, {})[name] = fraction
        for block, row in blocks.items():
            if missing := [name for name in classes if name not in row]:
                raise ValueError(f"{source}: label {block[0]!r}, block {block[1]!r} has no fraction for {missing}")
        fractions = torch.tensor([[row[name] for name in classes] for row in blocks.values()], dtype=torch.float64)
        labels = torch.tensor([label_names.index(label) for label, _ in blocks])
        if exclusive:
            _check_sums(fractions.sum(1), [f"{source}: label {z!r}, block {k!r}" for z, k in blocks])
        return cls._estimate(fractions, labels, classes, label_names, exclusive)

    @classmethod
    def from_table(
        cls,
        fractions: Tensor,
        labels: Sequence[int] | Tensor,
        classes: Sequence[str],
        label_names: Sequence[str] = (),
        *,
        exclusive: bool = True,
    ) -> CountDistribution:
        """Estimate from a (K, L) table of class fractions of K blocks and their labels, (K,) or (K, L)."""
        fractions = torch.as_tensor(fractions, dtype=torch.float64)
        if fractions.ndim != 2 or fractions.shape[1] != len(classes):
            raise ValueError(f"fractions must have shape (K, {len(classes)}), got {tuple(fractions.shape)}")
        if exclusive:
            _check_sums(fractions.sum(1), [f"block {k}" for k in range(len(fractions))])
        return cls._estimate(fractions, torch.as_tensor(labels), classes, label_names, exclusive)

    @classmethod
    def _estimate(
        cls,
        fractions: Tensor,
        labels: Tensor,
        classes: Sequence[str],
        label_names: Sequence[str],
        exclusive: bool,
    ) -> CountDistribution:
        """Mean and (population) standard deviation over the blocks of each label."""
        if len(labels) != len(fractions):
            raise ValueError(f"expected one label per block, got {len(labels)} for {len(fractions)} blocks")
        if labels.is_floating_point():
            raise ValueError(f"labels must be integers, got {labels.dtype}")
        per_class = labels.ndim == 2
        labels = labels.long().reshape(len(labels), -1).expand(fractions.shape)
        count = len(label_names) or int(labels.max()) + 1
        names = tuple(label_names) or tuple(map(str, range(count)))
        check_labels(labels, count)
        mean, std = torch.empty(2, count, len(classes), dtype=torch.float64)
        for z in range(count):
            for c in range(len(classes)):
                values = fractions[labels[:, c] == z, c]
                if not len(values):
                    raise ValueError(f"label {names[z]!r}: no block to estimate class {classes[c]!r} from")
                mean[z, c], std[z, c] = values.mean(), values.std(correction=0)
        return cls(mean, std, names, tuple(classes), exclusive=exclusive and not per_class)

    def save(self, path: str | os.PathLike) -> None:
        """Write as JSON; a crash leaves the old file or the new one."""
        content = {
            "labels": list(self.labels),
            "classes": list(self.classes),
            "exclusive": self.exclusive,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }
        write_atomically(path, json.dumps(content, indent=1).encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> CountDistribution:
        """Read what :meth:`save` wrote."""
        try:
            content = json.loads(Path(path).read_text())
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}: expected JSON, {error}") from error
        missing = {"labels", "classes", "mean", "std"} - set(content if isinstance(content, dict) else ())
        if missing:
            raise ValueError(f"{path}: expected the keys labels, classes, mean and std, missing {sorted(missing)}")
        try:
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def _check_rows(table: Tensor, labels: Sequence[str], rule: str, holds: Tensor) -> None:
    bad = (~holds).nonzero().tolist()
    if bad:
        z, c = bad[0]
        raise ValueError(f"{rule}, got {table[z, c]:g} for label {labels[z]!r}, class {c}")


def _check_sums(sums: Tensor, names: Sequence[str]) -> None:
    bad = ((sums - 1).abs() > _SUM_TOLERANCE).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"fractions of exclusive classes must sum to 1, got {sums[bad[0]]:g} for {names[bad[0]]}")


def _class_fractions(mask: Tensor, classes: int, k: int) -> Tensor:
    if mask.is_floating_point() or mask.ndim != 2 or not mask.numel():
        raise ValueError(f"mask {k} must be (H, W) integers, got {mask.dtype} {tuple(mask.shape)}")
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high >= classes:
        raise ValueError(f"mask {k} must hold class ids in [0, {classes - 1}], got {low} to {high}")
    return torch.bincount(mask.long().flatten(), minlength=classes).double() / mask.numel()


def _read_fractions(
    table: str | os.PathLike | Iterable[Mapping[str, object]], source: str
) -> list[tuple[tuple[str, str], str, float]]:
    """Rows as ((label, block), class, fraction), checked one by one."""
    if isinstance(table, (str, os.PathLike)):
        with Path(table).open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        rows = list(table)
    if not rows:
        raise ValueError(f"{source}: expected rows of label, class, fraction, got none")
    seen: dict[tuple[str, str], int] = {}
    cells = []
    for number, row in enumerate(rows, start=2):
        missing = [name for name in ("label", "class", "fraction") if row.get(name) in (None, "")]
        if missing:
            raise ValueError(f"{source}, row {number}: missing column(s) {missing}, got {list(row)}")
        label, name = str(row["label"]), str(row["class"])
        seen[label, name] = seen.get((label, name), -1) + 1
        block = str(row.get("block") or seen[label, name])
        try:
            fraction = float(row["fraction"])
        except ValueError:
            raise ValueError(
                f"{source}, row {number}: fraction must be a number, got {row['fraction']!r}"
            ) from None
        if not 0 <= fraction <= 1:
            raise ValueError(f"{source}, row {number}: fraction must lie in [0, 1], got {fraction:g}")
        cells.append(((label, block), name, fraction))
    return cells
