"""The losses as modules: state around :mod:`lsr_ext.functional`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lsr_ext.checks import check_distribution
from lsr_ext.distributions import CountDistribution
from lsr_ext.functional import BACKENDS, label_super_resolution_loss
from lsr_ext.options import LossOptions
from lsr_ext.reference import table_dtype


class LabelSuperResolutionLoss(nn.Module):
    """The intra-, inter- or intra+inter-instance loss for one :class:`CountDistribution`.

    The arguments are those of :func:`lsr_ext.functional.label_super_resolution_loss`, which states the
    equations. The default form, "marginal", is bounded and trains; "paper" is the paper's Eq. 9, and with
    ``floor=0.0`` exactly so, but it then rewards vanishing variance without limit and collapses.

    The distribution's tables and the weights stay in float64 whatever type the module is cast to, and move to a
    device with it. They are no part of the state dict: a checkpoint does not replace the targets asked for.

    Shape:
        logits (N, L, H, W), labels (N,) or (N, L), group likewise, mask (N, H, W); the result is a scalar.

    Raises:
        ValueError: on an unknown option, on weights that do not fit the classes, and for a distribution
            that the form does not allow (std = 0 under "kl" and "reverse_kl").
    """

    def __init__(
        self,
        distribution: CountDistribution,
        mode: str = "intra+inter",
        form: str = "marginal",
        variance: str | float = "independent",
        alpha: float = 1.0,
        floor: float | None = None,
        sharpness: float = 0.0,
        activation: str = "softmax",
        class_weights: Sequence[float] | Tensor | None = None,
        backend: str = "auto",
        inplace_backward: bool = False,
    ) -> None:
        super().__init__()
        self.options = LossOptions(mode, form, variance, alpha, floor, sharpness, activation)
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
        self.backend = backend
        self.inplace_backward = inplace_backward
        check_distribution(distribution.mean, distribution.std, form)
        classes = distribution.mean.shape[1]
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float64).clone()
        if weights is not None and (weights.shape != (classes,) or not bool((weights >= 0).all())):
            raise ValueError(f"class_weights must be {classes} numbers >= 0, got {class_weights}")
        tables = {
            "mean": distribution.mean.to(torch.float64, copy=True),
            "std": distribution.std.to(torch.float64, copy=True),
            "class_weights": weights,
        }
        for name, table in tables.items():
            self.register_buffer(name, table, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LabelSuperResolutionLoss:
        """Move the tables to where `fn` moves a tensor, without the cast that it may also do."""

        def move(table: Tensor) -> Tensor:
            moved = fn(table.new_empty(0, dtype=torch.float32))
            return table.to(moved.device, table_dtype(moved))

        return super()._apply(move, recurse)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        """Load no tables, although a checkpoint may hold some: they are those of another run's distribution."""
        for name in ("mean", "std", "class_weights"):
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        group: Tensor | None = None,
        mask: Tensor | None = None,
        block_ids: Tensor | None = None,
        validate: bool = False,
    ) -> Tensor:
        """The loss of a batch, a scalar."""
        return label_super_resolution_loss(
            logits,
            labels,
            self.mean,
            self.std,
            group=group,
            mask=mask,
            block_ids=block_ids,
            class_weights=self.class_weights,
            backend=self.backend,
            inplace_backward=self.inplace_backward,
            validate=validate,
            **vars(self.options),
        )

    def extra_repr(self) -> str:
        """The options, as they stand in ``print(model)``."""
        chosen = ", ".join(f"{name}={value!r}" for name, value in vars(self.options).items())
        return f"{chosen}, backend={self.backend!r}"
