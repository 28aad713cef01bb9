"""Inception-ResNet-V1, the face network of the open implementations of FaceNet, for video clips of faces."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.normalization import UnitLength
from avsv.nnet.pooling import PoolingName, build_pooling
from avsv.nnet.visual.frames import FrameBackbone

# Smaller images become empty in the convolutions without padding.
SMALLEST_SIDE = 75


class InceptionBlock(nn.Module):
    """Parallel branches with concatenated outputs.

    Source: Szegedy et al. 2017, arXiv:1602.07261, figures 7 and 12.

    Args:
        branches: networks from the input to maps of equal height and width.

    Shape:
        - images: (N, C, H, W)
        - output: (N, total channels of all branches, H', W')

    Example:
        >>> InceptionBlock([nn.Identity(), nn.Conv2d(4, 2, 1)])(torch.zeros(1, 4, 5, 5)).shape
        torch.Size([1, 6, 5, 5])
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([branch(images) for branch in self.branches], dim=1)


class InceptionResidualBlock(InceptionBlock):
    """Parallel branches, projected to the channels of the input, scaled and added to it.

    Source: Szegedy et al. 2017, arXiv:1602.07261, figures 10, 11 and 13, scaling as in section 3.3.

    Args:
        branches: networks from the input to maps of its height and width.
        branch_channels: total channels of all branches.
        channels: input channels.
        scale: factor of the branches in the sum.
        relu: apply ReLU after the sum.

    Shape:
        - images: (N, channels, H, W)
        - output: (N, channels, H, W)

    Example:
        >>> block = InceptionResidualBlock([nn.Identity(), nn.Conv2d(4, 2, 1)], 6, 4, scale=0.1)
        >>> block(torch.zeros(1, 4, 5, 5)).shape
        torch.Size([1, 4, 5, 5])
    """

    def __init__(
        self, branches: Sequence[nn.Module], branch_channels: int, channels: int, scale: float, relu: bool = True
    ) -> None:
        super().__init__(branches)
        self.conv2d = nn.Conv2d(branch_channels, channels, 1)
        self.scale = scale
        self.relu = relu

    def forward(self, images: Tensor) -> Tensor:
        total = self.scale * self.conv2d(super().forward(images)) + images
        return functional.relu(total) if self.relu else total


