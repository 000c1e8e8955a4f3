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
    "intra+self",
    "inter+self",
    "intra+inter+self",
    "limited",
    "supervised",
]


@dataclass(frozen=True)
class Method:
    """What a method learns from.

    Attributes:
        mode: of the label super-resolution loss; None: it has none.
        pixels: where pixel labels come from. "pseudo": by colour ("high res" in section 3.1.4). "self": predicted
            by a network that was trained by the loss alone. "limited": the true masks of the blocks that the count
            distribution was estimated from (Table 9). "all": the true masks of all training blocks.
    """

    mode: Literal["intra", "inter", "intra+inter"] | None = None
    pixels: Literal["pseudo", "self", "limited", "all"] | None = None

    @property
    def is_grouped(self) -> bool:
        """Whether the loss is of groups of blocks."""
        return self.mode in ("inter", "intra+inter")

    @property
    def teacher(self) -> str | None:
        """The method whose network predicts the pixel labels of self-training, and which is trained first."""
        return self.mode if self.pixels == "self" else None


METHODS: dict[str, Method] = {
    "intra": Method(mode="intra"),
    "inter": Method(mode="inter"),
    "intra+inter": Method(mode="intra+inter"),
    "high_res": Method(pixels="pseudo"),
    "intra+high_res": Method(mode="intra", pixels="pseudo"),
    "inter+high_res": Method(mode="inter", pixels="pseudo"),
    "intra+inter+high_res": Method(mode="intra+inter", pixels="pseudo"),
    "intra+self": Method(mode="intra", pixels="self"),
    "inter+self": Method(mode="inter", pixels="self"),
    "intra+inter+self": Method(mode="intra+inter", pixels="self"),
    "limited": Method(pixels="limited"),
    "supervised": Method(pixels="all"),
}
