"""A local store of cut blocks: one zarr array in shards, with checksums, written shard by shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from lsr_ext.data.cohort.dataset import SlideBlocks, read_twice
from lsr_ext.data.cohort.manifest import Manifest, describe_views, read_about, read_manifest, write_table
from lsr_ext.data.cohort.quarantine import DEFAULT_LIMIT, QuarantineLimitError
from lsr_ext.files import remove_unfinished, write_atomically
from lsr_ext.progress import track_progress
from lsr_ext.wsi import CorruptSlideError, SlideError
from lsr_ext.wsi.handles import in_threads
from lsr_ext.wsi.versions import slide_version

SHARD_BLOCKS = 256
_ARRAY, _MANIFEST, _ABOUT, _SHARDS = "blocks.zarr", "manifest.parquet", "about.json", "shards"


class StoredBlocks:
    """Read blocks from a store that `cut_cohort` wrote: a source for `CohortDataset`.

    Attributes:
        manifest: manifest of the blocks in the store, in their order there.

    Raises:
        FileNotFoundError: there is no finished store.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder / _MANIFEST)
        self._rows = self.manifest.table["row"].to_numpy()
        self._shard_blocks = int(json.loads((self.folder / _ABOUT).read_text())["shard_blocks"])
        self._array: zarr.Array | None = None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_array": None}

    def read(self, row: int) -> np.ndarray:
        """Read a block: uint8 (size_px, size_px, 3).

        Raises:
            CorruptSlideError: the shard is missing or the block fails its checksum.
        """
        place = int(self._rows[row])
        shard = _shard_file(self.folder, place // self._shard_blocks)
        if not shard.is_file():  # zarr would read it as a shard of zeros
            raise CorruptSlideError(f"{shard}: expected a shard of blocks, found none")
        try:
            if self._array is None:
                self._array = zarr.open_array(self.folder / _ARRAY, mode="r")
            return np.asarray(self._array[place])
        except Exception as error:  # codecs raise many kinds of errors on damaged bytes
            raise CorruptSlideError(f"{shard}, block {place}: {error!r}") from error

    def order(self, row: int) -> tuple[int]:
        """Return the position in the store."""
        return (int(self._rows[row]),)

    def refresh(self, row: int) -> None:
        """Open the array again."""
        self._array = None

    def rows_lost_with(self, row: int) -> np.ndarray:
        """Return only this row, because each block has its own checksum."""
        return np.array([row])


def cut_cohort(
    manifest: str | Path, folder: str | Path, *, shard_blocks: int = SHARD_BLOCKS, limit: float = DEFAULT_LIMIT
) -> Path:
    """Read all blocks of a manifest and write them to a store.

    A shard is written under a temporary name, renamed, and recorded with its SHA-256; each block has a CRC-32C. An
    interrupted run continues with the first shard that has no record or another checksum, and ends with the same
    bytes; shards of slides that have changed since are cut again. Blocks that cannot be read are tried again with
    a new handle, then left out of the store's manifest and recorded with the reason; a later run tries them again.

    Args:
        manifest: manifest of the cohort; all blocks must have the same `size_px`.
        folder: folder of the store; its manifest is written last.
        shard_blocks: number of blocks per file.
        limit: the largest share of blocks that may be left out, in [0, 1].

    Returns:
        `folder`.

    Raises:
        QuarantineLimitError: more blocks were left out than `limit` allows.
        ValueError: blocks of different sizes, or a folder that contains another cohort.
    """
    manifest, folder = Path(manifest), Path(folder)
    cohort = read_manifest(manifest)
    size_px = _one_size(cohort, manifest)
    _prepare(folder, manifest, shard_blocks)
    array = _open_array(folder, len(cohort), size_px, shard_blocks)
    blocks = SlideBlocks(cohort)
    slides, slide_of = cohort.slides()
    states = [list(slide_version(slide.path)) if slide.path.is_file() else None for slide in slides]
    failed: dict[int, str] = {}
    starts = range(0, len(cohort), shard_blocks)
    for shard, start in track_progress(list(enumerate(starts)), "shards", least=2):
        rows = range(start, min(start + shard_blocks, len(cohort)))
        versions = {str(slides[k].path): states[k] for k in np.unique(slide_of[rows.start : rows.stop]).tolist()}
        if not _is_done(folder, shard, versions):
            failed |= _cut_shard(array, blocks, rows, folder, shard, versions)
        if len(failed) > limit * len(cohort):
            raise QuarantineLimitError(
                f"{len(failed)} of {len(cohort)} blocks cannot be read, more than the limit of {limit:.2%}; see "
                f"{folder / _SHARDS}; the last: {list(failed.values())[-1]}"
            )
    _write_manifest(cohort, manifest, folder, list(failed))
    return folder


def verify_store(folder: str | Path) -> list[Path]:
    """Return the shards whose bytes differ from the recorded checksum."""
    folder = Path(folder)
    records = sorted((folder / _SHARDS).glob("*.json"))
    shards = [int(record.stem) for record in records]
    return [_shard_file(folder, shard) for shard in shards if not _is_whole(folder, shard)]


def _one_size(cohort: Manifest, path: Path) -> int:
    sizes = np.unique(cohort.table["size_px"].to_numpy())
    if len(sizes) > 1:
        raise ValueError(f"{path}: expected blocks of one size_px, got {sizes.tolist()}")
    return int(sizes[0])


def _prepare(folder: Path, manifest: Path, shard_blocks: int) -> None:
    if shard_blocks < 1:
        raise ValueError(f"expected at least 1 block per shard, got {shard_blocks}")
    about = {"manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(), "shard_blocks": shard_blocks}
    known = folder / _ABOUT
    if known.exists() and json.loads(known.read_text()) != about:
        raise ValueError(f"{folder}: expected an empty folder, or blocks of {manifest}; it holds others")
    write_atomically(known, json.dumps(about).encode())
    for unfinished in folder.rglob("*.partial"):  # by zarr
        unfinished.unlink()
    for place in (folder, folder / _SHARDS):
        remove_unfinished(place)


def _open_array(folder: Path, blocks: int, size_px: int, shard_blocks: int) -> zarr.Array:
    path = folder / _ARRAY
    if (path / "zarr.json").exists():
        return zarr.open_array(path, mode="r+", config={"write_empty_chunks": True})
    return zarr.create_array(
        path,
        shape=(blocks, size_px, size_px, 3),
        chunks=(1, size_px, size_px, 3),
        shards=(shard_blocks, size_px, size_px, 3),
        dtype="uint8",
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        config={"write_empty_chunks": True},  # otherwise a black block would look like a missing one
    )


def _cut_shard(
    array: zarr.Array,
    blocks: SlideBlocks,
    rows: Sequence[int],
    folder: Path,
    shard: int,
    versions: dict[str, list[int] | None],
) -> dict[int, str]:
    pixels = np.zeros((len(rows), *array.shape[1:]), np.uint8)
    failed: dict[int, str] = {}

    def cut(row: int) -> None:
        try:
            pixels[row - rows[0]] = read_twice(blocks, row)
        except (SlideError, OSError) as error:
            failed[row] = f"{type(error).__name__}: {error}"

    in_threads(cut, sorted(rows, key=blocks.order))
    array[rows[0] : rows[-1] + 1] = pixels
    record = {
        "sha256": _digest(_shard_file(folder, shard)),
        "failed": {str(row): failed[row] for row in sorted(failed)},
        "slides": versions,
    }
    write_atomically(_record(folder, shard), json.dumps(record).encode())
    return failed


def _write_manifest(cohort: Manifest, path: Path, folder: Path, failed: Sequence[int]) -> None:
    rows = np.setdiff1d(np.arange(len(cohort)), failed)
    cohort = cohort.with_absolute_paths()  # the store and the manifest may be in different folders
    table = cohort.table.take(pa.array(rows)).append_column("row", pa.array(rows, pa.int64()))
    about = {k: v for k, v in read_about(path).items() if k not in ("version", "label_names", "classes")}
    about |= describe_views(cohort.views)
    write_table(table, folder / _MANIFEST, cohort.label_names, cohort.classes, about)


def _is_done(folder: Path, shard: int, versions: dict[str, list[int] | None]) -> bool:
    """Whether a shard is whole, and its slides have not changed since. One that is gone, None, has not."""
    path = _record(folder, shard)
    if not path.is_file():
        return False
    record = json.loads(path.read_text())
    before = record.get("slides", versions)
    changed = any(before.get(name, now) not in (now, None) for name, now in versions.items() if now is not None)
    return not record["failed"] and not changed and _is_whole(folder, shard)


def _is_whole(folder: Path, shard: int) -> bool:
    path = _shard_file(folder, shard)
    return path.is_file() and _digest(path) == json.loads(_record(folder, shard).read_text())["sha256"]


def _record(folder: Path, shard: int) -> Path:
    return folder / _SHARDS / f"{shard:06d}.json"


def _shard_file(folder: Path, shard: int) -> Path:
    return folder / _ARRAY / "c" / str(shard) / "0" / "0" / "0"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
