"""The network that a configuration names."""

from __future__ import annotations

from torch import nn

from lsr_ext.config import NetworkConfig
from lsr_ext.inference.model_file import AdapterDescription, NetworkDescription
from lsr_ext.networks import Adaptation, AdaptedNetwork, build_network
from lsr_ext.networks.adapted import check_output
from lsr_ext.networks.weights import freeze, load_weights
from lsr_ext.sources import TrainingBlocks


def describe_network(network: NetworkConfig, blocks: TrainingBlocks) -> NetworkDescription:
    """The network's class, its parameters for these blocks, and how it is adapted."""
    if network.class_path is None:
        sizes = {"num_classes": len(blocks.classes), "in_channels": blocks.channels}
        shape = {"features": network.features, "norm_groups": network.norm_groups}
        return NetworkDescription(path="lsr_ext.networks.SegmentationUNet", params=sizes | shape)
    adapter = AdapterDescription(norm=network.norm, multiple_px=network.multiple_px)
    return NetworkDescription(path=network.class_path, params=network.params, adapter=adapter)


def make_network(network: NetworkConfig, blocks: TrainingBlocks, block_size_px: int) -> nn.Module:
    """The network with its first weights, its frozen parts marked.

    Raises:
        FileNotFoundError, ValueError: a network that cannot be made, that does not give a map of these classes for
            a block, or faulty weights or parts.
    """
    about = describe_network(network, blocks)
    made = build_network(about.path, about.params)
    if network.weights is not None:
        load_weights(made, network.weights.file, network.weights.part)
    if about.adapter is not None:
        made = AdaptedNetwork(made, Adaptation(len(blocks.classes), **about.adapter.model_dump()))
        check_output(made, blocks.channels, block_size_px)
    freeze(made, network.frozen)
    return made


def trusted_packages(network: NetworkConfig) -> list[str]:
    """The module of the class that the configuration names: who wrote it trusts it."""
    return [] if network.class_path is None else [network.class_path.rpartition(".")[0]]
