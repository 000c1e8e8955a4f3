"""Find the images of a TIFF, and which of its pages are their levels and their channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile

from lsr_ext.wsi.errors import UnsupportedSlideError
from lsr_ext.wsi.resolution import ome_image_mpp

Page = tifffile.TiffPage
_REDUCED, _MASK = 1, 4  # bits of a page's NewSubfileType
_ASPECT_TOLERANCE = 0.01


class Channel(NamedTuple):
    """A channel as OME describes it; empty where it says nothing."""

    name: str
    colour: str
    is_fluorescent: bool


class PageImage(NamedTuple):
    """One image of a TIFF.

    Attributes:
        name: its name in the file, or "page N".
        levels: for each level, finest first, the pages that hold its planes: one page for RGB or grey.
        channels: description of each plane, as far as the file has one.
        mpp: microns per pixel, (x, y), from OME; None: none there.
    """

    name: str
    levels: tuple[tuple[Page, ...], ...]
    channels: tuple[Channel, ...]
    mpp: tuple[float, float] | None

    @property
    def first(self) -> Page:
        return self.levels[0][0]


def find_images(tiff: tifffile.TiffFile, agree: Callable[[Page, Page], bool]) -> list[PageImage]:
    """Find the images of a TIFF.

    A page belongs to the pyramid of an image as its sub-directory, or if it is flagged as reduced and has its
    aspect, or, in an SVS, if it is tiled and has its aspect; any other smaller page only if its pixels agree.

    Args:
        tiff: the file.
        agree: whether a page shows the same as a larger one.

    Raises:
        ValueError: focal planes or points in time, of which none is chosen.
    """
    if tiff.is_ome or tiff.is_qpi or tiff.is_imagej:
        return _images_of_series(tiff)
    pages = [whole_page(page) for page in list(tiff.pages)]
    if tiff.is_svs:
        levels = [page for page in pages if page is pages[0] or (page.is_tiled and _is_smaller(page, pages[0]))]
        return [_image(pages[0], [*levels, *_sub_pages(pages[0])])]
    return _images_of_pages(pages, agree)


def whole_page(page: Page | tifffile.TiffFrame) -> Page:
    """Read all tags of a page of which tifffile has read those that differ from the first."""
    return page if isinstance(page, Page) else page.aspage()


def choose_image(
    tiff: tifffile.TiffFile, path: Path, wanted: str | None, agree: Callable[[Page, Page], bool]
) -> tuple[PageImage, tuple[str, ...]]:
    """Return the image of that name, or the largest one, the first of several; and the names if there are several.

    Args:
        tiff, agree: as for `find_images`.
        path: of the file, for messages.
        wanted: the name; None: the largest.

    Raises:
        UnsupportedSlideError: no image, none of that name, or an error of `find_images`.
    """
    try:
        images = find_images(tiff, agree)
    except ValueError as error:
        raise UnsupportedSlideError(f"{path}: {error}") from None
    names = tuple(image.name for image in images)
    shown = names if len(names) > 1 else ()
    if wanted is None:
        return max(images, key=lambda image: image.first.imagewidth * image.first.imagelength), shown
    if names.count(wanted) != 1:
        found = ", ".join(map(repr, names))
        raise UnsupportedSlideError(f"{path}: expected one image named {wanted!r}, got the images {found}")
    return images[names.index(wanted)], shown


def _images_of_pages(pages: Sequence[Page], agree: Callable[[Page, Page], bool]) -> list[PageImage]:
    """Group pages: those of one size are planes of one image if they are grey, else images of their own."""
    reduced = [page for page in pages if page.subfiletype & _REDUCED]
    whole = [page for page in pages if not page.subfiletype & (_REDUCED | _MASK)] or [pages[0]]
    images: list[list[Page]] = []
    for page in sorted(whole, key=lambda page: -page.imagewidth * page.imagelength):
        shown = [image for image in images if _is_smaller(page, image[-1]) and agree(page, image[-1])]
        if shown:
            shown[0].append(page)
        else:
            images.append([page])
    images.sort(key=lambda image: image[0].index)
    stack = _grey_stack([image[0] for image in images])
    if stack:
        levels = [stack, *_stacks(reduced, stack)]
        channels = tuple(Channel(str(i), "", False) for i in range(len(stack)))
        return [PageImage("page 0", tuple(map(tuple, levels)), channels, None)]
    return [_image(image[0], [*image, *_sub_pages(image[0]), *_following(image[0], pages)]) for image in images]


def _following(base: Page, pages: Sequence[Page]) -> list[Page]:
    """The reduced pages of an image: those of its aspect, up to the next page that is not reduced."""
    found = []
    for page in map(whole_page, pages[base.index + 1 :]):
        if page.subfiletype & _REDUCED:
            found += [page] if _is_smaller(page, base) else []
        elif not page.subfiletype & _MASK and not _is_smaller(page, base):
            break
    return found


def _grey_stack(bases: Sequence[Page]) -> list[Page]:
    """The pages, if they are several grey ones of one size."""
    kinds = {(page.shape, page.dtype, page.samplesperpixel) for page in bases}
    return list(bases) if len(bases) > 1 and len(kinds) == 1 and bases[0].samplesperpixel == 1 else []


def _stacks(reduced: Sequence[Page], stack: Sequence[Page]) -> list[list[Page]]:
    sizes: dict[tuple[int, ...], list[Page]] = {}
    for page in reduced:
        if _is_smaller(page, stack[0]):
            sizes.setdefault(page.shape, []).append(page)
    return [pages for pages in sizes.values() if len(pages) == len(stack)]


def _sub_pages(page: Page) -> list[Page]:
    pages = [whole_page(sub) for sub in page.pages or ()]
    return [sub for sub in pages if _is_smaller(sub, page)]


def _image(base: Page, pages: Sequence[Page]) -> PageImage:
    levels: dict[tuple[int, int], tuple[Page]] = {(base.imagewidth, base.imagelength): (base,)}
    for page in pages:
        levels.setdefault((page.imagewidth, page.imagelength), (page,))
    ordered = sorted(levels.values(), key=lambda planes: -planes[0].imagewidth)
    return PageImage(f"page {base.index}", tuple(ordered), (), None)


def _is_smaller(page: Page, first: Page) -> bool:
    """Whether a page has the aspect of a larger one, but for a rounding of one pixel in each of the sizes."""
    if page.imagewidth >= first.imagewidth or page.imagelength >= first.imagelength:
        return False
    across, down = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
    tolerance = _ASPECT_TOLERANCE + 1 / min(page.imagewidth, page.imagelength)
    return abs(across / down - 1) <= tolerance


def _images_of_series(tiff: tifffile.TiffFile) -> list[PageImage]:
    """The images that tifffile finds in OME-TIFF, QPTIFF and ImageJ's files."""
    described = _ome_images(tiff) if tiff.is_ome else []
    images = []
    for index, series in enumerate(tiff.series):
        levels = [_planes(level) for level in series.levels]
        if levels[0] is None:
            continue
        # Without OME, three planes of ImageJ are channels: RGB is a kind of pixels there.
        about = described[index] if len(described) == len(tiff.series) else None
        channels = _ome_channels(about) if about is not None else _named_channels(series, len(levels[0]))
        if len(levels[0]) > 1 and len(channels) != len(levels[0]):
            channels = tuple(Channel(str(i), "", False) for i in range(len(levels[0])))
        name = (about.get("Name") if about is not None else series.name) or f"image {index}"
        mpp = None if about is None else ome_image_mpp(about)
        kept = [pages for pages in levels if pages is not None and len(pages) == len(levels[0])]
        if len(kept) == 1 and len(kept[0]) == 1:
            kept = _image(kept[0][0], _following(kept[0][0], list(tiff.pages))).levels
        images.append(PageImage(name, tuple(kept), channels, mpp))
    if not images:
        found = ", ".join(f"{series.axes} {series.shape}" for series in tiff.series)
        raise ValueError(f"expected an image of one focal plane and one point in time, got {found}")
    return _with_distinct_names(images)


