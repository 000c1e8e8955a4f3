"""Show a TIFF's samples as 8-bit RGB: which planes, and how their values become colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tifffile

from lsr_ext.wsi.backend import MOST_CHANNELS, View
from lsr_ext.wsi.pages import Channel, PageImage

_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_KINDS = (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR)
_ALPHA = (1, 2)  # extra samples: premultiplied and plain alpha
_RED_GREEN_BLUE = ({"r", "red"}, {"g", "green"}, {"b", "blue"})
# OME's colours are RGBA in one signed number; writers that know no colour leave it out or write white.
_OME_RED_GREEN_BLUE = ({"-16776961", "4278190335"}, {"16711935"}, {"65535"})
_OME_WHITE = {"", "-1", "4294967295"}


class Alpha(NamedTuple):
    """The opacity: its sample, the value that is opaque, and whether colours are multiplied by it."""

    sample: int
    opaque: float
    is_multiplied: bool


@dataclass(frozen=True)
class Samples:
    """The samples that become red, green and blue.

    Attributes:
        sources: for red, green and blue: the plane, and the sample in it.
        low, high: the values that become 0 and 255.
        is_inverted: 0 is white.
        palette: uint8 (colours, 3), for samples that are its indices.
        alpha: the opacity, if there is one.
        is_fluorescent: nothing there is black.
    """

    sources: tuple[tuple[int, int], ...]
    low: float
    high: float
    is_inverted: bool = False
    palette: np.ndarray | None = None
    alpha: Alpha | None = None
    is_fluorescent: bool = False

    @property
    def planes(self) -> list[int]:
        """The planes that are needed."""
        return sorted({plane for plane, _ in self.sources})

    def show(self, planes: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """Convert decoded samples, (H, W, samples) for each plane.

        Returns:
            uint8 (H, W, 3), and bool (H, W) where they are opaque, or None for everywhere.
        """
        if self.palette is not None:
            return self.palette[planes[self.sources[0][0]][..., 0]], None
        pixels = np.stack([planes[plane][..., sample] for plane, sample in self.sources], axis=-1)
        if (pixels.dtype, self.low, self.high) != (np.uint8, 0.0, 255.0):
            scaled = (pixels.astype(np.float32) - self.low) * (255.0 / (self.high - self.low))
            pixels = np.nan_to_num(scaled.clip(0, 255) + 0.5).astype(np.uint8)
        pixels = 255 - pixels if self.is_inverted else pixels
        if self.alpha is None:
            return np.ascontiguousarray(pixels), None
        stored = planes[self.sources[0][0]][..., self.alpha.sample]
        opacity = stored.astype(np.float32)[..., None] / self.alpha.opaque
        over = pixels * (1.0 if self.alpha.is_multiplied else opacity) + 255 * (1 - opacity)
        return (over.clip(0, 255) + 0.5).astype(np.uint8), opacity[..., 0] >= 0.5


def choose_samples(image: PageImage, view: View) -> Samples:
    """Choose the samples of an image.

    Raises:
        ValueError: another kind of pixels, or channels or a display range that must be given and are not.
    """
    first = image.first
    if int(first.photometric) not in _KINDS or first.dtype is None or first.dtype.kind not in "uif":
        raise ValueError(f"expected grey, palette, RGB or YCbCr pixels, got {first}")
    planes = len(image.levels[0])
    if planes == 1:
        return _of_one_page(first, view, channel_names(image.channels))
    if any(page.samplesperpixel != 1 or int(page.photometric) > _MIN_IS_BLACK for page in image.levels[0]):
        raise ValueError(f"expected planes of one sample each, got {first}")
    is_inverted = int(first.photometric) == _MIN_IS_WHITE
    if not view.channels and is_rgb_in_planes(image.channels):
        return Samples(((0, 0), (1, 0), (2, 0)), *_range(first, view), is_inverted=is_inverted)
    names = channel_names(image.channels)
    chosen = _chosen(names, view.channels)
    low, high = _range(first, view)
    return Samples(_spread([(plane, 0) for plane in chosen]), low, high, is_inverted, is_fluorescent=True)


def is_rgb_in_planes(channels: Sequence[Channel]) -> bool:
    """Whether three channels are red, green and blue: by their names or colours, or because they have none."""
    if len(channels) != 3 or any(channel.is_fluorescent for channel in channels):
        return False
    names = [channel.name.strip().lower() for channel in channels]
    colours = [channel.colour for channel in channels]
    named = all(name in known for name, known in zip(names, _RED_GREEN_BLUE, strict=True))
    coloured = all(colour in known for colour, known in zip(colours, _OME_RED_GREEN_BLUE, strict=True))
    says_nothing = not any(names) and all(colour in _OME_WHITE for colour in colours)
    return named or says_nothing or (coloured and not any(names))


def channel_names(channels: Sequence[Channel]) -> list[str]:
    """The channels' names; numbers for those without one, or with one that occurs twice."""
    names = [channel.name for channel in channels]
    return [name if name and names.count(name) == 1 else str(i) for i, name in enumerate(names)]


