import pytest
import torch

from lsr_ext.networks import SegmentationUNet, build_network


def test_a_network_is_made_by_its_import_path():
    network = build_network("lsr_ext.networks.SegmentationUNet", {"num_classes": 3, "features": [8] * 6})
    assert isinstance(network, SegmentationUNet)
    assert network(torch.rand(1, 3, 20, 20)).shape == (1, 3, 20, 20)


@pytest.mark.parametrize("path", ["os.system", "builtins.print", "torch.nn.functional.relu", "lsr_ext", ""])
def test_nothing_but_a_network_is_called(path):
    with pytest.raises(ValueError, match=r"network: expected"):
        build_network(path, {})


def test_parameters_that_it_does_not_take_are_named():
    with pytest.raises(ValueError, match="SegmentationUNet does not take .*'depth': 3"):
        build_network("lsr_ext.networks.SegmentationUNet", {"num_classes": 2, "depth": 3})
