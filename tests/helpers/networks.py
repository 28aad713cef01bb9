"""Functions shared by tests of networks."""

import torch
from torch import nn

from avsv.nnet.audio.mobilenetv2 import MobileNetV2Audio


def count_parameters(*modules: nn.Module, trainable_only: bool = False) -> int:
    """The total number of parameters of modules."""
    parameters = (p for module in modules for p in module.parameters())
    return sum(p.numel() for p in parameters if p.requires_grad or not trainable_only)


def settle(module: nn.Module) -> nn.Module:
    """Set non-neutral statistics and weights in batch normalization, then switch to evaluation mode."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.running_mean.normal_(0, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
            layer.bias.data.normal_(0, 0.5)
            layer.weight.data.uniform_(0.5, 1.5)
    return module.eval()


def tiny_mobilenet(**options) -> MobileNetV2Audio:
    """A small network for log-mel frames with non-neutral statistics."""
    net = MobileNetV2Audio(
        feature_dim=32, stem_channels=8, block_channels=(4, 6, 8), expansions=(1, 2, 2), repeats=(1, 2, 2),
        strides=(1, 2, 2), embedding_dim=12, **options,
    )  # fmt: skip
    net.mel_mean.normal_()
    net.mel_std.uniform_(0.5, 2.0)
    return net
