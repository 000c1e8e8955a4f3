"""List the slides of a cohort with their patients, and assign patients to splits."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lsr_ext.data.cohort.dicom import group_dicom
from lsr_ext.data.csv_files import clean, read_rows
from lsr_ext.data.splits import SPLITS
from lsr_ext.wsi import Slide, SlideError, open_slide
from lsr_ext.wsi.backend import MOST_CHANNELS, WHOLE_FILE, View

SUFFIXES = (
    *(".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm"),
    *(".czi", ".qptiff"),
)
PICTURES = (".png", ".jpg", ".jpeg")
_MIRAX, _DICOM = ".mrxs", ".dcm"
_HAMAMATSU = (".vms", ".vmu")  # their tiles are JPEG files beside them
_SEPARATOR = ";"  # of channels, whose names may hold a plus or a minus, and of numbers
_logger = logging.getLogger(__name__)


class CohortSlide(NamedTuple):
    """A slide of a cohort.

    Attributes:
        path: its file; a link is not followed, because its name is the slide's.
        patient: its patient; None: unknown.
        mpp: microns per pixel to use instead of those in the file.
        name: its name in the cohort, with folders and without a suffix; "" for the file's own.
        split: train, validation or test, where it is given.
        view: the image, channels and display range to show, for a file that needs the choice.
    """

    path: Path
    patient: str | None = None
    mpp: float | None = None
    name: str = ""
    split: str | None = None
    view: View = WHOLE_FILE

    @property
    def label(self) -> str:
        """The name, or the file's name without its suffix."""
        return self.name or self.path.stem

    def open(self) -> Slide:
        """Open it with its resolution and its view.

        Raises:
            FileNotFoundError, SlideError, ValueError: as `open_slide`.
        """
        return open_slide(self.path, mpp=self.mpp, **self.view._asdict())


class SlideListing(NamedTuple):
    """The slides of a folder or CSV, and for each file that is none the reason."""

    slides: list[CohortSlide]
    skipped: dict[Path, str]

    def describe_skipped(self) -> list[str]:
        """Return a line for each reason: how many files, and the first of them."""
        firsts: dict[str, Path] = {}
        for path, reason in self.skipped.items():
            firsts.setdefault(reason, path)
        counts = Counter(self.skipped.values())
        return [f"{count} files skipped: {reason}, such as {firsts[reason]}" for reason, count in counts.items()]


def list_slides(source: str | Path) -> list[CohortSlide]:
    """List the slides of a folder or CSV, as `scan_slides` does; skipped files are logged.

    Raises:
        FileNotFoundError, ValueError: as `scan_slides`.
    """
    listing = scan_slides(source)
    for line in listing.describe_skipped():
        _logger.warning("%s", line)
    return listing.slides


def scan_slides(source: str | Path) -> SlideListing:
    """Find the slides of a folder and its subfolders, or of a CSV.

    The columns of a CSV: slide[,patient][,mpp][,split][,image][,channels][,display_range]. Paths are relative to
    its folder, empty fields are unknown, and spaces around fields do not count. `image`, `channels` and
    `display_range` are those of `open_slide`: one to three names of channels, separated by ";", and two numbers,
    "100;4000".
    In a folder, the files of a DICOM series are one slide. PNG and JPEG files are slides if there are no others;
    beside slides they are skipped as previews, and can be listed in a CSV.

    Returns:
        The slides, sorted by path, and the files that are skipped.

    Raises:
        FileNotFoundError: neither folder nor file.
        ValueError: no slide, a repeated slide, two slides with one name, or an invalid field.
    """
    source = Path(source)
    skipped: dict[Path, str] = {}
    if source.is_dir():
        slides = _of_folder(source, skipped)
    elif source.is_file():
        slides = _of_csv(source)
    else:
        raise FileNotFoundError(f"expected a folder of slides or a CSV of them, found none at {source}")
    if not slides:
        raise ValueError(f"{source}: expected slides ({', '.join((*SUFFIXES, *PICTURES))}), found none")
    slides.sort(key=lambda slide: str(slide.path))
    _check_distinct(source, slides)
    return SlideListing(slides, skipped)


def with_mpp(slides: Sequence[CohortSlide], mpp: float | None) -> list[CohortSlide]:
    """Give slides a resolution if neither the list nor their file has one; what does not open stays as it is.

    Args:
        slides: the slides.
        mpp: microns per level-0 pixel; None: change nothing.

    Raises:
        ValueError: an mpp that is not above 0.
    """
    if mpp is None:
        return list(slides)
    if not 0 < mpp < float("inf"):
        raise ValueError(f"expected an mpp above 0, got {mpp}")
    return [slide._replace(mpp=mpp) if slide.mpp is None and _lacks_mpp(slide) else slide for slide in slides]


