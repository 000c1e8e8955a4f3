import pytest
import torch

from lsr_ext.training import SegmentationUNet


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (37, 51), (64, 33)])
def test_logits_have_the_size_of_the_image(size):
    network = SegmentationUNet(3, features=[8] * 6, norm_groups=4)
    assert network(torch.rand(2, 3, *size)).shape == (2, 3, *size)


def test_blocks_of_a_batch_do_not_see_each_other():
    network = SegmentationUNet(2, features=[8] * 6, norm_groups=4).train()
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))