def _of_one_page(page: tifffile.TiffPage, view: View, names: Sequence[str]) -> Samples:
    kind, count = int(page.photometric), page.samplesperpixel
    if kind == _PALETTE:
        if page.colormap is None or count != 1 or view.channels or view.display_range:
            raise ValueError(f"expected a palette and no choice of channels or of a range, got {page} and {view}")
        return Samples(((0, 0),) * 3, 0.0, 255.0, palette=(page.colormap.T >> 8).astype(np.uint8))
    extra = tuple(int(kind) for kind in np.atleast_1d(page.extrasamples)) if page.extrasamples else ()
    colours = count - len(extra)
    alpha = Alpha(colours, _most(page), extra[0] == _ALPHA[0]) if extra and extra[0] in _ALPHA else None
    if kind in (_RGB, _YCBCR):
        if colours < 3 or view.channels:
            raise ValueError(f"expected RGB and no choice of channels, got {page} and {view.channels}")
        return Samples(((0, 0), (0, 1), (0, 2)), *_range(page, view), alpha=alpha)
    is_inverted = kind == _MIN_IS_WHITE
    if count > 1 and alpha is None:
        chosen = _chosen([str(i) for i in range(count)], view.channels)
        low, high = _range(page, view)
        return Samples(_spread([(0, sample) for sample in chosen]), low, high, is_inverted, is_fluorescent=True)
    if view.channels:
        _chosen(names if len(names) == 1 else ["0"], view.channels)
    return Samples(((0, 0),) * 3, *_range(page, view), is_inverted, alpha=alpha)


def _chosen(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    unknown = [name for name in wanted if name not in names]
    if not 1 <= len(wanted) <= MOST_CHANNELS or unknown:
        raise ValueError(
            f"expected the names of one to three channels to show of {', '.join(map(repr, names))}; got "
            f"{list(wanted)}; give them: open_slide(path, channels=[...]), or the column channels in a CSV of "
            "slides"
        )
    return [names.index(name) for name in wanted]


def _spread(sources: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """One channel as grey; two as red and green, with the second one in blue too; three as they come."""
    return tuple(sources[min(i, len(sources) - 1)] for i in range(3))


def _range(page: tifffile.TiffPage, view: View) -> tuple[float, float]:
    """The values that become 0 and 255: the full range of up to 8 bits, otherwise what the view says."""
    if view.display_range is not None:
        return view.display_range
    if page.dtype.kind == "u" and page.bitspersample <= 8:
        return 0.0, _most(page)
    raise ValueError(
        f"expected a display range for values of {page.bitspersample} bits, the values that become black and "
        "white; got none; give it: open_slide(path, display_range=(low, high)), or the column display_range in a "
        "CSV of slides"
    )


def _most(page: tifffile.TiffPage) -> float:
    """The greatest value of a sample; of floating-point numbers, 1."""
    if page.dtype.kind == "f":
        return 1.0
    return float(2 ** (page.bitspersample - (page.dtype.kind == "i")) - 1)
