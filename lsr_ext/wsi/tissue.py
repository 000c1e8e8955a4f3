"""Find the tissue of a slide on a thumbnail: coloured pixels on clear glass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_opening, median_filter
from skimage.filters import threshold_otsu
from skimage.morphology import disk, remove_small_holes, remove_small_objects

from lsr_ext.wsi.slide import Slide

THUMBNAIL_PX, THUMBNAIL_MPP = 2048, 4.0
_SMALLEST_PART = 2e-4  # share of the thumbnail's area; smaller parts are dust
_LEAST_SATURATION = 0.03  # below it, Otsu would separate noise from noise: a slide without tissue
_GREATEST_SATURATION = 0.2  # above it, Otsu would separate tissue from tissue: a slide that is fully covered
_INK_VALUE = 0.25  # pen ink and the scanner's black frame are this dark, and larger than the darkest nuclei
_INK_RADIUS_PX = 4


@dataclass(frozen=True)
class TissueMask:
    """Tissue on a slide.

    Attributes:
        mask: bool (H, W), over the whole slide.
        size: the slide's (width, height), in level-0 pixels.
    """

    mask: np.ndarray
    size: tuple[int, int]

    def fractions(self, rectangles: Sequence[tuple[float, float, float, float]] | np.ndarray) -> np.ndarray:
        """Return the share of tissue in each rectangle; areas outside the slide are not tissue.

        Args:
            rectangles: (N, 4) of x, y, width, height in level-0 pixels.

        Returns:
            float64 (N,) in [0, 1], exact for the mask: its pixels count by their area inside the rectangle.

        Raises:
            ValueError: a rectangle has no area.
        """
        rectangles = np.asarray(rectangles, dtype=np.float64).reshape(-1, 4)
        x, y, width, height = rectangles.T
        if not np.all((width > 0) & (height > 0)):
            raise ValueError(f"expected rectangles with an area, got {rectangles.tolist()}")
        rows, columns = self.mask.shape
        to_x, to_y = columns / self.size[0], rows / self.size[1]
        # Sums over all pixels up to a corner; between the pixels' corners they are bilinear.
        sums = np.zeros((rows + 1, columns + 1))
        sums[1:, 1:] = self.mask.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
        left, right = x * to_x, (x + width) * to_x
        top, bottom = y * to_y, (y + height) * to_y
        inside = (
            _between(sums, bottom, right)
            - _between(sums, top, right)
            - _between(sums, bottom, left)
            + _between(sums, top, left)
        )
        return np.clip(inside / ((right - left) * (bottom - top)), 0.0, 1.0)


def tissue_mask(slide: Slide) -> TissueMask:
    """Find tissue on a thumbnail: Otsu's threshold on the saturation, limited to [0.03, 0.2], then cleaned.

    Stains of every hue are more saturated than glass. The thumbnail is 2048 px on its longer side, or smaller if
    that would be finer than 4 microns per pixel, which shows cells rather than tissue. Ink and frames (areas
    darker than a quarter of white) and dust are removed, and small holes are filled.

    Args:
        slide: a bright-field slide. The result is meaningless for fluorescence, where the background is black.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> import numpy as np, tifffile
        >>> from lsr_ext.wsi import open_slide
        >>> pixels = np.full((512, 512, 3), 245, np.uint8)
        >>> pixels[128:384, 128:384] = [200, 80, 160]
        >>> path = Path(mkdtemp()) / "slide.tif"
        >>> tifffile.imwrite(path, pixels, photometric="rgb", tile=(128, 128))
        >>> mask = tissue_mask(open_slide(path, mpp=8.0))
        >>> mask.fractions([(0, 0, 64, 64), (192, 192, 64, 64)]).round(2).tolist()
        [0.0, 1.0]
    """
    pixels, inside = slide.thumbnail(_thumbnail_px(slide), with_mask=True)
    value = pixels.max(axis=2)
    chroma = value - pixels.min(axis=2)
    saturation = median_filter(chroma / np.maximum(value, 1).astype(np.float32), size=3)
    candidates = inside & ~binary_opening(value < _INK_VALUE * 255, disk(_INK_RADIUS_PX))
    mask = np.zeros(inside.shape, dtype=bool)
    if candidates.any():
        mask = candidates & (saturation > _threshold(saturation[candidates]))
    return TissueMask(_cleaned(mask), slide.size)


def tissue_fraction(slide: Slide, rectangles: Sequence[tuple[float, float, float, float]]) -> np.ndarray:
    """Return the share of tissue in each rectangle (x, y, width, height) of level-0 pixels: float64 (N,).

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> import numpy as np, tifffile
        >>> from lsr_ext.wsi import open_slide
        >>> pixels = np.full((512, 512, 3), 245, np.uint8)
        >>> pixels[128:384, 128:384] = [200, 80, 160]
        >>> path = Path(mkdtemp()) / "slide.tif"
        >>> tifffile.imwrite(path, pixels, photometric="rgb", tile=(128, 128))
        >>> tissue_fraction(open_slide(path, mpp=8.0), [(192, 192, 64, 64)]).tolist()
        [1.0]
    """
    return tissue_mask(slide).fractions(rectangles)


def _thumbnail_px(slide: Slide) -> int:
    longest = max(slide.size)
    if slide.mpp is not None:
        longest = round(longest * min(slide.mpp) / THUMBNAIL_MPP)
    return max(min(longest, THUMBNAIL_PX), 1)


def _threshold(saturation: np.ndarray) -> float:
    if np.ptp(saturation) == 0:
        return _LEAST_SATURATION
    return float(np.clip(threshold_otsu(saturation), _LEAST_SATURATION, _GREATEST_SATURATION))


def _cleaned(mask: np.ndarray) -> np.ndarray:
    area = max(int(_SMALLEST_PART * mask.size), 1)
    mask = binary_closing(np.pad(binary_opening(mask, disk(1)), 4), disk(3))[4:-4, 4:-4]
    mask = remove_small_objects(mask, max_size=area)
    return remove_small_holes(mask, max_size=area)


def _between(sums: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Interpolate bilinearly in a table of sums, clamped to its border."""
    y, x = np.clip(y, 0, sums.shape[0] - 1), np.clip(x, 0, sums.shape[1] - 1)
    row, column = (np.minimum(np.floor(v).astype(int), n - 2) for v, n in ((y, sums.shape[0]), (x, sums.shape[1])))
    down, across = y - row, x - column
    upper = sums[row, column] * (1 - across) + sums[row, column + 1] * across
    lower = sums[row + 1, column] * (1 - across) + sums[row + 1, column + 1] * across
    return upper * (1 - down) + lower * down