def _lacks_mpp(slide: CohortSlide) -> bool:
    try:
        return slide.open().mpp is None
    except (SlideError, OSError):
        return False


def assign_splits(groups: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Draw a split for each group (a patient or a slide); it depends only on the names of the groups and `seed`.

    The groups are sorted by a hash and divided by the shares, rounded to whole groups.

    Args:
        groups: names; repeats count once.
        shares: share of each split, above 0; they are divided by their sum.
        seed: random seed of the draw.

    Raises:
        ValueError: no shares, one that is not above 0, of another split than train, validation and test, or a
            split that would stay empty.
    """
    if unknown := sorted(set(shares) - set(SPLITS)):
        raise ValueError(f"expected shares of {', '.join(SPLITS)}, got one of {unknown[0]!r}")
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
        other = split_of.setdefault(slide.patient or slide.label, slide)
        if other.split != slide.split:
            raise ValueError(
                f"patient {slide.patient!r} is in two splits: {other.path.name} in {other.split}, "
                f"{slide.path.name} in {slide.split}"
            )
    return [slide.split for slide in slides]


def _of_folder(folder: Path, skipped: dict[Path, str]) -> list[CohortSlide]:
    found: list[Path] = []
    pictures: list[Path] = []
    for path in _files(folder):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            skipped[path] = "hidden, as macOS writes beside every file"
        elif suffix in PICTURES:
            pictures.append(path)
        elif suffix in SUFFIXES:
            found.append(path)
        else:
            skipped[path] = f"no slide by its suffix {suffix!r}"
    dicom = [path for path in found if path.suffix.lower() == _DICOM]
    if dicom:
        chosen, others = group_dicom(dicom)
        skipped |= others
        found = [path for path in found if path.suffix.lower() != _DICOM] + chosen
    if found:
        skipped |= dict.fromkeys(pictures, "a picture beside slides")
    return [
        CohortSlide(path, name=path.relative_to(folder).with_suffix("").as_posix()) for path in found or pictures
    ]


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder and its subfolders, links to folders included; without the parts of other slides."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Beside NAME.mrxs lies a folder NAME with its tiles.
        parts = {Path(name).stem for name in names if name.lower().endswith(_MIRAX)}
        folders[:] = sorted(name for name in folders if name not in parts and not name.startswith("."))
        has_tiles = any(name.lower().endswith(_HAMAMATSU) for name in names)
        for name in sorted(names):
            if not (has_tiles and name.lower().endswith(PICTURES)):
                yield Path(here) / name


def _check_distinct(source: Path, slides: Sequence[CohortSlide]) -> None:
    names: dict[str, Path] = {}
    files: dict[tuple[int, int], Path] = {}
    for slide in slides:
        # Label files are found by the slide's name.
        if slide.label in names:
            raise ValueError(f"{source}: two slides of one name: {names[slide.label]} and {slide.path}")
        names[slide.label] = slide.path
        if slide.path.is_file():
            found = slide.path.stat()
            other = files.setdefault((found.st_dev, found.st_ino), slide.path)
            if other != slide.path:
                raise ValueError(f"{source}: one file under two names: {other} and {slide.path}")


def _of_csv(path: Path) -> list[CohortSlide]:
    slides = []
    for where, fields in read_rows(path, ("slide",), ("patient", "mpp", "split", *View._fields)):
        if not fields["slide"]:
            raise ValueError(f"{where}: the slide is empty")
        patient = clean(fields.get("patient", "")) or None
        split = clean(fields.get("split", "")) or None
        if split not in (None, *SPLITS):
            raise ValueError(f"{where}: expected a split of {', '.join(SPLITS)}, got {split!r}")
        mpp, view = _mpp(fields, where), _view(fields, where)
        slides.append(CohortSlide(path.parent / fields["slide"], patient, mpp, split=split, view=view))
    common = os.path.commonpath([slide.path.parent.absolute() for slide in slides]) if slides else ""
    names = [Path(os.path.relpath(slide.path.absolute(), common)).with_suffix("") for slide in slides]
    return [slide._replace(name=name.as_posix()) for slide, name in zip(slides, names, strict=True)]


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


def _view(fields: dict[str, str], where: str) -> View:
    channels = _split(fields.get("channels", ""))
    if len(channels) > MOST_CHANNELS or not all(channels):
        raise ValueError(
            f"{where}: expected one to {MOST_CHANNELS} names of channels, separated by {_SEPARATOR!r}, got "
            f"{fields['channels']!r}"
        )
    return View(fields.get("image") or None, channels, _display_range(fields, where))


def _display_range(fields: dict[str, str], where: str) -> tuple[float, float] | None:
    text = fields.get("display_range", "")
    if not text:
        return None
    try:
        low, high = map(float, _split(text))
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"{where}: expected a display range that increases, such as 100;4000, got {text!r}")
    return low, high


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(_SEPARATOR)) if text else ()
