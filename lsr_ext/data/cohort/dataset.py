"""The blocks of a cohort as tensors: read from the slides, or from a store that was cut before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from lsr_ext.data.cohort.manifest import Manifest, read_manifest
from lsr_ext.data.cohort.masks import SlideMasks
from lsr_ext.data.cohort.quarantine import Quarantine
from lsr_ext.data.dataset import draw_symmetry, to_tensor
from lsr_ext.data.targets import Targets
from lsr_ext.wsi import Slide, SlideError
from lsr_ext.wsi.cache import Cache

_slides = Cache(1024, size=lambda slide: 1)


class BlockSource(Protocol):
    """The pixels of a manifest's blocks."""

    manifest: Manifest

    def read(self, row: int) -> np.ndarray:
        """Read a row of the manifest: uint8 (size_px, size_px, 3).

        Raises:
            SlideError, OSError: the block cannot be read.
        """

    def order(self, row: int) -> tuple:
        """Return a key that sorts reads so that neighbours follow each other."""

    def refresh(self, row: int) -> None:
        """Close what is open for the row, so that the next read opens it again."""

    def rows_lost_with(self, row: int) -> np.ndarray:
        """Return the rows that are unreadable with this one: itself, or all of a slide that does not open."""


def read_twice(source: BlockSource, row: int) -> np.ndarray:
    """Read a row, and once more with a new handle if that fails.

    Raises:
        SlideError, OSError: the block cannot be read.
    """
    try:
        return source.read(row)
    except (SlideError, OSError):
        source.refresh(row)
    return source.read(row)


