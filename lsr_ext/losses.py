"""The losses as modules: state around :mod:`lsr_ext.functional`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lsr_ext.checks import BlockTensors, check_distribution, check_have_labels, check_reduction, check_weights
from lsr_ext.distributions import CountDistribution
from lsr_ext.functional import BACKENDS, loss_by_options
from lsr_ext.options import FORMS_OVER_STD, FORMS_WITHOUT_STD, LossOptions
from lsr_ext.reference import table_dtype


class _BlockLoss(nn.Module):
    """What the losses have in common: options, weights of the classes, tables that stay in double precision."""

    _tables: tuple[str, ...] = ("class_weights",)

    def __init__(
        self,
        options: LossOptions,
        class_weights: Sequence[float] | Tensor | None,
        classes: int | None,
        backend: str,
        inplace_backward: bool,
        reduction: str,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        if backend not in BACKENDS:
            raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
        self.options = options
        self.backend = backend
        self.inplace_backward = inplace_backward
        self.reduction = reduction
        weights = None if class_weights is None else _constant("class_weights", class_weights)
        if weights is not None:
            if weights.ndim != 1 or (classes is not None and len(weights) != classes):
                raise ValueError(f"class_weights must be {classes or 'L'} numbers >= 0, got {class_weights}")
            check_weights(weights, "class_weights")
        self.register_buffer("class_weights", weights, persistent=False)

    def _loss(
        self,
        logits: Tensor,
        labels: Tensor | None,
        mean: Tensor,
        std: Tensor,
        beside: BlockTensors,
        validate: bool,
    ) -> Tensor:
        choices = self.reduction, self.backend, self.inplace_backward
        return loss_by_options(logits, labels, mean, std, self.options, beside, *choices, validate)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _BlockLoss:
        """Move the tables to where `fn` moves a tensor, without the cast that it may also do."""

        def move(table: Tensor) -> Tensor:
            moved = fn(table.new_empty(0, dtype=torch.float32))
            return table.to(moved.device, table_dtype(moved))

        return super()._apply(move, recurse)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: object) -> None:
        """Load no tables, although a checkpoint may hold some: they are those of another run's targets."""
        for name in self._tables:
            state_dict.pop(prefix + name, None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """The options, as they stand in ``print(model)``."""
        chosen = ", ".join(f"{name}={value!r}" for name, value in self.options.chosen().items())
        return f"{chosen}, backend={self.backend!r}"


def _constant(name: str, values: float | Sequence[float] | Tensor) -> Tensor:
    """A copy in double precision. A module would not see what an optimizer makes of the original."""
    if isinstance(values, Tensor) and values.requires_grad:
        raise ValueError(
            f"{name} requires grad, and a loss module keeps a copy: give what is learnt to lsr_ext.functional"
        )
    return torch.as_tensor(values, dtype=torch.float64).clone()


def _check_positive(form: str, is_positive: bool, std: object) -> None:
    if form in FORMS_OVER_STD and not is_positive:
        raise ValueError(f"form {form!r} needs std > 0, got {std}")


class LabelSuperResolutionLoss(_BlockLoss):
    """The intra-, inter- or intra+inter-instance loss for one :class:`CountDistribution`.

    The arguments are those of :func:`lsr_ext.functional.label_super_resolution_loss`, which states the
    equations. The default form, "marginal", is bounded and trains; "paper" is the paper's Eq. 9, and with
    ``floor=0.0`` exactly so, but it then rewards vanishing variance without limit and collapses.

    The distribution's tables and the weights stay in float64 whatever type the module is cast to, and move to a
    device with it. They are no part of the state dict: a checkpoint does not replace the targets asked for.

    Shape:
        logits (N, L, H, W), labels (N,) or (N, L), group likewise, mask (N, H, W), block_weights (N,); the result
        is a scalar, or (N,) with ``reduction="none"``.

    Raises:
        ValueError: on an unknown option, on weights that do not fit the classes, for a distribution that the form
            does not allow (std = 0 under "kl" and "reverse_kl"), and for tables that require grad.
    """

    _tables = ("mean", "std", "class_weights")

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
        reduction: str = "mean",
    ) -> None:
        options = LossOptions(mode, form, variance, alpha, floor, sharpness, activation)
        classes = distribution.mean.shape[1]
        super().__init__(options, class_weights, classes, backend, inplace_backward, reduction)
        check_distribution(distribution.mean, distribution.std, form)
        for name in ("mean", "std"):
            self.register_buffer(name, _constant(name, getattr(distribution, name)), persistent=False)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        group: Tensor | None = None,
        mask: Tensor | None = None,
        block_ids: Tensor | None = None,
        validate: bool = False,
        block_weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch."""
        check_have_labels(labels)
        beside = BlockTensors(group, mask, block_ids, self.class_weights, block_weights)
        return self._loss(logits, labels, self.mean, self.std, beside, validate)


class FractionLoss(_BlockLoss):
    """The same for blocks whose fractions are known as numbers: "37 %, give or take 5".

    The arguments are those of :func:`lsr_ext.functional.fraction_loss`, which states the equations.

    Args:
        std: standard deviation of the fractions where a batch brings none: one number, or one a class. All forms
            need one but "proportion" and "squared", which ignore it.

    Shape:
        logits (N, L, H, W), fractions (N, L) with NaN = unknown, std a number, (N,), (N, L) or (1, L), group (N,)
        or (N, L), mask (N, H, W), block_weights (N,); the result is a scalar, or (N,) with ``reduction="none"``.

    Raises:
        ValueError: on an unknown option, where a form needs a std and none is given, and on one out of range.

    Example:
        >>> loss = FractionLoss(form="size", std=0.05)
        >>> logits = torch.zeros(1, 2, 8, 8, requires_grad=True)  # half of the block is of class 1
        >>> round(loss(logits, torch.tensor([[0.48, 0.52]])).item(), 6)  # within a standard deviation
        0.0
        >>> round(loss(logits, torch.tensor([[0.7, 0.3]]), std=0.1).item(), 6)
        0.01
    """

    _tables = ("std", "class_weights")

    def __init__(
        self,
        mode: str = "intra",
        form: str = "marginal",
        variance: str | float = "independent",
        alpha: float = 1.0,
        floor: float | None = None,
        sharpness: float = 0.0,
        activation: str = "softmax",
        std: float | Sequence[float] | Tensor | None = None,
        class_weights: Sequence[float] | Tensor | None = None,
        backend: str = "auto",
        inplace_backward: bool = False,
        reduction: str = "mean",
    ) -> None:
        options = LossOptions(mode, form, variance, alpha, floor, sharpness, activation)
        super().__init__(options, class_weights, None, backend, inplace_backward, reduction)
        if std is not None:
            std = _constant("std", std)
            if std.ndim > 1 or not bool(((std >= 0) & (std <= 1)).all()):
                raise ValueError(f"std must be a number in [0, 1] or one a class, got {std.tolist()}")
            _check_positive(options.form, bool((std > 0).all()), std.tolist())
        self.register_buffer("std", std, persistent=False)

    def forward(
        self,
        logits: Tensor,
        fractions: Tensor,
        std: float | Tensor | None = None,
        group: Tensor | None = None,
        mask: Tensor | None = None,
        block_ids: Tensor | None = None,
        validate: bool = False,
        block_weights: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch."""
        beside = BlockTensors(group, mask, block_ids, self.class_weights, block_weights)
        return self._loss(logits, None, fractions, self._std_of(fractions, std), beside, validate)

    def _std_of(self, fractions: Tensor, given: float | Tensor | None) -> Tensor:
        """The standard deviation of each fraction; 0 for a form that does not look at it."""
        if not isinstance(fractions, Tensor):
            raise TypeError(f"fractions must be a tensor, got {type(fractions).__name__}")
        if self.options.form in FORMS_WITHOUT_STD:
            return torch.zeros_like(fractions)
        std = self.std if given is None else given
        if std is None:
            raise ValueError(f"form {self.options.form!r} needs a std of the fractions: give the loss one")
        if isinstance(std, (int, float)):
            if not 0 <= std <= 1:
                raise ValueError(f"std must be a number in [0, 1], got {std}")
            _check_positive(self.options.form, std > 0, std)
        table = torch.as_tensor(std, dtype=table_dtype(fractions), device=fractions.device)
        if given is not None and table.ndim == 1:
            table = table[:, None]
        try:
            return table.expand(fractions.shape)
        except RuntimeError:
            shape = tuple(fractions.shape)
            raise ValueError(
                f"std must be a number, one a block, one a class as (1, L) or one a fraction of {shape}, got "
                f"{tuple(table.shape)}"
            ) from None
