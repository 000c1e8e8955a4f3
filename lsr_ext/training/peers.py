"""Losses of other methods that learn pixels from block labels, in plain PyTorch, for `lsr experiment peers`.

They are called as `LabelSuperResolutionLoss` is, with labels (N,) or (N, L) and -1 for unknown. They take single
blocks, so groups are not used, and no `block_ids`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lsr_ext.distributions import CountDistribution
from lsr_ext.training.errors import NoTargetsError

ABSENT_FRACTION = 0.05  # a class with a smaller expected fraction is one that the label says is not there
_LEAST_PRIOR = 1e-4


class _PeerLoss(nn.Module):
    """What they share: the expected fractions of each label."""

    def __init__(self, distribution: CountDistribution) -> None:
        super().__init__()
        self.register_buffer("mean", distribution.mean.float(), persistent=False)

    def _targets(self, logits: Tensor, labels: Tensor, block_ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """The expected fractions of each block, (N, L), and where they are known."""
        if block_ids is not None:
            raise ValueError(f"{type(self).__name__} takes one block per image, got block_ids")
        if len(labels) != len(logits) or self.mean.shape[1] != logits.shape[1]:
            raise ValueError(
                f"expected labels of {len(logits)} blocks and logits of {self.mean.shape[1]} classes, got "
                f"{len(labels)} labels and {logits.shape[1]} classes"
            )
        labels = labels.long().reshape(len(labels), -1).expand(logits.shape[:2])
        return self.mean.gather(0, labels.clamp(min=0)), labels >= 0


class ImplicitPosteriorLoss(_PeerLoss):
    r"""The QR loss of implicit posterior models, the expected fractions of a block being the prior of its pixels.

    With q_i the predicted class probabilities of pixel i, p_i its prior and r_i the posterior of the generative
    model that q implies,

        r_il = p_il q_il / sum_j q_jl, normalised over classes,
        QR = sum_l qbar_l log qbar_l - mean_i sum_l q_il log p_il,

    the free energy, with qbar the mean of q over the batch. It is the mean of KL(q_i || r_i), but for r's
    normalisation. With one prior for all pixels of a block it sees a block through its sums alone.

    Here the prior is one for all pixels of a block. A class of unknown label has an equal share of what the known
    ones leave. Rolf, Malkin, Graikos, Jojic, Robinson, Jojic: Resolving label uncertainty with implicit posterior
    models, UAI 2022.

    Example:
        >>> loss = ImplicitPosteriorLoss(CountDistribution([[0.5, 0.5]], [[0.1, 0.1]]))
        >>> round(loss(torch.zeros(1, 2, 4, 4), torch.tensor([0])).item(), 6)
        0.0
    """

    def forward(
        self, logits: Tensor, labels: Tensor, group: Tensor | None = None, block_ids: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch; `group` is not used."""
        log_q, log_prior = self._logarithms(logits, labels, block_ids)
        return self._loss(log_q, log_prior) if len(log_q) else logits.sum() * 0

    def _logarithms(self, logits: Tensor, labels: Tensor, block_ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """log q (K, L, H, W) and log p (K, L, 1, 1) of the K blocks of which anything is known."""
        prior, known = self._targets(logits, labels, block_ids)
        rest = (1 - (prior * known).sum(1, keepdim=True)).clamp(min=0)
        prior = torch.where(known, prior, rest / (~known).sum(1, keepdim=True).clamp(min=1))
        prior = prior.clamp(min=_LEAST_PRIOR)
        prior = prior / prior.sum(1, keepdim=True)
        some = known.any(1)
        return logits[some].float().log_softmax(1), prior[some].log()[:, :, None, None]

    def _loss(self, log_q: Tensor, log_prior: Tensor) -> Tensor:
        q = log_q.exp()
        qbar = q.mean((0, 2, 3))
        return torch.special.xlogy(qbar, qbar).sum() - (q * log_prior).sum(1).mean()


class ReverseImplicitPosteriorLoss(ImplicitPosteriorLoss):
    """The same method's RQ loss, the mean over pixels of KL(r_i || q_i).

    Example:
        >>> loss = ReverseImplicitPosteriorLoss(CountDistribution([[0.5, 0.5]], [[0.1, 0.1]]))
        >>> round(loss(torch.zeros(1, 2, 4, 4), torch.tensor([0])).item(), 6)
        0.0
    """

    def _loss(self, log_q: Tensor, log_prior: Tensor) -> Tensor:
        log_qbar = log_q.transpose(0, 1).flatten(1).logsumexp(1)[None, :, None, None]
        log_r = (log_prior + log_q - log_qbar).log_softmax(1)
        return (log_r.exp() * (log_r - log_q)).sum(1).mean()


class MaximumLoss(_PeerLoss):
    """Multiple-instance learning by the maximum: a block holds a class if its surest pixel is of it.

    Cross-entropy between the largest probability of a class in a block and whether the block's label says that
    the class is there: expected fraction of at least 0.05. The mean over the blocks of known label and the classes
    that some labels say are there and others say are not.

    Raises:
        NoTargetsError: no class is there by some labels and absent by others.

    Example:
        >>> loss = MaximumLoss(CountDistribution([[1.0, 0.0], [0.5, 0.5]], [[0.1, 0.1], [0.1, 0.1]]))
        >>> round(loss(torch.zeros(1, 2, 4, 4), torch.tensor([1])).item(), 4)
        0.6931
    """

    def __init__(self, distribution: CountDistribution) -> None:
        super().__init__(distribution)
        there = self.mean >= ABSENT_FRACTION
        self.register_buffer("learned", there.any(0) & ~there.all(0), persistent=False)
        if not bool(self.learned.any()):
            low, high = (
                ", ".join(f"{value:.3f}" for value in side) for side in (self.mean.amin(0), self.mean.amax(0))
            )
            raise NoTargetsError(
                "form 'maximum' needs a class that some labels say is absent (expected fraction below "
                f"{ABSENT_FRACTION}) and others say is there, got expected fractions from {low} to {high}"
            )

    def forward(
        self, logits: Tensor, labels: Tensor, group: Tensor | None = None, block_ids: Tensor | None = None
    ) -> Tensor:
        """The loss of a batch; `group` is not used."""
        expected, known = self._targets(logits, labels, block_ids)
        log_p = logits.float().log_softmax(1)
        # log p - log(1 - p), whose sigmoid is p; finite where p rounds to 1.
        largest = (log_p - _log_others(log_p)).flatten(2).amax(2)
        is_there = (expected >= ABSENT_FRACTION).float()
        loss = binary_cross_entropy_with_logits(largest, is_there, reduction="none")
        counted = (known & self.learned).float()
        return (loss * counted).sum() / counted.sum().clamp(min=1)


def _log_others(log_p: Tensor) -> Tensor:
    """log(1 - p_l) of each class: the logarithm of the sum of the others' probabilities."""
    classes = log_p.shape[1]
    others = [log_p[:, [m for m in range(classes) if m != index]].logsumexp(1) for index in range(classes)]
    return torch.stack(others, 1)


PEERS = {
    "implicit_posterior": ImplicitPosteriorLoss,
    "implicit_posterior_rq": ReverseImplicitPosteriorLoss,
    "maximum": MaximumLoss,
}
