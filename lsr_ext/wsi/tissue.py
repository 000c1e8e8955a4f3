"""Find the tissue of a slide on a thumbnail: coloured pixels on clear glass, or light in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation, binary_opening, median_filter
from skimage.color import rgb2hsv
from skimage.filters import threshold_otsu
from skimage.morphology import disk, remove_small_holes, remove_small_objects

from lsr_ext.wsi.slide import Slide

THUMBNAIL_PX, THUMBNAIL_MPP = 2048, 4.0
_SMALLEST_PART = 2e-4  # share of the thumbnail's area; smaller parts are dust
_LEAST_SATURATION = 0.03  # below it, Otsu would separate noise from noise: a slide without tissue
_GREATEST_SATURATION = 0.2  # above it, Otsu would separate tissue from tissue: a slide that is fully covered
_LEAST_CLASS = 0.01  # share of the pixels below a threshold; fewer are no class of their own
_SEPARATED = 0.8  # share of the variance that lies between two classes; one bell curve cut in two has 0.64
_LEAST_GAP = 0.03  # between the means of two classes, in saturation
_DARK_VALUE = 0.25  # a slide whose median is darker is fluorescence
_LEAST_LIGHT = 0.02  # below it, Otsu would separate noise from noise
_INK_VALUE = 0.25  # pen ink and the scanner's black frame are this dark, and larger than the darkest nuclei
_INK_RADIUS_PX = 4  # strokes are wider than twice that; their edges blend into the glass as far
# Hue in degrees and least saturation of pens: green, blue and red are purer than the stains beside them.
_PENS = ((75.0, 190.0, 0.3), (190.0, 250.0, 0.65), (-15.0, 12.0, 0.8))


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


def tissue_mask(slide: Slide, *, threshold: float | None = None, keep_pen: bool = False) -> TissueMask:
    """Find tissue on a thumbnail: a threshold on the saturation, then cleaned.

    Stains of every hue are more saturated than glass. The threshold is Otsu's, limited to [0.03, 0.2]; if the
    pixels below it are clearly two classes again, as pale tissue and glass beside strong stain are, it is theirs.
    The thumbnail is 2048 px on its longer side, or smaller if that would be finer than 4 microns per pixel, which
    shows cells rather than tissue. Pen marks, frames (areas darker than a quarter of white) and dust are removed,
    and small holes are filled. A pen is known by its hue and purity; strokes thinner than 8 px of the thumbnail
    stay. Where most of the slide is dark, it is fluorescence, and tissue is what shines, by Otsu's threshold on
    the brightness.

    Args:
        slide: a bright-field or a fluorescence slide.
        threshold: use this one, in [0, 1]: of the saturation, or of the brightness in fluorescence.
        keep_pen: pen marks in colour may be a green or blue stain: keep them.

    Raises:
        ValueError: a threshold outside [0, 1].

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
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"expected a threshold in [0, 1], got {threshold}")
    pixels, inside = slide.thumbnail(_thumbnail_px(slide), with_mask=True)
    value = pixels.max(axis=2)
    if inside.any() and np.median(value[inside]) < _DARK_VALUE * 255:
        light = median_filter(value / np.float32(255), size=3)
        least = _light_threshold(light[inside]) if threshold is None else threshold
        return TissueMask(_cleaned(inside & (light > least)), slide.size)
    chroma = value - pixels.min(axis=2)
    saturation = median_filter(chroma / np.maximum(value, 1).astype(np.float32), size=3)
    candidates = inside & ~binary_opening(value < _INK_VALUE * 255, disk(_INK_RADIUS_PX))
    if not keep_pen:
        candidates &= ~_pen(pixels)
    mask = np.zeros(inside.shape, dtype=bool)
    if candidates.any():
        least = _threshold(saturation[candidates]) if threshold is None else threshold
        mask = candidates & (saturation > least)
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
    """Otsu's threshold; again of the pixels below it, as long as these are clearly two classes."""
    if np.ptp(saturation) == 0:
        return _LEAST_SATURATION
    threshold = threshold_otsu(saturation)
    while threshold > _LEAST_SATURATION:
        below = saturation[saturation <= threshold]
        if len(below) < 2 or np.ptp(below) == 0:
            break
        lower = threshold_otsu(below)
        if lower >= threshold or not _are_two_classes(below, lower):
            break
        threshold = lower
    return float(np.clip(threshold, _LEAST_SATURATION, _GREATEST_SATURATION))


def _are_two_classes(values: np.ndarray, threshold: float) -> bool:
    low, high = values[values <= threshold], values[values > threshold]
    share = len(high) / len(values)
    if not _LEAST_CLASS <= share <= 1 - _LEAST_CLASS or high.mean() - low.mean() < _LEAST_GAP:
        return False
    between = share * (1 - share) * (high.mean() - low.mean()) ** 2
    return bool(between >= _SEPARATED * values.var())


def _light_threshold(light: np.ndarray) -> float:
    return _LEAST_LIGHT if np.ptp(light) == 0 else max(float(threshold_otsu(light)), _LEAST_LIGHT)


def _pen(pixels: np.ndarray) -> np.ndarray:
    """Broad strokes of pure green, blue or red, with their blurred edges: bool (H, W)."""
    hue, saturation, _ = np.moveaxis(rgb2hsv(pixels), -1, 0)
    degrees = hue * 360
    marks = np.zeros(pixels.shape[:2], bool)
    for start, end, least in _PENS:
        turned = (degrees - start) % 360
        marks |= binary_opening((turned < end - start) & (saturation >= least), disk(_INK_RADIUS_PX))
    return binary_dilation(marks, disk(_INK_RADIUS_PX)) if marks.any() else marks


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