class SlideBlocks:
    """Read blocks from the slides; each is averaged down from its rectangle."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._slides, self._slide_of = manifest.slides()
        self._rectangles = manifest.rectangles
        self._sizes = manifest.table["size_px"].to_numpy()

    def read(self, row: int) -> np.ndarray:
        size = int(self._sizes[row])
        return self._slide(row).read_resized(*self._rectangles[row].tolist(), (size, size))

    def order(self, row: int) -> tuple:
        x, y, width, _ = self._rectangles[row].tolist()
        slide = int(self._slide_of[row])
        try:
            return slide, *self._slide(row).tile_order(x, y, width / int(self._sizes[row]))
        except (SlideError, OSError):  # reported when the block is read
            return slide, 0, 0, 0

    def refresh(self, row: int) -> None:
        slide = self._slides[self._slide_of[row]]
        _slides.discard(lambda held: held == slide)
        try:
            slide.open().forget()
        except (SlideError, OSError):  # then nothing is open
            return

    def rows_lost_with(self, row: int) -> np.ndarray:
        try:
            self._slide(row)
        except (SlideError, OSError):
            return np.flatnonzero(self._slide_of == self._slide_of[row])
        return np.array([row])

    def _slide(self, row: int) -> Slide:
        slide = self._slides[self._slide_of[row]]
        return _slides.get(slide, slide.open)


class CohortDataset(Dataset[dict[str, torch.Tensor | int]]):
    """Map-style dataset of a cohort's blocks, for `GroupedBatchSampler` and any number of workers.

    An item is a dict as `BlockDataset` gives it: `image`, float32 (3, H, W) in [0, 1]; `label`, int64, a scalar or
    (L,); `index`, int; and, with `masks`, `mask`, int64 (H, W) class ids. A `DataLoader` requests whole batches:
    their reads are ordered by slide and tile, and a block that occurs twice is read once.

    A block that cannot be read is tried again with a new handle, then left out of its batch, which becomes
    smaller, and counted in `quarantine`. So the place in a batch tells nothing of the group: take the groups from
    `GroupedItems`, or let the loss find them by the labels. Pass `collate` as the loader's `collate_fn`; it can
    also make an empty batch.

    Args:
        source: source of the pixels: a manifest or its path, a `StoredBlocks`, or another `BlockSource`.
        split: a split of the manifest; None: all blocks.
        augment: flip and turn by quarters at random, as `BlockDataset` does.
        report: a file that lists what is left out, one line of JSON per event.
        resumed: leave out from the start what `report` lists already.
        limit: the largest share of blocks that may be left out, in [0, 1].
        masks: the pixel truth.
        labels: int64 (all rows,) or (all rows, L), in place of the manifest's: those of a distribution.
        targets: class fractions of all rows: items then have `fraction` and `fraction_std`, float32 (L,).

    Raises:
        QuarantineLimitError: more is left out; raised for the batch in which this happens.
        ValueError: an invalid manifest, or no block in the split.
    """

    def __init__(
        self,
        source: BlockSource | Manifest | str | Path,
        split: str | None = None,
        *,
        augment: bool = False,
        report: str | Path | None = None,
        resumed: bool = False,
        limit: float = 0.05,
        masks: SlideMasks | None = None,
        labels: np.ndarray | None = None,
        targets: Targets | None = None,
    ) -> None:
        if isinstance(source, (str, Path)):
            source = read_manifest(source)
        self.source: BlockSource = SlideBlocks(source) if isinstance(source, Manifest) else source
        self.rows = self.source.manifest.rows_of(split)
        self.labels = (self.source.manifest.labels if labels is None else labels)[self.rows]
        self.targets = None if targets is None else targets.subset(self.rows)
        self.augment = augment
        self.masks = masks
        self._rectangles = self.source.manifest.rectangles
        self._slides, self._slide_of = self.source.manifest.slides()
        self.quarantine = Quarantine(len(self.rows), report, limit, resumed=resumed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | int]:
        """Read one item.

        Raises:
            SlideError, OSError: the block cannot be read, even with a new handle.
        """
        return self._item(index, read_twice(self.source, int(self.rows[index])))

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, torch.Tensor | int]]:
        """Read items; those that can be read are returned in the order of `indices`."""
        wanted = {int(i) for i in indices if i not in self.quarantine}
        pixels = {i: self._read(i) for i in sorted(wanted, key=lambda i: self.source.order(int(self.rows[i])))}
        return [self._item(int(i), pixels[int(i)]) for i in indices if pixels.get(int(i)) is not None]

    @staticmethod
    def collate(items: list[dict[str, torch.Tensor | int]]) -> dict[str, torch.Tensor]:
        """Make a batch; `image`, `label` and `index` have length 0 if no item is left."""
        if items:
            return default_collate(items)
        empty = torch.empty(0, dtype=torch.int64)
        return {"image": torch.empty(0, 3, 0, 0), "label": empty, "index": empty}

    def _read(self, index: int) -> np.ndarray | None:
        if index in self.quarantine:  # its slide was lost with an earlier block of the batch
            return None
        row = int(self.rows[index])
        try:
            return read_twice(self.source, row)
        except (SlideError, OSError) as error:
            self._leave_out(row, error)
            return None

    def _leave_out(self, row: int, error: Exception) -> None:
        lost = self.source.rows_lost_with(row)
        blocks = np.flatnonzero(np.isin(self.rows, lost))
        table = self.source.manifest.table
        x, y = (table[name][row].as_py() for name in ("x", "y"))
        about = {"slide": table["slide"][row].as_py(), "x": x, "y": y, "rows": self.rows[blocks].tolist()}
        self.quarantine.add(blocks, f"{type(error).__name__}: {error}", about)

    def _item(self, index: int, pixels: np.ndarray) -> dict[str, torch.Tensor | int]:
        turns, flip = draw_symmetry(pixels.shape[0] == pixels.shape[1]) if self.augment else (0, False)
        item = {
            "image": to_tensor(pixels, turns, flip).permute(2, 0, 1).contiguous().float().div_(255),
            "label": torch.as_tensor(self.labels[index], dtype=torch.int64),
            "index": index,
        }
        if self.targets is not None:
            item["fraction"] = torch.from_numpy(self.targets.fractions[index])
            item["fraction_std"] = torch.from_numpy(self.targets.std[index])
        if self.masks is not None:
            item["mask"] = to_tensor(self._mask(int(self.rows[index]), len(pixels)), turns, flip)
        return item

    def _mask(self, row: int, size_px: int) -> np.ndarray:
        return self.masks.read(self._slides[self._slide_of[row]], self._rectangles[row], size_px)
