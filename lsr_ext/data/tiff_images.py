"""Read one page of a TIFF as it is stored: its samples, and what the file says they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lsr_ext.codestreams import correct_photometric
from lsr_ext.tiff_directories import check_directories, check_pixels

if TYPE_CHECKING:
    import tifffile

_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType: a preview or a level of a pyramid, a transparency mask
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_JPEG = 7
LOSSY = (
    "expected a coding that keeps ids, got JPEG or another that may change them; save masks as PNG, or as TIFF "
    "with deflate, from their source"
)
_ONE_BIT_OF_WHITE = (
    "expected a mask whose 0 is black (MinIsBlack), got one bit per pixel of which 0 is white: either could be "
    "the foreground"
)
# Codings that may change values: both JPEG, JPEG 2000, JPEG XR, WebP, JPEG XL, LERC.
_LOSSY = {6, 7, 33003, 33004, 33005, 33007, 34712, 34892, 34925, 22610, 34934, 50001, 50002, 34887}


class TiffImage(NamedTuple):
    """A page of a TIFF.

    Attributes:
        samples: (H, W) or (H, W, S), as stored; rows from the top.
        bits: bits per sample.
        photometric: what the samples mean, TIFF's number.
        palette: uint8 (colours, 3), or None.
        fault_as_ids: why the samples may not be the ids that somebody saved; "": they are.
    """

    samples: np.ndarray
    bits: int
    photometric: int
    palette: np.ndarray | None
    fault_as_ids: str

    @property
    def is_colour(self) -> bool:
        return self.photometric in (_RGB, _YCBCR)

    @property
    def zero_is_white(self) -> bool:
        return self.photometric == _MIN_IS_WHITE

    def rgb(self) -> np.ndarray:
        """Convert samples of at most 8 bits: uint8 (H, W, 3); alpha is dropped."""
        if self.palette is not None:
            return self.palette[self.samples]
        if self.is_colour:
            return np.ascontiguousarray(self.samples[..., :3])
        grey = self.samples if self.samples.ndim == 2 else self.samples[..., 0]
        most = 2**self.bits - 1
        scaled = (grey.astype(np.uint16) * 255 // most).astype(np.uint8)
        return np.stack([255 - scaled if self.zero_is_white else scaled] * 3, axis=-1)

    def ids(self) -> np.ndarray:
        """Return grey or palette samples without alpha: (H, W)."""
        return self.samples if self.samples.ndim == 2 else self.samples[..., 0]


def fault_as_ids(page: tifffile.TiffPage) -> str:
    """Why the samples of a page may not be the ids that somebody saved; "": they are."""
    if int(page.compression) in _LOSSY:
        return LOSSY
    if int(np.max(page.bitspersample)) == 1 and int(page.photometric) == _MIN_IS_WHITE:
        return _ONE_BIT_OF_WHITE
    return ""


def read_tiff(path: Path, max_pixels: int, page: int | None) -> TiffImage:
    """Read a page.

    Args:
        path: the file.
        max_pixels: the largest height x width to decode.
        page: number of the page, from 0; None: the only one that is no preview, level of a pyramid or mask.

    Raises:
        ValueError: several pages, no such page, too many pixels, or a kind of pixels that is not read.
    """
    import tifffile

    # With a neutral name and no other files: names such as .ndpi, and OME-XML, would change what is read.
    with path.open("rb") as file, tifffile.TiffFile(file, name="image.tif", _multifile=False) as tiff:
        check_directories(file.fileno())
        pages = [one if isinstance(one, tifffile.TiffPage) else one.aspage() for one in list(tiff.pages)]
        chosen = _choose(pages, page)
        check_pixels(chosen, tiff.filehandle.size)
        if chosen.imagewidth * chosen.imagelength > max_pixels:
            raise ValueError(
                f"expected at most {max_pixels} pixels, got {chosen.imagelength} x {chosen.imagewidth}"
            )
        _check(chosen)
        correct_photometric(chosen)
        samples = chosen.asarray()
        if int(chosen.planarconfig) == 2 and samples.ndim == 3:
            samples = np.moveaxis(samples, 0, -1)
        palette = None if chosen.colormap is None else (chosen.colormap.T >> 8).astype(np.uint8)
        kind = int(chosen.photometric)
        return TiffImage(
            _upright(samples, int(chosen.tags.valueof("Orientation", 1))),
            int(np.max(chosen.bitspersample)),
            kind,
            palette if kind == _PALETTE else None,
            fault_as_ids(chosen),
        )


def _choose(pages: list, page: int | None) -> object:
    if page is not None:
        if not 0 <= page < len(pages):
            raise ValueError(f"expected a page from 0 to {len(pages) - 1}, got {page}")
        return pages[page]
    whole = [one for one in pages if not one.subfiletype & _REDUCED_OR_MASK] or pages
    if len(whole) != 1:
        raise ValueError(f"expected one image in the file, got {len(whole)} pages")
    return whole[0]


def _check(page: object) -> None:
    kind, extra = int(page.photometric), page.extrasamples or ()
    colours = page.samplesperpixel - len(np.atleast_1d(extra))
    is_rgb = (kind == _RGB or (kind == _YCBCR and int(page.compression) == _JPEG)) and colours == 3
    is_grey = kind in (_MIN_IS_WHITE, _MIN_IS_BLACK, _PALETTE) and colours == 1
    if not (is_rgb or is_grey) or page.imagedepth != 1:
        raise ValueError(f"expected grey, palette or RGB pixels, got {page}")


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Turn what is stored so that its first row is the top, as the orientation flag says."""
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):  # after exchanging axes where needed: the first row is the bottom
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)
