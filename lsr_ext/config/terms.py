"""The weights of the pixel loss and the super-resolution loss over the steps of a training."""

from __future__ import annotations

from pydantic import Field

from lsr_ext.config.section import Section, Weights


class Term(Section):
    """The weight of a term of the joint loss.

    It is 0 before `start_step`, rises linearly to `weight` over `warmup_steps`, and from there goes linearly to
    `final_weight` at the last step; `final_weight: null` keeps it.
    """

    weight: float = Field(1.0, ge=0)
    start_step: int = Field(0, ge=0)
    warmup_steps: int = Field(0, ge=0)
    final_weight: float | None = Field(None, ge=0)

    def at(self, step: int, steps: int) -> float:
        """The weight at a step from 0 to steps - 1."""
        if step < self.start_step:
            return 0.0
        full_step = self.start_step + self.warmup_steps
        if step < full_step:
            return self.weight * (step - self.start_step + 1) / (self.warmup_steps + 1)
        if self.final_weight is None:
            return self.weight
        share = (step - full_step) / max(steps - 1 - full_step, 1)
        return self.weight + (self.final_weight - self.weight) * share


class PixelTerm(Term):
    """The weight of the pixel loss, which falls to zero by default.

    Pseudo-labels of blocks "high" or "low" show what a class looks like. They do not know how much of it there is,
    and many are wrong: at the end the super-resolution loss is the only one. Pseudo-labels by a block's area do
    know, and are better kept.
    """

    final_weight: float | None = Field(0.0, ge=0)


class JointTerms(Section):
    """The joint loss of section 3.1.4: the weights of its two terms, and of the classes in every pixel loss."""

    pixel: PixelTerm = PixelTerm()
    super_resolution: Term = Term()
    pixel_class_weights: Weights | None = None
