"""IResNet, the improved residual network of ArcFace, for video clips of faces."""

from typing import Literal

import torch
from torch import Tensor, nn

from avsv.nnet.pooling import PoolingName, build_pooling
from avsv.nnet.visual.frames import FrameBackbone

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3)}

# The published names of the layers of a block, in order.
RESIDUAL_NAMES = ("bn1", "conv1", "bn2", "prelu", "conv2", "bn3")


class IRBlock(nn.Module):
    """Improved residual block: BN, conv, BN, PReLU, conv with stride, BN, plus the input; no activation after the sum.

    Source: Deng et al. 2019 (ArcFace), arXiv:1801.07698, section 3.1, as in insightface's iresnet.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        stride: stride of the second convolution and, with a 1x1 convolution, of the shortcut.

    Shape:
        - images: (N, in_channels, H, W)
        - output: (N, out_channels, ceil(H / stride), ceil(W / stride))

    Example:
        >>> IRBlock(64, 128, stride=2)(torch.zeros(2, 64, 16, 16)).shape
        torch.Size([2, 128, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.stride = stride
        self.shortcut = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, images: Tensor) -> Tensor:
        # The stride of the shortcut is implemented by slicing: on a CPU, torch 2.11 crashes in the backward pass of a
        # strided 1x1 convolution with fewer than 16 channels that are stored last.
        return self.residual(images) + self.shortcut(images[:, :, :: self.stride, :: self.stride])


class IResNet(FrameBackbone):
    """IResNet face embeddings of a clip: the network processes every frame, followed by pooling over time.

    Source: Deng et al. 2019 (ArcFace), arXiv:1801.07698, as in insightface's iresnet; one-channel input and attentive
    pooling over time as in Sun et al. 2022, section 3.

    Published weights: insightface's arcface_torch (iresnet18, 34 and 50; 3 x 112 x 112, scaling ``half``).

    Args:
        depth: 18, 34 or 50 layers.
        image_channels: channels of a frame: 1 for gray, 3 for RGB.
        image_height: rows of a frame.
        image_width: columns of a frame.
        scaling: none (frames in [-0.5, 0.5]) or half (frames in [-1, 1], as insightface's weights expect them).
        channels: channels of the first stage; the others have 2, 4 and 8 times as many.
        head: arcface (BN, flatten, Linear to ``frame_dim``, BN with weight 1) or gap (BN, average over the image).
        frame_dim: size of the feature of a frame with the head arcface; with gap it is 8 * ``channels``.
        embedding_dim: size D of the embedding; None: the pooled frame features are the embedding.
        pooling: a name of :data:`avsv.nnet.pooling.POOLINGS`, over time.
        attention_channels: width of the hidden layer of the attention (asp).
        context: the attention also receives the mean and standard deviation of the clip (asp).

    Shape:
        - inputs: (B, T, C, H, W) in [-0.5, 0.5]
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: inputs have another shape, or a clip has no valid frame.

    Example:
        >>> net = IResNet(depth=18, channels=16, image_height=32, image_width=32)
        >>> net.frames(torch.zeros(2, 5, 1, 32, 32))[0].shape, net(torch.zeros(2, 5, 1, 32, 32)).shape
        (torch.Size([2, 512, 5]), torch.Size([2, 512]))
    """

    unneeded = ("fc.", "features.")

    def __init__(
        self,
        *,
        depth: Literal[18, 34, 50] = 18,
        image_channels: int = 1,
        image_height: int = 128,
        image_width: int = 128,
        scaling: Literal["none", "half"] = "none",
        channels: int = 64,
        head: Literal["arcface", "gap"] = "arcface",
        frame_dim: int = 512,
        embedding_dim: int | None = 512,
        pooling: PoolingName = "asp",
        attention_channels: int = 128,
        context: bool = True,
    ) -> None:
        super().__init__((image_channels, image_height, image_width), scaling)
        layers = [
            nn.Conv2d(image_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
        ]
        self.layer_names = ["conv1", "bn1", "prelu"]
        before = channels
        for stage, blocks in enumerate(BLOCKS[depth]):
            for index in range(blocks):
                layers.append(IRBlock(before, 2**stage * channels, stride=2 if index == 0 else 1))
                self.layer_names.append(f"layer{stage + 1}.{index}")
                before = 2**stage * channels
        self.layer_names.append("bn2")
        self.trunk = nn.Sequential(*layers, nn.BatchNorm2d(before))

        if head == "arcface":
            rows, columns = -(-image_height // 16), -(-image_width // 16)
            self.head = nn.Sequential(
                nn.Flatten(), nn.Linear(before * rows * columns, frame_dim), nn.BatchNorm1d(frame_dim)
            )
            self.head[2].weight.requires_grad_(False)
        else:
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            frame_dim = before
        self.pool = build_pooling(pooling, frame_dim, attention_channels, context)
        self.embedding_dim = self.pool.output_dim
        self.embed = nn.Identity()
        if embedding_dim is not None:
            self.embed = nn.Sequential(nn.BatchNorm1d(self.embedding_dim), nn.Linear(self.embedding_dim, embedding_dim))
            self.embedding_dim = embedding_dim
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)
        # With channels stored last, the convolutions of a training step take half the time on a CPU.
        self.trunk.to(memory_format=torch.channels_last)

    def published_name(self, name: str) -> str:
        """The name in insightface's arcface_torch; see :class:`~avsv.nnet.visual.frames.FrameBackbone`."""
        part, index, *rest, kind = name.split(".")
        if part == "head":
            return {"1": "fc", "2": "features"}[index] + f".{kind}"
        layer = self.layer_names[int(index)]
        if rest:
            branch, number = rest
            layer += f".downsample.{number}" if branch == "shortcut" else f".{RESIDUAL_NAMES[int(number)]}"
        return f"{layer}.{kind}"
