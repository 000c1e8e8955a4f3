"""The manifest of a cohort: a Parquet file with a row per labelled block."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lsr_ext.data.cohort.slides import CohortSlide
from lsr_ext.files import written_whole
from lsr_ext.wsi.backend import WHOLE_FILE, View

MAX_BYTES = 8 * 2**30
_METADATA = b"lsr_ext"
_COLUMNS = {
    "slide": pa.string(),
    "patient": pa.string(),
    "x": pa.int64(),
    "y": pa.int64(),
    "width": pa.int64(),
    "height": pa.int64(),
    "mpp": pa.float64(),
    "size_px": pa.int32(),
    "label_source": pa.string(),
    "split": pa.string(),
    "tissue_fraction": pa.float32(),
}
_LABEL, _LABELS = pa.int32(), pa.list_(pa.int32())
_FRACTIONS = pa.list_(pa.float32())


@dataclass(frozen=True)
class Manifest:
    """N labelled blocks of slides.

    Attributes:
        table: a row per block. slide: the file, relative to `folder` if not absolute; patient: a patient must not
            be in two splits; x, y, width, height: the block in level-0 pixels; mpp and size_px: the
            resolution and the side it is read at; label: an integer from 0, -1 for unknown, or a list with one per
            class; label_source; split; tissue_fraction in [0, 1]; fraction, where the source of the labels knows
            it: a list with the share of each of `fraction_classes`, null for unknown; and, in a store, row: its
            position there.
        folder: folder of the manifest.
        label_names: names of the labels 0..Z-1.
        classes: names of the classes, if `label` has one entry per class; empty: one label per block.
        fraction_classes: names of the classes of `fraction`; empty: there is none.
        views: what to show of the slides, by their text in `table`, for those that need a choice.
    """

    table: pa.Table
    folder: Path
    label_names: tuple[str, ...]
    classes: tuple[str, ...]
    fraction_classes: tuple[str, ...] = ()
    views: Mapping[str, View] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.table.num_rows

    @property
    def labels(self) -> np.ndarray:
        """int64 (N,), or (N, L) with classes."""
        column = self.table["label"].combine_chunks()
        if not self.classes:
            return column.to_numpy().astype(np.int64)
        return column.flatten().to_numpy().astype(np.int64).reshape(len(self), len(self.classes))

    @property
    def fractions(self) -> np.ndarray | None:
        """float64 (N, number of fraction_classes) in [0, 1], NaN for unknown; None: the manifest has none."""
        if not self.fraction_classes:
            return None
        values = self.table["fraction"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return values.astype(np.float64).reshape(len(self), len(self.fraction_classes))

    @property
    def rectangles(self) -> np.ndarray:
        """int64 (N, 4): x, y, width, height in level-0 pixels."""
        return np.stack([self.table[name].to_numpy() for name in ("x", "y", "width", "height")], axis=1)

    def slides(self) -> tuple[list[CohortSlide], np.ndarray]:
        """Return the distinct slides, and the index of its slide for each block: int64 (N,)."""
        coded = self.table["slide"].combine_chunks().dictionary_encode()
        slides = [
            CohortSlide(self.folder / text, view=self.views.get(text, WHOLE_FILE))
            for text in coded.dictionary.to_pylist()  # an absolute path stays as it is
        ]
        return slides, coded.indices.to_numpy().astype(np.int64)

    def with_absolute_paths(self) -> Manifest:
        """Return a manifest of the same blocks that may lie in another folder."""

        def absolute(text: str) -> str:
            return str((self.folder / text).absolute())

        slides = pa.array(map(absolute, self.table["slide"].to_pylist()), pa.string())
        table = self.table.set_column(self.table.column_names.index("slide"), "slide", slides)
        return replace(self, table=table, views={absolute(text): view for text, view in self.views.items()})

    def rows_of_slide(self, slide: str | Path) -> np.ndarray:
        """Return the rows of a slide's blocks, int64: by its file name or, if several slides have it, by its path.

        Raises:
            ValueError: no block of the slide, or several slides of its name in other folders.
        """
        slides, slide_of = self.slides()
        paths, slide = [one.path for one in slides], Path(slide)
        named = [index for index, path in enumerate(paths) if path.name == slide.name]
        if not named:
            raise ValueError(
                f"{self.folder}: expected blocks of {slide.name}, found those of {len(paths)} other slides"
            )
        if len(named) > 1:
            alike = ", ".join(str(paths[index]) for index in named)
            named = [index for index in named if paths[index].resolve() == slide.resolve()]
            if not named:
                raise ValueError(f"expected blocks of {slide}, found several slides of its name: {alike}")
        return np.flatnonzero(np.isin(slide_of, named))

    def rows_of(self, split: str | None) -> np.ndarray:
        """Return the rows of a split, or all rows for None: int64.

        Raises:
            ValueError: no block has that split.
        """
        if split is None:
            return np.arange(len(self))
        splits = np.asarray(self.table["split"].to_pylist())
        rows = np.flatnonzero(splits == split)
        if not len(rows):
            raise ValueError(f"expected one of the splits {sorted(set(splits.tolist()))}, got {split!r}")
        return rows


def make_table(
    columns: Mapping[str, Sequence | np.ndarray], labels: np.ndarray, fractions: np.ndarray | None = None
) -> pa.Table:
    """Make a manifest's table from its columns, its labels, (N,) or (N, L), and fractions (N, F), NaN: unknown."""
    arrays = {name: pa.array(columns[name], kind) for name, kind in _COLUMNS.items()}
    many = labels.ndim == 2
    arrays["label"] = pa.array(labels.tolist(), _LABELS if many else _LABEL)
    if fractions is not None:
        rows = [[None if np.isnan(value) else value for value in row] for row in fractions.tolist()]
        arrays["fraction"] = pa.array(rows, _FRACTIONS)
    return pa.table(arrays)


