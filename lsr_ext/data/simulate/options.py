"""The content of a simulated field: stains, kinds of cells, and how difficult they are to distinguish."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CLASSES = ("background", "CD16", "CD20", "CD3", "CD4", "CD8")
MARKERS = CLASSES[1:]
MPP = 1.0  # 10x, as in section 3.1.1

# The colour of each stain alone at concentration 1: black, red, yellow, cyan, purple (Table 2).
STAIN_RGB = np.array(
    [(48, 44, 50), (198, 62, 72), (222, 186, 62), (72, 168, 190), (124, 66, 148)], dtype=np.float64
)
HAEMATOXYLIN_RGB = np.array((116, 118, 172), dtype=np.float64)
TISSUE_RGB = np.array((226, 206, 218), dtype=np.float64)


@dataclass(frozen=True)
class CellKind:
    """The shape of one kind of cell.

    Attributes:
        radius_px: mean radius.
        irregularity: relative amplitude of the outline's waves.
        elongation: length of the long axis over that of the short axis.
        membrane: share of the stain that is at the rim of the cell.
    """

    radius_px: float
    irregularity: float
    elongation: float
    membrane: float


# Myeloid cells are large and ragged, B cells round, T cells small; CD8 cells a little longer than CD4 cells.
CELL_KINDS = (
    CellKind(9.5, 0.16, 1.25, 0.0),
    CellKind(8.5, 0.04, 1.05, 0.4),
    CellKind(7.5, 0.07, 1.1, 0.4),
    CellKind(8.5, 0.07, 1.1, 0.3),
    CellKind(8.0, 0.09, 1.3, 0.3),
)
# Of a cell without a marker, only the nucleus is visible.
NUCLEUS = CellKind(5.5, 0.06, 1.25, 0.0)


@dataclass(frozen=True)
class FieldOptions:
    """How many cells a field holds, and what makes it difficult to distinguish them by colour.

    The number of cells of a class per mm2 is log-normal from region to region (400 um), at least `high_per_mm2` in
    the share `high_shares` of regions; 100 cells are 2 to 3 % of the pixels.

    Attributes:
        high_shares: share of high regions for each of the five markers, in (0, 1); by default as in Table 2.
        high_per_mm2: cells per mm2 at and above which a region is "high".
        density_spread: standard deviation of log density.
        max_per_mm2: the largest density.
        pale_share: share of cells with a third of the usual stain.
        mixing: largest concentration of a second marker in a cell, which shifts its colour.
        overlap: how far neighbours may overlap, as a share of the mean diameter, in [0, 0.8].
        bleed: share of the stain that spreads into the surroundings.
        bleed_px: standard deviation of this blur, in pixels.
        nuclei_per_mm2: cells without a marker; the counterstain shows their nucleus.
        counterstain: concentration of haematoxylin in nuclei, also those of marked cells.
        debris_per_mm2: specks, streaks and smears in the markers' colours, which are not cells.
        stain_jitter: relative standard deviation of the stains' colours and strengths from field to field.
        texture: optical density of the tissue's background.
        noise_std: sensor noise, in grey levels of 255.
        jpeg_quality: compress the image, as scanners do; None: leave it.
    """

    high_shares: tuple[float, ...] = (422 / 2974, 170 / 2974, 773 / 2974, 229 / 2974, 461 / 2974)
    high_per_mm2: float = 100.0
    density_spread: float = 1.0
    max_per_mm2: float = 210.0
    pale_share: float = 0.2
    mixing: float = 0.4
    overlap: float = 0.35
    bleed: float = 0.3
    bleed_px: float = 4.0
    nuclei_per_mm2: float = 1000.0
    counterstain: float = 0.75
    debris_per_mm2: float = 120.0
    stain_jitter: float = 0.08
    texture: float = 1.0
    noise_std: float = 3.0
    jpeg_quality: int | None = 85

    def __post_init__(self) -> None:
        if len(self.high_shares) != len(MARKERS) or not all(0 < share < 1 for share in self.high_shares):
            raise ValueError(f"expected {len(MARKERS)} high_shares in (0, 1), got {self.high_shares}")
        if not 0 < self.high_per_mm2 <= self.max_per_mm2:
            raise ValueError(
                f"expected 0 < high_per_mm2 <= max_per_mm2, got {self.high_per_mm2} and {self.max_per_mm2}"
            )
        for name, highest in (("pale_share", 1.0), ("overlap", 0.8), ("bleed", 1.0)):
            if not 0 <= getattr(self, name) <= highest:
                raise ValueError(f"expected {name} in [0, {highest:g}], got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"expected a finite {name} of at least 0, got {getattr(self, name)}")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"expected a jpeg_quality from 1 to 100 or None, got {self.jpeg_quality}")

    def scaled(self, difficulty: float) -> FieldOptions:
        """Multiply every difficulty by `difficulty`: 0 = pure stains on glass, 1 = these options.

        Raises:
            ValueError: `difficulty` is negative, or moves an option out of its range.
        """
        scaled = replace(self, **{name: getattr(self, name) * difficulty for name in _HINDRANCES})
        return replace(scaled, jpeg_quality=None) if difficulty == 0 else scaled


_HINDRANCES = (
    "pale_share",
    "mixing",
    "overlap",
    "bleed",
    "nuclei_per_mm2",
    "counterstain",
    "debris_per_mm2",
    "stain_jitter",
    "texture",
    "noise_std",
)
_NOT_NEGATIVE = (
    "density_spread",
    "mixing",
    "bleed_px",
    "nuclei_per_mm2",
    "counterstain",
    "debris_per_mm2",
    "stain_jitter",
    "texture",
    "noise_std",
)
