import pytest
import torch
from torch import nn

from lsr_ext import CountDistribution, LabelSuperResolutionLoss
from lsr_ext.config import JointTerms, PixelTerm, Term
from lsr_ext.training import SegmentationModule
from lsr_ext.training.objective import PixelLoss

DISTRIBUTION = CountDistribution([[0.9, 0.1], [0.4, 0.6]], [[0.1, 0.1], [0.1, 0.1]])


def by_hand(logits, mask, weights):
    """The weighted mean of -log p over labelled pixels, pixel by pixel."""
    total = norm = 0.0
    for n, row, column in (mask >= 0).nonzero().tolist():
        target = int(mask[n, row, column])
        total -= weights[target] * logits[n, :, row, column].log_softmax(0)[target].item()
        norm += weights[target]
    return total / norm


def test_pixel_loss_is_the_weighted_mean_over_labelled_pixels():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    mask = torch.randint(-1, 3, (2, 4, 5), generator=generator)
    assert PixelLoss()(logits, mask).item() == pytest.approx(by_hand(logits, mask, [1, 1, 1]), rel=1e-5)
    weights = [0.5, 2.0, 100.0]
    assert PixelLoss(weights)(logits, mask).item() == pytest.approx(by_hand(logits, mask, weights), rel=1e-5)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 100.0]])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_pixel_loss_is_computed_in_full_precision(weights, dtype):
    """As the precision bf16-true gives it logits."""
    logits, mask = torch.randn(2, 3, 4, 5).to(dtype), torch.randint(-1, 3, (2, 4, 5))
    loss = PixelLoss(weights)(logits, mask)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert loss.item() == pytest.approx(by_hand(logits.double(), mask, weights or [1, 1, 1]), rel=1e-5)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 100.0]])
def test_pixel_loss_reads_no_value(weights):
    """So that no step waits for a GPU: tensors on "meta" have no values."""
    logits, mask = torch.empty(2, 3, 4, 5), torch.empty(2, 4, 5, dtype=torch.int64)
    assert PixelLoss(weights).to("meta")(logits.to("meta"), mask.to("meta")).shape == ()


def test_pixel_loss_of_a_batch_without_labels_is_zero_and_has_a_gradient():
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = PixelLoss()(logits, torch.full((1, 4, 4), -1))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize(
    ("term", "weights"),
    [
        (Term(weight=0.5), [0.5] * 6),
        (Term(start_step=2), [0, 0, 1, 1, 1, 1]),
        (Term(warmup_steps=3), [0.25, 0.5, 0.75, 1, 1, 1]),
        (Term(final_weight=0.0), [1, 0.8, 0.6, 0.4, 0.2, 0]),
        (JointTerms().pixel, [1, 0.8, 0.6, 0.4, 0.2, 0]),
        (JointTerms().super_resolution, [1] * 6),
        (Term(weight=0.3, start_step=1, warmup_steps=2, final_weight=0.1), [0, 0.1, 0.2, 0.3, 0.2, 0.1]),
    ],
)
def test_a_term_starts_rises_and_moves_on(term, weights):
    assert [term.at(step, 6) for step in range(6)] == pytest.approx(weights)


class _Trainer:
    estimated_stepping_batches = 10


def test_the_joint_loss_is_the_weighted_sum(monkeypatch):
    loss, pixel = LabelSuperResolutionLoss(DISTRIBUTION), PixelLoss()
    terms = JointTerms(pixel=PixelTerm(weight=0.25), super_resolution=Term(weight=2.0))
    network = nn.Conv2d(3, 2, 1)
    module = SegmentationModule(network, DISTRIBUTION, loss, torch.optim.SGD, pixel_loss=pixel, joint=terms)
    monkeypatch.setattr(SegmentationModule, "trainer", _Trainer())
    monkeypatch.setattr(module, "log_dict", lambda values: None)
    batch = {"label": torch.tensor([0, 1]), "mask": torch.randint(-1, 2, (2, 4, 4))}
    logits = torch.randn(2, 2, 4, 4)
    expected = 0.25 * pixel(logits, batch["mask"]) + 2 * loss(logits, batch["label"])
    torch.testing.assert_close(module._loss(logits, batch), expected)


def test_a_module_needs_a_loss():
    with pytest.raises(ValueError, match="expected a loss, a pixel_loss or both, got neither"):
        SegmentationModule(nn.Conv2d(3, 2, 1), DISTRIBUTION, None, torch.optim.SGD)
