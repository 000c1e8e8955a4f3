"""List the slides of a cohort with their patients, and assign patients to splits."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm")


class CohortSlide(NamedTuple):
    """A slide of a cohort: its file, its patient, the mpp to use instead of the one in the file, and its split."""

    path: Path
    patient: str | None = None
    mpp: float | None = None
    split: str | None = None


def list_slides(source: str | Path) -> list[CohortSlide]:
    """List the slides of a folder, by their suffixes, or of a CSV with slide[,patient][,mpp][,split].

    In a CSV, paths are relative to its folder, and empty fields are unknown.

    Returns:
        Sorted by path.

    Raises:
        FileNotFoundError: neither folder nor file.
        ValueError: no slide, a repeated slide, two slides with one name, or an invalid field.
    """
    source = Path(source)
    if source.is_dir():
        slides = [CohortSlide(path) for path in source.iterdir() if path.suffix.lower() in SUFFIXES]
    elif source.is_file():
        slides = _read_slides(source)
    else:
        raise FileNotFoundError(f"expected a folder of slides or a CSV of them, found none at {source}")
    if not slides:
        raise ValueError(f"{source}: expected slides ({', '.join(SUFFIXES)}), found none")
    slides.sort(key=lambda slide: str(slide.path))
    names: dict[str, Path] = {}
    for slide in slides:
        # Label files are found by the slide's name.
        if slide.path.stem in names:
            raise ValueError(f"{source}: two slides of one name: {names[slide.path.stem]} and {slide.path}")
        names[slide.path.stem] = slide.path
    return slides


def assign_splits(groups: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Draw a split for each group (a patient or a slide); it depends only on the names of the groups and `seed`.

    The groups are sorted by a hash and divided by the shares, rounded to whole groups.

    Args:
        groups: names; repeats count once.
        shares: share of each split, above 0; they are divided by their sum.
        seed: random seed of the draw.

    Raises:
        ValueError: no shares, one that is not above 0, or a split that would stay empty.
    """
    if not shares or not all(share > 0 for share in shares.values()):
        raise ValueError(f"expected shares above 0, got {dict(shares)}")
    order = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    total, done, start, splits = sum(shares.values()), 0.0, 0, {}
    for split, share in shares.items():
        done += share
        end = round(len(order) * done / total)
        if end == start:
            raise ValueError(f"{len(order)} slides or patients leave nothing for {split}={share} of {total:g}")
        splits |= dict.fromkeys(order[start:end], split)
        start = end
    return splits


def fixed_splits(slides: Sequence[CohortSlide]) -> list[str] | None:
    """The split of each slide, where they are given; None: they are not.

    Raises:
        ValueError: only some slides have one, or a patient is in two.
    """
    given = [slide.split for slide in slides]
    if not any(given):
        return None
    split_of: dict[str, CohortSlide] = {}
    for slide in slides:
        if slide.split is None:
            raise ValueError(f"{slide.path}: the split is missing, and other slides have one")
        other = split_of.setdefault(slide.patient or str(slide.path), slide)
        if other.split != slide.split:
            raise ValueError(
                f"patient {slide.patient!r} is in two splits: {other.path.name} in {other.split}, "
                f"{slide.path.name} in {slide.split}"
            )
    return [slide.split for slide in slides]


def _read_slides(path: Path) -> list[CohortSlide]:
    slides = []
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if "slide" not in columns or columns - {"slide", "patient", "mpp", "split"}:
            raise ValueError(f"{path}: expected columns slide[,patient][,mpp][,split], got {','.join(columns)}")
        for fields in reader:
            where = f"{path}, row {reader.line_num}"
            if not fields["slide"]:
                raise ValueError(f"{where}: the slide is empty")
            slides.append(
                CohortSlide(
                    path.parent / fields["slide"],
                    fields.get("patient") or None,
                    _mpp(fields, where),
                    fields.get("split") or None,
                )
            )
    return slides


def _mpp(fields: dict[str, str], where: str) -> float | None:
    if not fields.get("mpp"):
        return None
    try:
        mpp = float(fields["mpp"])
    except ValueError:
        mpp = 0.0
    if not 0 < mpp < float("inf"):
        raise ValueError(f"{where}: expected an mpp above 0, got {fields['mpp']!r}")
    return mpp