def _planes(series: tifffile.TiffPageSeries) -> tuple[Page, ...] | None:
    """The pages of a series, one per channel; None: it has other dimensions than channels, or missing pages."""
    several = {axis: size for axis, size in zip(series.axes, series.shape, strict=True) if size > 1}
    if set(several) - set("CYXS") or any(page is None for page in series.pages):
        return None
    pages = tuple(whole_page(page) for page in series.pages)
    if len(pages) == 1 or len(pages) == several.get("C", 1):
        return pages
    return None


def _ome_images(tiff: tifffile.TiffFile) -> list[ElementTree.Element]:
    try:
        return ElementTree.fromstring(tiff.ome_metadata or "").findall("{*}Image")
    except ElementTree.ParseError:
        return []


def _ome_channels(image: ElementTree.Element) -> tuple[Channel, ...]:
    pixels = image.find("{*}Pixels")
    found = [] if pixels is None else pixels.findall("{*}Channel")
    return tuple(Channel(one.get("Name", ""), one.get("Color", ""), _is_fluorescent(one)) for one in found)


def _is_fluorescent(channel: ElementTree.Element) -> bool:
    if any(channel.get(name) for name in ("Fluor", "EmissionWavelength", "ExcitationWavelength")):
        return True
    return "Fluorescence" in (channel.get("ContrastMethod"), channel.get("IlluminationType"))


def _named_channels(series: tifffile.TiffPageSeries, count: int) -> tuple[Channel, ...]:
    """Channels of QPTIFF, from the XML of each page, or numbers."""
    channels = []
    for page in map(whole_page, list(series.pages)[:count]):
        try:
            name = ElementTree.fromstring(page.description or "").findtext("{*}Name") or ""
        except ElementTree.ParseError:
            name = ""
        channels.append(Channel(name, "", True))
    return tuple(channels)


def _with_distinct_names(images: Sequence[PageImage]) -> list[PageImage]:
    names = [image.name for image in images]
    return [
        image if names.count(image.name) == 1 else image._replace(name=f"{image.name} {index}")
        for index, image in enumerate(images)
    ]