class InceptionResNetV1(FrameBackbone):
    """Inception-ResNet-V1 face embeddings of a clip: frame vectors of length 1 are pooled and scaled to length 1.

    Source: Szegedy et al. 2017, arXiv:1602.07261, as in facenet-pytorch; the visual network of REPTAR,
    arXiv:2309.07115. Frames are scaled to (x - 127.5) / 128 as in facenet-pytorch.

    Published weights: facenet-pytorch (VGGFace2 and CASIA-WebFace; 3 x 160 x 160).

    Args:
        image_channels: channels of a frame: RGB.
        image_height: rows of a frame, at least 75.
        image_width: columns of a frame, at least 75.
        channels: channels of the first convolution, an even number; all other widths are proportional to it.
        dropout: share of the averaged maps that is set to zero in training.
        frame_dim: size of the embedding of a frame.
        embedding_dim: size D of the embedding; None: the pooled frames, scaled to length 1.
        pooling: a name of :data:`avsv.nnet.pooling.POOLINGS`, over time.
        attention_channels: width of the hidden layer of the attention (asp, we_asp, we_asp_literal).
        context: the attention also receives the mean and standard deviation of the clip (asp, we_asp, we_asp_literal).

    Shape:
        - inputs: (B, T, 3, H, W) in [-0.5, 0.5]
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D), rows of length 1

    Raises:
        ValueError: a size is out of range, inputs have another shape, or a clip has no valid frame.

    Example:
        >>> net = InceptionResNetV1(channels=4, image_height=80, image_width=80, frame_dim=32)
        >>> net.frames(torch.zeros(2, 5, 3, 80, 80))[0].shape, net(torch.zeros(2, 5, 3, 80, 80)).shape
        (torch.Size([2, 32, 5]), torch.Size([2, 32]))
    """

    unneeded = ("logits.",)

    def __init__(
        self,
        *,
        image_channels: Literal[3] = 3,
        image_height: int = 160,
        image_width: int = 160,
        channels: int = 32,
        dropout: float = 0.6,
        frame_dim: int = 512,
        embedding_dim: int | None = None,
        pooling: PoolingName = "tap",
        attention_channels: int = 128,
        context: bool = True,
    ) -> None:
        for name, side in (("image_height", image_height), ("image_width", image_width)):
            if side < SMALLEST_SIDE:
                raise ValueError(f"{name}: {side}: Inception-ResNet-V1 needs at least {SMALLEST_SIDE}")
        if channels % 2 or channels < 2:
            raise ValueError(f"channels: {channels}: must be even and positive")
        super().__init__((image_channels, image_height, image_width), "facenet")
        c = channels
        # The names of facenet-pytorch.
        self.trunk = nn.Sequential(
            OrderedDict(
                conv2d_1a=_conv(3, c, 3, stride=2),
                conv2d_2a=_conv(c, c, 3),
                conv2d_2b=_conv(c, 2 * c, 3, padding=1),
                maxpool_3a=nn.MaxPool2d(3, stride=2),
                conv2d_3b=_conv(2 * c, 5 * c // 2, 1),
                conv2d_4a=_conv(5 * c // 2, 6 * c, 3),
                conv2d_4b=_conv(6 * c, 8 * c, 3, stride=2),
                repeat_1=nn.Sequential(*(_block35(c) for _ in range(5))),
                mixed_6a=_mixed_6a(c),
                repeat_2=nn.Sequential(*(_block17(c) for _ in range(10))),
                mixed_7a=_mixed_7a(c),
                repeat_3=nn.Sequential(*(_block8(c, scale=0.2) for _ in range(5))),
                block8=_block8(c, scale=1.0, relu=False),
            )
        )
        self.head = nn.Sequential(
            OrderedDict(
                avgpool_1a=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                dropout=nn.Dropout(dropout),
                last_linear=nn.Linear(56 * c, frame_dim, bias=False),
                last_bn=nn.BatchNorm1d(frame_dim, eps=1e-3),
                unit=UnitLength(),
            )
        )
        self.pool = build_pooling(pooling, frame_dim, attention_channels, context)
        self.embedding_dim = self.pool.output_dim
        self.embed = UnitLength()
        if embedding_dim is not None:
            self.embed = nn.Sequential(nn.Linear(self.embedding_dim, embedding_dim), UnitLength())
            self.embedding_dim = embedding_dim
        # With channels stored last, the convolutions of a training step take half the time on a CPU.
        self.trunk.to(memory_format=torch.channels_last)

    def published_name(self, name: str) -> str:
        """The name in facenet-pytorch; see ``FrameBackbone.convert_published``."""
        name = re.sub(r"branches\.(\d)\.", r"branch\1.", name.removeprefix("trunk.").removeprefix("head."))
        # There, a first branch of a single convolution is not a sequence.
        return name if name.startswith("mixed_7a.") else name.replace("branch0.0.", "branch0.")


def _conv(
    in_channels: int,
    out_channels: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: int | tuple[int, ...] = 0,
) -> nn.Module:
    """Convolution, BN, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(out_channels, eps=1e-3), relu=nn.ReLU(inplace=True)))


def _branch(in_channels: int, *layers: tuple[int, int | tuple[int, int], int]) -> nn.Sequential:
    """Convolutions with (channels, kernel, stride): padded to preserve the size if the stride is 1, else unpadded."""
    branch = nn.Sequential()
    for out_channels, kernel, stride in layers:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = tuple(side // 2 for side in sides) if stride == 1 else 0
        branch.append(_conv(in_channels, out_channels, kernel, stride, padding))
        in_channels = out_channels
    return branch


def _block35(c: int) -> InceptionResidualBlock:
    branches = [
        _branch(8 * c, (c, 1, 1)),
        _branch(8 * c, (c, 1, 1), (c, 3, 1)),
        _branch(8 * c, (c, 1, 1), (c, 3, 1), (c, 3, 1)),
    ]
    return InceptionResidualBlock(branches, 3 * c, 8 * c, scale=0.17)


def _block17(c: int) -> InceptionResidualBlock:
    branches = [
        _branch(28 * c, (4 * c, 1, 1)),
        _branch(28 * c, (4 * c, 1, 1), (4 * c, (1, 7), 1), (4 * c, (7, 1), 1)),
    ]
    return InceptionResidualBlock(branches, 8 * c, 28 * c, scale=0.1)


def _block8(c: int, scale: float, relu: bool = True) -> InceptionResidualBlock:
    branches = [
        _branch(56 * c, (6 * c, 1, 1)),
        _branch(56 * c, (6 * c, 1, 1), (6 * c, (1, 3), 1), (6 * c, (3, 1), 1)),
    ]
    return InceptionResidualBlock(branches, 12 * c, 56 * c, scale, relu)


def _mixed_6a(c: int) -> InceptionBlock:
    return InceptionBlock(
        [
            _branch(8 * c, (12 * c, 3, 2)),
            _branch(8 * c, (6 * c, 1, 1), (6 * c, 3, 1), (8 * c, 3, 2)),
            nn.MaxPool2d(3, stride=2),
        ]
    )


def _mixed_7a(c: int) -> InceptionBlock:
    return InceptionBlock(
        [
            _branch(28 * c, (8 * c, 1, 1), (12 * c, 3, 2)),
            _branch(28 * c, (8 * c, 1, 1), (8 * c, 3, 2)),
            _branch(28 * c, (8 * c, 1, 1), (8 * c, 3, 1), (8 * c, 3, 2)),
            nn.MaxPool2d(3, stride=2),
        ]
    )
