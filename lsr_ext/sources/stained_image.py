"""The source `skimage_ihc`: an immunohistochemistry image that comes with scikit-image."""

from __future__ import annotations

import numpy as np
from skimage import data as skimage_data
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu

from lsr_ext.config.data import StainedImage
from lsr_ext.sources.pixel_truth import PixelTruth


def read_stained_image(_: StainedImage) -> PixelTruth:
    """The image and where it is brown."""
    image, mask = stained_image()
    return PixelTruth([image], [mask], ["immunohistochemistry"], ["background", "stained"])


def stained_image() -> tuple[np.ndarray, np.ndarray]:
    """scikit-image's IHC image, uint8 (512, 512, 3), and where it is brown, int64 (512, 512) of 0 and 1.

    DAB by colour deconvolution, smoothed over about a pixel against noise, above Otsu's threshold.
    """
    image = skimage_data.immunohistochemistry()
    dab = gaussian(rgb2hed(image)[..., 2], sigma=1)
    return image, (dab > threshold_otsu(dab)).astype(np.int64)
