"""What may be chosen about the loss, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Real
from types import NoneType

MODES = ("intra", "inter", "intra+inter")
ACTIVATIONS = ("softmax", "sigmoid")

# The default floor of the variance is floor_rel * r2 + DEFAULT_FLOOR_ABS, floor_rel by form. The forms that
# are unbounded as the predicted variance vanishes need a floor of the order of the target's own variance.
DEFAULT_FLOOR_REL = {
    "paper": 1.0,
    "marginal": 0.0,
    "kl": 0.1,
    "reverse_kl": 0.1,
    "wasserstein": 0.0,
    "legacy": 0.0,
    "proportion": 0.0,
    "squared": 0.0,
    "size": 0.0,
}
DEFAULT_FLOOR_ABS = 1e-8  # the square of a hundredth of a percent of a block
FORMS = tuple(DEFAULT_FLOOR_REL)
FORMS_WITHOUT_STD = ("proportion", "squared")  # that look at the target's mean alone
FORMS_OVER_STD = ("kl", "reverse_kl")  # that divide by it, or by what is predicted
REDUCTIONS = ("mean", "none")


@dataclass(frozen=True)
class LossOptions:
    """The choices of :func:`lsr_ext.functional.label_super_resolution_loss`, which documents them.

    Attributes:
        n_eff: the effective number of pixels of a block; infinity stands for all of them (Eq. 14-16).
        floor_rel: what is added to the predicted variance, as a multiple of the target's.
        floor_abs: what is added to the predicted variance whatever the target.

    Raises:
        ValueError, TypeError: where a value is not one of those listed there.
    """

    mode: str = "intra+inter"
    form: str = "marginal"
    variance: str | float = "independent"
    alpha: float = 1.0
    floor: float | None = None
    sharpness: float = 0.0
    activation: str = "softmax"
    n_eff: float = field(init=False, repr=False, compare=False)
    floor_rel: float = field(init=False, repr=False, compare=False)
    floor_abs: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, beside in (("variance", str), ("alpha", float), ("floor", NoneType), ("sharpness", float)):
            if not isinstance(getattr(self, name), (float, int, beside, Real)):
                kind = type(getattr(self, name)).__name__
                raise TypeError(f"{name} must be a number, got {kind}: it has no gradient")
        for name, allowed in (("mode", MODES), ("form", FORMS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if isinstance(self.variance, str):
            if self.variance not in ("independent", "printed"):
                raise ValueError(
                    f"variance must be 'independent', 'printed' or a number >= 1, got {self.variance!r}"
                )
        elif not self.variance >= 1:
            raise ValueError(f"variance as a number of pixels must be >= 1, got {self.variance}")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha must be positive and finite, got {self.alpha}")
        if self.floor is not None and not 0 <= self.floor < math.inf:
            raise ValueError(f"floor must be None or a finite number >= 0, got {self.floor}")
        if not -math.inf < self.sharpness < math.inf:
            raise ValueError(f"sharpness must be finite, got {self.sharpness}")

        # As attributes: each call of the loss reads them.
        object.__setattr__(self, "n_eff", self._effective_pixels())
        object.__setattr__(self, "floor_rel", DEFAULT_FLOOR_REL[self.form] if self.floor is None else 0.0)
        object.__setattr__(self, "floor_abs", self._absolute_floor())

    def _effective_pixels(self) -> float:
        if self.form == "legacy" or self.variance == "independent":
            return math.inf
        return 1.0 if self.variance == "printed" else float(self.variance)

    def _absolute_floor(self) -> float:
        if self.floor is not None:
            return float(self.floor)
        return 0.0 if self.form == "legacy" else DEFAULT_FLOOR_ABS

    def chosen(self) -> dict[str, str | float | None]:
        """The choices by name."""
        return {choice.name: getattr(self, choice.name) for choice in fields(self) if choice.init}
