"""Which blocks are trained on and which are held out: by position, image or patient."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from lsr_ext.config.data import Data, FractionSection
from lsr_ext.data import Block, cut_blocks, split_by_image, split_by_position
from lsr_ext.data.csv_files import clean, read_rows
from lsr_ext.data.splits import SPLITS
from lsr_ext.sources.context import RunContext

_NONE = np.zeros(0, np.int64)


class NamedSplit(NamedTuple):
    """The split that a file names for an image, and its patient where that is known."""

    split: str
    patient: str | None = None


class Splits(NamedTuple):
    """Indices of the blocks of each split; `validation` is empty where there is none."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def held_out(self, split: str) -> np.ndarray:
        """Those of the split that is scored.

        Raises:
            ValueError: it has no block.
        """
        found = getattr(self, split)
        if not len(found):
            raise ValueError(f"the split {split!r} has no block")
        return found


class CutSplits(NamedTuple):
    """The blocks of each split: `test` of the one that is scored; `validation` is empty where none is wanted."""

    train: list[Block]
    test: list[Block]
    validation: list[Block]

    @property
    def held_out(self) -> list[Block]:
        """Those to score, then those to validate on."""
        return self.test + self.validation


def cut_splits(
    data: FractionSection, context: RunContext, sizes: Sequence[tuple[int, int]], names: Sequence[str]
) -> CutSplits:
    """Cut images into blocks and split them. Training blocks may overlap, `data.stride_px` apart.

    Raises:
        ValueError: as `split_blocks` does.
    """
    train, held_out = (cut_blocks(sizes, data.block_size_px, step) for step in (data.stride_px, None))
    of_train, of_held_out = (split_blocks(data, context, side, sizes, names) for side in (train, held_out))
    scored = of_held_out.held_out(context.split)
    validated = of_held_out.held_out("validation") if context.validates else []
    return CutSplits(
        [train[i] for i in of_train.train],
        [held_out[i] for i in scored],
        [held_out[i] for i in validated],
    )


def split_blocks(
    data: Data,
    context: RunContext,
    blocks: Sequence[Block],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
    given: Sequence[str] | None = None,
    owners: Sequence[str | None] | None = None,
) -> Splits:
    """Indices of the blocks of each split.

    Args:
        data: the shares of the splits, their seed and the pattern of a patient's name.
        context: the run's seed, and which held-out split is scored.
        blocks: N blocks of M images.
        sizes: (height, width) of the M images, in pixels.
        names: the M images' names.
        given, owners: the split and the patient of each image, where the labels' table names them.

    Raises:
        ValueError: a split without a block, a name without a patient, a patient in two splits, or a validation
            split of one image.
    """
    fixed = fixed_splits(data, names, given, owners)
    if fixed is not None:
        return _by_name(blocks, fixed)
    if len(sizes) == 1:
        if data.validation_fraction:
            raise ValueError("data.validation_fraction needs several images, got one")
        train, test = split_by_position(blocks, sizes[0], data.test_fraction)
        return Splits(train, _NONE, test)
    seed = context.seed if data.split_seed is None else data.split_seed
    groups = patients(names, data.patient, owners)
    rest, test = split_by_image(blocks, data.test_fraction, seed, groups)
    if not data.validation_fraction:
        return Splits(rest, _NONE, test)
    share = data.validation_fraction / (1 - data.test_fraction)
    train, validation = split_by_image([blocks[i] for i in rest], share, seed, groups)
    return Splits(rest[train], rest[validation], test)


