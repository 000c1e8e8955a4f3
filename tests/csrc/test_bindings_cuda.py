"""The CUDA operators without a GPU: their own source on emulated thread blocks, for CPU tensors."""

import pytest
import torch
from hypothesis import given
from samples import samples
from test_core import build_modules
from test_functional import assert_loss_equals_reference
from test_infinite import CLASSES, DTYPES, VALUES, check
from test_ops import loss_arguments


@pytest.fixture(scope="module")
def emulated():
    torch.ops.load_library(build_modules() / "liblsr_emulated_torch.so")
    return torch.ops.lsr_emulated


@given(sample=samples())
def test_emulated_operators_equal_reference(emulated, sample):
    """The random cases of the CPU's operators."""
    maps = sample.options["mask"], sample.options["block_ids"]
    arguments = loss_arguments(sample.logits, sample.labels, sample.mean, sample.std, sample.options)
    value, a, b = emulated.label_super_resolution(*arguments)
    scale = torch.ones((), dtype=value.dtype)
    gradient = emulated.pixel_gradient(sample.logits, *maps, a, b, scale, sample.options["activation"])

    sums = emulated.block_moments(sample.logits, *maps, sample.blocks, sample.options["activation"])
    assert_loss_equals_reference(sample, value, gradient, sums)


@pytest.mark.parametrize("by_id", [False, True])
def test_the_gradient_may_overwrite_the_logits(emulated, by_id):
    torch.manual_seed(0)
    for layout in (torch.contiguous_format, torch.channels_last):
        logits = torch.randn(2, 5, 12, 20).to(memory_format=layout)
        ids = torch.randint(-1, 2, (2, 12, 20), dtype=torch.int32) if by_id else None
        a, b = torch.rand(2, 2, 5, dtype=torch.float64)
        expected = emulated.pixel_gradient(logits, None, ids, a, b, None, "softmax")
        emulated.pixel_gradient_(logits, None, ids, a, b, None, "softmax")
        assert torch.equal(logits, expected)


def test_values_out_of_range_give_nan(emulated):
    """The host cannot look at them without waiting for the device: the result says it instead."""
    logits, labels, tables = torch.randn(2, 3, 4, 4), torch.tensor([0, 2]), torch.full((2, 2, 3), 0.3)
    loss, a, b = emulated.label_super_resolution(*loss_arguments(logits, labels, *tables, {}))
    assert loss.isnan() and a.isnan().all() and b.isnan().all()
    ids = torch.full((2, 4, 4), 5, dtype=torch.int32)
    arguments = loss_arguments(logits, torch.tensor([0, 1]), *tables, {"block_ids": ids})
    assert emulated.label_super_resolution(*arguments)[0].isnan()


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_logits(emulated, value, classes, dtype):
    check(emulated, value, classes, dtype, on_device=True)


def test_wrong_shapes_are_refused(emulated):
    logits, a = torch.randn(6, 3, 5, 7), torch.rand(6, 3, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"a must be a contiguous float64 \(6, 3\) table"):
        emulated.pixel_gradient(logits, None, None, a.float(), a, None, "softmax")
    with pytest.raises(RuntimeError, match="expected 6 blocks, got 5"):
        emulated.pixel_gradient(logits, None, None, a[:5], a[:5], None, "softmax")
    with pytest.raises(RuntimeError, match="grad must be a scalar"):
        emulated.pixel_gradient(logits, None, None, a, a, torch.ones(2), "softmax")
    with pytest.raises(RuntimeError, match="softmax needs at least 2 classes, got 1"):
        emulated.block_moments(logits[:, :1], None, None, 6, "softmax")
    with pytest.raises(RuntimeError, match=r"labels must have shape \(6,\) or \(6, 3\)"):
        tables = torch.rand(2, 2, 3)
        emulated.label_super_resolution(*loss_arguments(logits, torch.zeros(6, 2).long(), *tables, {}))


@pytest.mark.parametrize("blocks", [6, 90])
def test_a_block_that_is_no_number_spoils_its_group_alone(emulated, blocks):
    """By few blocks, each of which looks at all, and by many, whose sums are exact."""
    logits = torch.randn(blocks, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits[0] = torch.nan
    arguments = loss_arguments(logits, torch.arange(blocks) % 2, *torch.full((2, 2, 3), 0.3), {})
    found, expected = (library.label_super_resolution(*arguments)[1:] for library in (emulated, torch.ops.lsr))
    for coefficients, wanted in zip(found, expected, strict=True):
        assert coefficients[0::2].isnan().all() and coefficients[1::2].isfinite().all()
        torch.testing.assert_close(coefficients[1::2], wanted[1::2], rtol=1e-9, atol=1e-15)
