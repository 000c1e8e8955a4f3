"""Several manifests or stores as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from lsr_ext.data.cohort.dataset import BlockSource, SlideBlocks
from lsr_ext.data.cohort.manifest import Manifest, read_manifest
from lsr_ext.data.cohort.store import StoredBlocks
from lsr_ext.wsi.backend import View


def open_blocks(path: str | Path) -> BlockSource:
    """The blocks of a manifest, read from the slides, or those of a store.

    Args:
        path: a manifest, or the folder of a store.

    Raises:
        FileNotFoundError, ValueError: there is none, or it cannot be read.
    """
    path = Path(path)
    return StoredBlocks(path) if path.is_dir() else SlideBlocks(read_manifest(path))


class JoinedBlocks:
    """The blocks of several sources, one after the other: a source for `CohortDataset`.

    Args:
        sources: at least one; they must have the same label names, classes and block size.

    Attributes:
        manifest: of all blocks, the paths of its slides absolute.

    Raises:
        ValueError: sources that differ in these or in what they show of a slide, or a patient (without one, a
            slide) in two splits.
    """

    def __init__(self, sources: Sequence[BlockSource]) -> None:
        self.sources = list(sources)
        self.manifest = _join([source.manifest for source in sources])
        self._starts = np.cumsum([0, *(len(source.manifest) for source in sources)])

    def read(self, row: int) -> np.ndarray:
        """Read a block: uint8 (size_px, size_px, 3)."""
        source, local = self._find(row)
        return source.read(local)

    def order(self, row: int) -> tuple:
        """Return the key of its source, then the source's own."""
        source, local = self._find(row)
        return (self.sources.index(source), *source.order(local))

    def refresh(self, row: int) -> None:
        """Forget what is held open for the row."""
        source, local = self._find(row)
        source.refresh(local)

    def rows_lost_with(self, row: int) -> np.ndarray:
        """Return the rows that cannot be read if this one cannot."""
        source, local = self._find(row)
        return source.rows_lost_with(local) + (row - local)

    def _find(self, row: int) -> tuple[BlockSource, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.sources[number], row - int(self._starts[number])


def _join(manifests: Sequence[Manifest]) -> Manifest:
    first = manifests[0]
    for manifest in manifests[1:]:
        for name in ("label_names", "classes", "fraction_classes"):
            if getattr(manifest, name) != getattr(first, name):
                raise ValueError(
                    f"expected manifests of the same {name.replace('_', ' ')}, got {getattr(first, name)} in "
                    f"{first.folder} and {getattr(manifest, name)} in {manifest.folder}"
                )
    manifests = [manifest.with_absolute_paths() for manifest in manifests]
    tables = [_without_places(manifest.table) for manifest in manifests]
    table = pa.concat_tables([table.select(tables[0].column_names) for table in tables])
    sizes = sorted(set(table["size_px"].to_pylist()))
    if len(sizes) > 1:
        raise ValueError(f"expected blocks of one size_px, got {sizes}")
    joined = Manifest(
        table, first.folder, first.label_names, first.classes, first.fraction_classes, _join_views(manifests)
    )
    _check_leakage(joined)
    _check_repeats(joined)
    return joined


def _without_places(table: pa.Table) -> pa.Table:
    """Without the places in a store."""
    return table.drop_columns(["row"]) if "row" in table.column_names else table


def _join_views(manifests: Sequence[Manifest]) -> dict[str, View]:
    views: dict[str, View] = {}
    for manifest in manifests:
        for slide in manifest.slides()[0]:
            other = views.setdefault(str(slide.path), slide.view)
            if other != slide.view:
                raise ValueError(f"{slide.path} is shown in two ways, {other.given()} and {slide.view.given()}")
    return views


def _check_repeats(manifest: Manifest) -> None:
    """Refuse a block that is listed twice: it would count double."""
    slides = manifest.table["slide"].combine_chunks().dictionary_encode()
    files = [str(Path(slide).resolve()) for slide in slides.dictionary.to_pylist()]
    file_of = np.unique(files, return_inverse=True)[1].reshape(-1)
    blocks = np.column_stack([file_of[slides.indices.to_numpy()], manifest.rectangles])
    order = np.lexsort(blocks.T)
    repeats = np.flatnonzero((np.diff(blocks[order], axis=0) == 0).all(axis=1))
    if len(repeats):
        row = int(order[repeats[0]])
        x, y, width, height = manifest.rectangles[row].tolist()
        raise ValueError(
            f"expected each block once, got {len(repeats)} twice, such as {width} x {height} px at ({x}, {y}) of "
            f"{manifest.table['slide'][row]}: is a manifest listed twice, or beside its own store?"
        )


def _check_leakage(manifest: Manifest) -> None:
    """Refuse a slide, or a patient, with blocks in two splits."""
    table = manifest.table
    split_of: dict[str, str] = {}
    rows = zip(*(table[name].to_pylist() for name in ("patient", "slide", "split")), strict=True)
    for patient, slide, split in dict.fromkeys(rows):
        # One file under two paths is one slide.
        for owner in (f"slide {Path(slide).resolve()}", f"patient {patient}" if patient else None):
            if owner is not None and split_of.setdefault(owner, split) != split:
                raise ValueError(f"{owner} has blocks in two splits, {split_of[owner]} and {split}")