def write_table(
    table: pa.Table, path: Path, label_names: Sequence[str], classes: Sequence[str], about: Mapping[str, object]
) -> None:
    """Write a manifest, to disk before it replaces an older one."""
    content = {"version": 1, "label_names": list(label_names), "classes": list(classes), **about}
    metadata = {_METADATA: json.dumps(content, sort_keys=True).encode()}
    with written_whole(path, durable=True) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")


def describe_views(views: Mapping[str, View]) -> dict[str, object]:
    """Describe the views of slides for `write_table`; nothing if no slide needs a choice."""
    given = {text: view.given() for text, view in views.items() if view != WHOLE_FILE}
    return {"views": given} if given else {}


def read_manifest(path: str | Path) -> Manifest:
    """Read a cohort's manifest.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a manifest, holds impossible values, or would take more than 8 GiB.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"expected a manifest, found none at {path}")
    try:
        described = pq.ParquetFile(path)
        needed = sum(described.metadata.row_group(i).total_byte_size for i in range(described.num_row_groups))
        if needed > MAX_BYTES:
            raise ValueError(f"expected at most {MAX_BYTES} bytes, got {needed}")
        about = json.loads((described.schema_arrow.metadata or {})[_METADATA])
        names = [tuple(about[name]) for name in ("label_names", "classes")]
        views = {text: _read_view(given) for text, given in about.get("views", {}).items()}
        fraction_classes = tuple(about.get("fraction_classes", ()))
        manifest = Manifest(described.read(), path.parent, *names, fraction_classes, views)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: not a readable manifest of a cohort ({error!r})") from error
    _check(manifest, path)
    return manifest


def read_about(path: Path) -> dict[str, object]:
    """Read how the manifest was made."""
    return json.loads(pq.read_schema(path).metadata[_METADATA])


def _read_view(given: Mapping[str, Any]) -> View:
    """What `View.given` describes."""
    view = View(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
    names = view.channels if view.image is None else (view.image, *view.channels)
    if not isinstance(view.channels, tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected names of an image and of channels, got {given}")
    if view.display_range is None:
        return view
    low, high = map(float, view.display_range)
    return view._replace(display_range=(low, high))


def _check(manifest: Manifest, path: Path) -> None:
    table = manifest.table
    kinds = _COLUMNS | {"label": _LABELS if manifest.classes else _LABEL}
    for name, kind in kinds.items():
        if name not in table.column_names or table.schema.field(name).type != kind:
            raise ValueError(f"{path}: expected a column {name} of {kind}, got {table.schema.names}")
        if name != "patient" and table[name].null_count:
            raise ValueError(f"{path}: expected no gaps in {name}, got {table[name].null_count}")
    if not len(manifest):
        raise ValueError(f"{path}: expected at least one block, got none")
    if manifest.classes and set(np.diff(table["label"].combine_chunks().offsets)) != {len(manifest.classes)}:
        raise ValueError(f"{path}: expected {len(manifest.classes)} labels in every row")
    labels, rectangles = manifest.labels, manifest.rectangles
    if labels.min() < -1 or labels.max() >= len(manifest.label_names):
        raise ValueError(
            f"{path}: expected labels in [-1, {len(manifest.label_names)}), got {labels.min()} to {labels.max()}"
        )
    _check_fractions(manifest, path)
    if rectangles[:, 2:].min() < 1 or table["size_px"].to_numpy().min() < 1:
        raise ValueError(f"{path}: expected sizes of at least 1 px")


def _check_fractions(manifest: Manifest, path: Path) -> None:
    if not manifest.fraction_classes:
        return
    table, count = manifest.table, len(manifest.fraction_classes)
    if "fraction" not in table.column_names or table.schema.field("fraction").type != _FRACTIONS:
        raise ValueError(f"{path}: expected a column fraction of {_FRACTIONS}, got {table.schema.names}")
    if set(np.diff(table["fraction"].combine_chunks().offsets)) != {count}:
        raise ValueError(f"{path}: expected {count} fractions in every row")
    known = manifest.fractions[~np.isnan(manifest.fractions)]
    if known.size and not 0 <= known.min() <= known.max() <= 1:
        raise ValueError(f"{path}: expected fractions in [0, 1], got {known.min()} to {known.max()}")
