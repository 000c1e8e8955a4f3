"""The methods that are trained: which pixels they are shown, and by which super-resolution loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MethodName = Literal[
    "intra",
    "inter",
    "intra+inter",
    "high_res",
    "intra+high_res",
    "inter+high_res",
    "intra+inter+high_res",
    "limited",
    "supervised",
]


@dataclass(frozen=True)
class Method:
    """What a method learns from.

    Attributes:
        mode: of the label super-resolution loss; None: it has none.
        pixels: pixel labels: "pseudo" labels by colour ("high res" in section 3.1.4), the true masks of the
            blocks that the count distribution came from ("limited", Table 9), or of "all" training blocks.
    """

    mode: Literal["intra", "inter", "intra+inter"] | None = None
    pixels: Literal["pseudo", "limited", "all"] | None = None

    @property
    def is_grouped(self) -> bool:
        """Whether the loss is of groups of blocks."""
        return self.mode in ("inter", "intra+inter")


METHODS: dict[str, Method] = {
    "intra": Method(mode="intra"),
    "inter": Method(mode="inter"),
    "intra+inter": Method(mode="intra+inter"),
    "high_res": Method(pixels="pseudo"),
    "intra+high_res": Method(mode="intra", pixels="pseudo"),
    "inter+high_res": Method(mode="inter", pixels="pseudo"),
    "intra+inter+high_res": Method(mode="intra+inter", pixels="pseudo"),
    "limited": Method(pixels="limited"),
    "supervised": Method(pixels="all"),
}
