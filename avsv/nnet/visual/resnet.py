"""ResNet, with or without squeeze-and-excitation, for video clips of faces."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import SqueezeExcitation

from avsv.nnet.pooling import PoolingName, build_pooling
from avsv.nnet.visual.frames import FrameBackbone

BLOCKS = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class StridedPointwise(nn.Conv2d):
    """A 1x1 convolution without bias whose stride is implemented by slicing.

    On a CPU, torch 2.11 crashes in the backward pass of a strided 1x1 convolution with fewer than 16 channels that are
    stored last.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        step: the stride.

    Shape:
        - images: (N, in_channels, H, W)
        - output: (N, out_channels, ceil(H / step), ceil(W / step))

    Example:
        >>> StridedPointwise(8, 16, step=2)(torch.zeros(1, 8, 7, 7)).shape
        torch.Size([1, 16, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, step: int) -> None:
        super().__init__(in_channels, out_channels, 1, bias=False)
        self.step = step

    def forward(self, images: Tensor) -> Tensor:
        return functional.conv2d(images[:, :, :: self.step, :: self.step], self.weight)


class ResNet(FrameBackbone):
    """ResNet face embeddings of a clip: the network processes every frame, followed by pooling over time.

    Source: He et al. 2016, arXiv:1512.03385, as in torchvision: version 1.5, where the 3x3 convolution of a bottleneck
    has the stride. Squeeze-and-excitation: Hu et al. 2018, arXiv:1709.01507, on the last BN output before the sum. This
    is the visual network of Qian et al. 2021 (34 layers, 512-d), of Chen et al. 2020 (50 layers with
    squeeze-and-excitation) and of Claborne et al. 2023, appendix B (50 layers, no embedding layer: 2048-d).

    An embedding layer is applied to the pooled frames; with pooling tap this equals the mean of the frame embeddings.

    Published weights: torchvision's resnet18, 34 and 50, timm's seresnet50; scaling ``imagenet``.

    Args:
        depth: 18, 34 or 50 layers.
        se: use squeeze-and-excitation with a reduction of 16 in every block.
        image_channels: channels of a frame: RGB.
        image_height: rows of a frame.
        image_width: columns of a frame.
        scaling: half (frames in [-1, 1]), voxceleb or imagenet (mean and deviation of the colors of that data set).
        channels: channels of the first stage; the others have 2, 4 and 8 times as many, with depth 50 again 4 times.
        embedding_dim: size D of the embedding; None: the pooled frame features are the embedding.
        pooling: a name of :data:`avsv.nnet.pooling.POOLINGS`, over time.
        attention_channels: width of the hidden layer of the attention (asp, we_asp, we_asp_literal).
        context: the attention also receives the mean and standard deviation of the clip (asp, we_asp, we_asp_literal).

    Shape:
        - inputs: (B, T, 3, H, W) in [-0.5, 0.5]
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: inputs have another shape, or a clip has no valid frame.

    Example:
        >>> net = ResNet(depth=50, channels=8, image_height=32, image_width=32)
        >>> net.frames(torch.zeros(2, 5, 3, 32, 32))[0].shape, net(torch.zeros(2, 5, 3, 32, 32)).shape
        (torch.Size([2, 256, 5]), torch.Size([2, 256]))
    """

    unneeded = ("fc.",)

    def __init__(
        self,
        *,
        depth: Literal[18, 34, 50] = 50,
        se: bool = False,
        image_channels: Literal[3] = 3,
        image_height: int = 112,
        image_width: int = 112,
        scaling: Literal["half", "voxceleb", "imagenet"] = "half",
        channels: int = 64,
        embedding_dim: int | None = None,
        pooling: PoolingName = "tap",
        attention_channels: int = 128,
        context: bool = True,
    ) -> None:
        super().__init__((image_channels, image_height, image_width), scaling)
        # The names of torchvision.
        self.trunk = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False),
                bn1=nn.BatchNorm2d(channels),
                relu=nn.ReLU(inplace=True),
                maxpool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        block, stages = BLOCKS[depth]
        before = channels
        for stage, blocks in enumerate(stages):
            layers = nn.Sequential()
            for index in range(blocks):
                stride = 2 if index == 0 and stage > 0 else 1
                layers.append(_block(block, before, 2**stage * channels, stride, se))
                before = 2**stage * channels * block.expansion
            self.trunk.add_module(f"layer{stage + 1}", layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.pool = build_pooling(pooling, before, attention_channels, context)
        self.embedding_dim = self.pool.output_dim
        self.embed = nn.Identity()
        if embedding_dim is not None:
            self.embed = nn.Linear(self.embedding_dim, embedding_dim)
            self.embedding_dim = embedding_dim
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # With channels stored last, the convolutions of a training step take half the time on a CPU.
        self.trunk.to(memory_format=torch.channels_last)

    def published_name(self, name: str) -> str:
        """The name in torchvision or, for squeeze-and-excitation, timm; see ``FrameBackbone.convert_published``."""
        name = name.removeprefix("trunk.")
        # _block puts the squeeze-and-excitation after the last BN of a block.
        for last in ("bn2", "bn3"):
            name = name.replace(f"{last}.0.", f"{last}.").replace(f"{last}.1.", "se.")
        return name


def _block(kind: type[BasicBlock | Bottleneck], in_channels: int, channels: int, stride: int, se: bool) -> nn.Module:
    out_channels = channels * kind.expansion
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(StridedPointwise(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))
    block = kind(in_channels, channels, stride, shortcut)
    if se:
        last = "bn3" if kind is Bottleneck else "bn2"
        excitation = SqueezeExcitation(out_channels, max(1, out_channels // 16))
        setattr(block, last, nn.Sequential(getattr(block, last), excitation))
    return block