def fixed_splits(
    data: Data,
    names: Sequence[str],
    given: Sequence[str] | None = None,
    owners: Sequence[str | None] | None = None,
) -> list[str] | None:
    """The split of each image by the labels' table, the file `data.splits` or the folders `data.split_folders`.

    Returns:
        One of "train", "validation" and "test" for each name; None: the split is not fixed.

    Raises:
        FileNotFoundError, ValueError: a missing or faulty file, an image without a split, or a patient in two.
    """
    sources = {
        "data.splits": data.splits is not None,
        "data.split_folders": data.split_folders is not None,
        "the labels' column split": given is not None,
    }
    used = [name for name, is_used in sources.items() if is_used]
    if not used:
        return None
    if len(used) > 1:
        raise ValueError(f"expected the splits in one place, got {' and '.join(used)}")
    if data.splits is not None:
        table = read_split_table(data.root / data.splits)
        if missing := [name for name in names if name not in table]:
            raise ValueError(f"{data.root / data.splits}: no split for {len(missing)} images: {missing[0]!r}, ...")
        given = [table[name].split for name in names]
        owners = [table[name].patient or owner for name, owner in zip(names, _known(owners, names), strict=True)]
    elif data.split_folders is not None:
        given = [_folder_split(name, data.split_folders) for name in names]
    check_leakage(names, given, patients(names, data.patient, owners))
    return list(given)


def read_split_table(path: Path) -> dict[str, NamedSplit]:
    """Read a CSV with the columns image, split[, patient]: image -> its split and patient.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another column, an image that occurs twice, or an unknown split.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a CSV of splits, found none at {path}")
    found: dict[str, NamedSplit] = {}
    for where, fields in read_rows(path, ("image", "split"), ("patient",)):
        name, split = fields["image"], fields["split"]
        if name in found:
            raise ValueError(f"{where}: image {name!r} occurs a second time")
        if split not in SPLITS:
            raise ValueError(f"{where}: expected a split of {', '.join(SPLITS)}, got {split!r}")
        found[name] = NamedSplit(split, clean(fields.get("patient", "")) or None)
    return found


def check_leakage(names: Sequence[str], splits: Sequence[str], owners: Sequence[str]) -> None:
    """Refuse a patient with images in two splits.

    Raises:
        ValueError: there is one; the message names two of the images.
    """
    first: dict[str, int] = {}
    for index, owner in enumerate(owners):
        other = first.setdefault(owner, index)
        if splits[other] != splits[index]:
            raise ValueError(
                f"patient {owner!r} is in two splits: {names[other]!r} in {splits[other]}, "
                f"{names[index]!r} in {splits[index]}"
            )


def _by_name(blocks: Sequence[Block], split_of: Sequence[str]) -> Splits:
    of_block = np.array([split_of[block.image] for block in blocks])
    found = Splits(*(np.flatnonzero(of_block == split) for split in SPLITS))
    if not len(found.train):
        raise ValueError("the split 'train' has no block")
    return found


def _folder_split(name: str, folders: Mapping[str, Path]) -> str:
    for split, folder in folders.items():
        if PurePosixPath(name).is_relative_to(folder.as_posix()):
            return split
    listed = ", ".join(f"{split}: {folder}" for split, folder in folders.items())
    raise ValueError(f"data.split_folders: the image {name!r} is in none of {listed}")


def patients(names: Sequence[str], pattern: str | None, owners: Sequence[str | None] | None = None) -> list[str]:
    """What stays on one side of a split: each image's patient, or the image itself where that is unknown.

    Args:
        names: of the images.
        pattern: of the patient's name in an image's name; None: take `owners`.
        owners: the patient of each image, None for unknown; None: all are unknown.

    Raises:
        ValueError: a name in which the pattern is nowhere.
    """
    if pattern is not None:
        return [_patient(name, pattern) for name in names]
    return [owner or name for name, owner in zip(names, _known(owners, names), strict=True)]


def _known(owners: Sequence[str | None] | None, names: Sequence[str]) -> Sequence[str | None]:
    return [None] * len(names) if owners is None else owners


def _patient(name: str, pattern: str) -> str:
    found = re.search(pattern, name)
    if not found:
        raise ValueError(f"data.patient: {pattern!r} is nowhere in the name {name!r}")
    return found.group()
