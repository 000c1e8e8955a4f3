"""Whole-slide images: read them fast, at a stated resolution, in bounded memory."""

import sys

if sys.version_info < (3, 11):  # as zarr 3 and scikit-image 0.26 do
    raise ImportError(
        f"lsr_ext.wsi needs Python 3.11 or later, this is {sys.version_info[0]}.{sys.version_info[1]}"
    )

try:
    from lsr_ext.wsi.backend import Region
    from lsr_ext.wsi.errors import (
        CorruptSlideError,
        MissingResolutionError,
        ReadTooLargeError,
        SlideError,
        UnsupportedSlideError,
    )
    from lsr_ext.wsi.handles import configure
    from lsr_ext.wsi.slide import Slide, open_slide
    from lsr_ext.wsi.tissue import tissue_fraction, tissue_mask
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"lsr_ext.wsi needs the module {error.name!r}: pip install lsr_ext[wsi]", name=error.name
    ) from error

__all__ = [
    "CorruptSlideError",
    "MissingResolutionError",
    "ReadTooLargeError",
    "Region",
    "Slide",
    "SlideError",
    "UnsupportedSlideError",
    "configure",
    "open_slide",
    "tissue_fraction",
    "tissue_mask",
]
