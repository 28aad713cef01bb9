"""IResNet, the improved residual network of ArcFace, for video clips of faces."""

from typing import Literal

import torch
from torch import Tensor, nn

from avsv.nnet.backbone import Backbone
from avsv.nnet.pooling import build_pooling

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3)}


class IRBlock(nn.Module):
    """Improved residual block: BN, conv, BN, PReLU, conv with stride, BN, plus the input; no activation after the sum.

    Source: Deng et al. 2019 (ArcFace), arXiv:1801.07698, section 3.1, as in insightface's iresnet.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        stride: of the second convolution and, with a 1x1 convolution, of the shortcut.

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
        # The shortcut's stride is taken by slicing: torch 2.11 crashes on a CPU in the backward pass of a strided 1x1
        # convolution of fewer than 16 channels that are stored last.
        return self.residual(images) + self.shortcut(images[:, :, :: self.stride, :: self.stride])


class IResNet(Backbone):
    """IResNet face embeddings of a clip: every frame through the network, then pooling over time.

    Source: Deng et al. 2019 (ArcFace), arXiv:1801.07698, as in insightface's iresnet; one-channel input and attentive
    pooling over time as in Sun et al. 2022, section 3. Padding never enters the network: only valid frames do.

    Args:
        depth: 18, 34 or 50 layers.
        image_channels: channels of a frame: 1 for gray, 3 for RGB.
        image_height: rows of a frame.
        image_width: columns of a frame.
        channels: channels of the first stage; the others have 2, 4 and 8 times as many.
        head: arcface (BN, flatten, Linear to ``frame_dim``, BN with weight 1) or gap (BN, average over the image).
        frame_dim: size of a frame's feature with the head arcface; with gap it is 8 * ``channels``.
        embedding_dim: size D of the embedding.
        pooling: asp, tstp or tap over time.
        attention_channels: width of the attention's hidden layer (asp).
        context: the attention sees the clip's mean and standard deviation (asp).

    Shape:
        - inputs: (B, T, C, H, W) in [-0.5, 0.5]
        - mask: (B, T) boolean, True for a valid frame; None means that all are
        - output: (B, D)

    Raises:
        ValueError: inputs of another shape, or a clip has no valid frame.

    Example:
        >>> net = IResNet(depth=18, channels=16, image_height=32, image_width=32)
        >>> net.frames(torch.zeros(2, 5, 1, 32, 32))[0].shape, net(torch.zeros(2, 5, 1, 32, 32)).shape
        (torch.Size([2, 512, 5]), torch.Size([2, 512]))
    """

    def __init__(
        self,
        *,
        depth: Literal[18, 34, 50] = 18,
        image_channels: int = 1,
        image_height: int = 128,
        image_width: int = 128,
        channels: int = 64,
        head: Literal["arcface", "gap"] = "arcface",
        frame_dim: int = 512,
        embedding_dim: int = 512,
        pooling: Literal["asp", "tstp", "tap"] = "asp",
        attention_channels: int = 128,
        context: bool = True,
    ) -> None:
        super().__init__()
        self.image_shape = (image_channels, image_height, image_width)
        self.embedding_dim = embedding_dim
        layers = [
            nn.Conv2d(image_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
        ]
        before = channels
        for factor, blocks in zip((1, 2, 4, 8), BLOCKS[depth], strict=True):
            for index in range(blocks):
                layers.append(IRBlock(before, factor * channels, stride=2 if index == 0 else 1))
                before = factor * channels
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
        self.embed = nn.Sequential(nn.BatchNorm1d(self.pool.output_dim), nn.Linear(self.pool.output_dim, embedding_dim))
        for module in self.trunk.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)
        # Channels stored last: the convolutions of a training step take half the time on a CPU.
        self.trunk.to(memory_format=torch.channels_last)

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, frame_dim or 8 * channels, T), zero where the mask is False, and the mask as given."""
        if inputs.ndim != 5 or tuple(inputs.shape[2:]) != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise ValueError(f"IResNet: frames of shape {tuple(inputs.shape)}, expected (B, T, {expected})")
        images = inputs.flatten(0, 1) if mask is None else inputs[mask]
        features = self.head(self.trunk(images.contiguous(memory_format=torch.channels_last)))
        if mask is None:
            return features.unflatten(0, inputs.shape[:2]).transpose(1, 2), None
        padded = features.new_zeros(*mask.shape, features.shape[1])
        padded[mask] = features
        return padded.transpose(1, 2), mask
