"""Put windows of tiles into place: from the cache, or decoded now, each at most once per read."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lsr_ext.wsi import handles
from lsr_ext.wsi.backend import Job, Level, Part, Region, Source, Tile, copy_window
from lsr_ext.wsi.cache import AbandonedError, Claim, Keep

_BATCH_BYTES = 2**24  # largest size of tiles that are decoded at once


def place(source: Source, parts: Sequence[Part], region: Region, reduction: int = 1) -> None:
    """Fill the parts' places in a region, which is C-contiguous; pixels that no tile covers are left unchanged.

    Args:
        source: the level.
        parts: windows of its tiles, each tile once.
        region: the region to fill.
        reduction: the reduction of the windows.

    Raises:
        CorruptSlideError: a tile is damaged.
    """
    level = source.level
    tile_bytes = 3 * (level.tile_width // reduction) * (level.tile_height // reduction)
    batch = max(_BATCH_BYTES // tile_bytes, torch.get_num_threads())
    for start in range(0, len(parts), batch):
        waiting = parts[start : start + batch]
        # Try again if another thread gave up on a tile: its reason may have been another tile.
        while waiting:
            waiting = _place_batch(source, waiting, region, reduction, tile_bytes)


def _place_batch(
    source: Source, parts: Sequence[Part], region: Region, reduction: int, tile_bytes: int
) -> list[Part]:
    """Fill places; return the parts whose tile another thread should have made, but did not."""
    file, level = source.key, source.index
    by_key = {(file, level, part.column, part.row, reduction): part for part in parts}
    windows = source.backend.decodes_windows(source.index)
    claim = handles.tiles.claim(_keeps(by_key, source.level, reduction, windows), tile_bytes)
    if windows and claim.awaited and not claim.mine and not claim.passing:
        # Nothing else to do meanwhile: decoding windows here is faster than waiting for another thread's whole
        # tiles.
        claim.passing.update(claim.awaited)
        claim.awaited.clear()
    try:
        made = _decode(source, by_key, claim, region, reduction)
    except BaseException:
        handles.tiles.abandon(claim.mine)
        raise
    if claim.mine:
        handles.tiles.settle(claim.mine, made)
    left = []
    for key, making in claim.awaited.items():
        try:
            tile = making.wait()
        except AbandonedError:
            left.append(by_key[key])
            continue
        copy_window(tile, by_key[key], region)
    return left


def _keeps(by_key: dict[tuple, Part], level: Level, reduction: int, windows: bool) -> dict[tuple, Keep]:
    if reduction > 1:  # small, and expensive to make
        return dict.fromkeys(by_key, Keep.ALWAYS)
    whole = level.tile_height, level.tile_width
    partly = Keep.IF_IT_PAYS if windows else Keep.ALWAYS
    # A part ends with its height and width. If a tile is needed as a whole, no other thread needs a part of it.
    return {key: Keep.FROM_SECOND_TIME if part[-2:] == whole else partly for key, part in by_key.items()}


def _decode(
    source: Source, by_key: dict[tuple, Part], claim: Claim, region: Region, reduction: int
) -> dict[tuple, Tile | None]:
    """Decode the tiles of a claim and place what exists; return the tiles to be kept."""
    jobs = [Job(by_key[key], None, True) for key in claim.mine]
    jobs += [Job(by_key[key], None, False) for key in claim.passing]
    jobs += [Job(by_key[key], tile, False) for key, tile in claim.held.items() if tile is not None]
    if not jobs:
        return {}
    threads = min(torch.get_num_threads(), len(claim.mine) + len(claim.passing))
    if threads < 2:
        return dict(zip(claim.mine, source.backend.place(source.index, reduction, jobs, region), strict=False))
    shares = [jobs[i::threads] for i in range(threads)]
    made = handles.in_threads(lambda share: source.backend.place(source.index, reduction, share, region), shares)
    tiles: list[Tile | None] = [None] * len(jobs)
    for i, share in enumerate(made):
        tiles[i::threads] = share
    return dict(zip(claim.mine, tiles, strict=False))
