"""Read microns per pixel from files. Nothing is estimated from the magnification or from a default."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from xml.etree import ElementTree

import tifffile

PLAUSIBLE_MPP = (0.01, 100.0)
# Image editors write a resolution for print, such as 72 or 300 dots per inch: 353 and 85 microns per pixel.
COARSEST_TAGGED_MPP = 10.0
_MICRONS_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # TIFF's inch and centimetre
_MICRONS_PER_OME_UNIT = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "in": 25_400.0}


def aperio_mpp(description: str) -> tuple[float, float] | None:
    """Read it from "MPP = 0.4990" in an Aperio image description."""
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.eE+-]+)", description)
    return None if found is None else plausible(found[1], found[1])


def ome_mpp(xml: str) -> tuple[float, float] | None:
    """Read it from the physical size of the first image's pixels in OME-XML."""
    try:
        image = ElementTree.fromstring(xml).find("{*}Image")
    except ElementTree.ParseError:
        return None
    return None if image is None else ome_image_mpp(image)


def ome_image_mpp(image: ElementTree.Element) -> tuple[float, float] | None:
    """Read it from the physical size of the pixels of an Image element of OME-XML."""
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return None
    sizes = []
    for axis in "XY":
        microns = _MICRONS_PER_OME_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = pixels.get(f"PhysicalSize{axis}")
        if microns is None or size is None:
            return None
        sizes.append((size, microns))
    (x, x_microns), (y, y_microns) = sizes
    return plausible(x, y, x_microns, y_microns)


def tiff_mpp(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Read it from the resolution tags, if they give a length that a microscope has."""
    return from_microscope(tagged_mpp(page))


def tagged_mpp(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Read the resolution tags, whatever they mean."""
    unit = page.tags.valueof("ResolutionUnit", 2)  # TIFF: inches if the tag is missing
    microns = _MICRONS_PER_UNIT.get(int(unit))
    x, y = (page.tags.valueof(name) for name in ("XResolution", "YResolution"))
    if microns is None or x is None or y is None or not (x[0] and y[0]):
        return None
    return microns * x[1] / x[0], microns * y[1] / y[0]


def dpi_mpp(dpi: tuple[float, float]) -> tuple[float, float] | None:
    """Convert dots per inch, as PNG and JPEG files give them."""
    x, y = (float(value) for value in dpi)
    return (25_400.0 / x, 25_400.0 / y) if x > 0 and y > 0 else None


def from_microscope(mpp: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return what the resolution tags give, or None if it is impossible for a scan, such as one for print."""
    return mpp if mpp is not None and max(mpp) <= COARSEST_TAGGED_MPP and plausible(*mpp) else None


def openslide_mpp(properties: Mapping[str, str]) -> tuple[float, float] | None:
    """Read it from OpenSlide's properties, which come from the vendor's data or the resolution tags."""
    x, y = (properties.get(f"openslide.mpp-{axis}") for axis in "xy")
    mpp = None if x is None or y is None else plausible(x, y)
    return from_microscope(mpp) if properties.get("openslide.vendor") == "generic-tiff" else mpp


def plausible(
    x: float | str, y: float | str, x_microns: float = 1.0, y_microns: float = 1.0
) -> tuple[float, float] | None:
    """Return both in microns per pixel, or None if they are not numbers or impossible for a microscope."""
    try:
        mpp = float(x) * x_microns, float(y) * y_microns
    except ValueError:
        return None
    low, high = PLAUSIBLE_MPP
    return mpp if all(math.isfinite(value) and low <= value <= high for value in mpp) else None
