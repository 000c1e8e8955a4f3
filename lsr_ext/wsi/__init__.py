"""Whole-slide images: read them fast, at a stated resolution, in bounded memory."""

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
