import pytest
import torch

from lsr_ext.training.denormals import denormals_are_flushed, flushed_denormals

pytestmark = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush denormal numbers"
)


def smallest_product():
    """2^-127, below the normal numbers of float32, as torch computes it."""
    return (torch.tensor(2.0**-100) * torch.tensor(2.0**-27)).item()


def test_they_are_zero_inside_and_themselves_outside():
    with flushed_denormals():
        assert smallest_product() == 0
        assert denormals_are_flushed()
    assert smallest_product() == 2.0**-127
    assert not denormals_are_flushed()


def test_what_was_set_before_is_set_again():
    torch.set_flush_denormal(True)
    try:
        with flushed_denormals():
            pass
        assert smallest_product() == 0
    finally:
        torch.set_flush_denormal(False)


def test_an_error_ends_it():
    with pytest.raises(RuntimeError, match="cut"), flushed_denormals():
        raise RuntimeError("cut")
    assert smallest_product() == 2.0**-127
