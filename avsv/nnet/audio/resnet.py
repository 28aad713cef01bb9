"""Residual networks over time and frequency: filterbank features as an image with one channel."""

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from avsv.nnet.audio.renaming import Rules, renamed
from avsv.nnet.backbone import Backbone
from avsv.nnet.pooling import PoolingName, build_pooling

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 100: (6, 16, 24, 3)}


class MaskedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalization over the valid columns of a batch; padding is excluded from the statistics and set to 0.

    With zeros, the next convolution gives the same result as after the end of an unpadded utterance.

    Shape:
        - maps: (B, C, F, T)
        - mask: (B, T) boolean, True for valid columns; None if all are valid
        - output: (B, C, F, T)

    Example:
        >>> norm = MaskedBatchNorm2d(1)
        >>> maps, mask = torch.tensor([[[[1.0, 3.0, 99.0]]]]), torch.tensor([[True, True, False]])
        >>> [round(x, 3) for x in norm(maps, mask).flatten().tolist()]
        [-1.0, 1.0, 0.0]
    """

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(maps)
        if not self.training:
            return super().forward(maps).masked_fill(~mask[:, None, None], 0.0)
        by_column = maps.permute(0, 3, 1, 2)
        # As (N, C, 1, F): for (N, C, F, 1) with channels stored last, torch 2.11 computes wrong gradients on a CPU.
        normed = super().forward(by_column[mask].unsqueeze(2)).squeeze(2)
        padded = normed.new_zeros(by_column.shape)
        padded[mask] = normed
        return padded.permute(0, 2, 3, 1)


class SimAM(nn.Module):
    """SimAM: every cell of a map is gated by its distance from the mean of the map; the module has no parameters.

    With d = (x - mean)^2 and v = sum(d) / (cells - 1), the gate is sigmoid(d / (4 (v + 1e-4)) + 0.5).

    Source: Yang et al., ICML 2021; Qin et al. 2022, arXiv:2110.06534; as in wespeaker. Mean and variance are those of
    the valid columns of each channel, computed at least in float32.

    Shape: as :class:`MaskedBatchNorm2d`, with maps that are zero in padding.

    Example (one large cell among zeros; a constant map is scaled by sigmoid(0.5)):
        >>> [round(x, 4) for x in SimAM()(torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]])).flatten().tolist()]
        [0.0, 0.0, 0.0, 2.9727]
    """

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        cells = maps.to(torch.promote_types(maps.dtype, torch.float32))
        if mask is None:
            count = cells.shape[2] * cells.shape[3]
            distance = (cells - cells.mean(dim=(2, 3), keepdim=True)) ** 2
            # The variance of a single cell is undefined.
            variance = distance.sum(dim=(2, 3), keepdim=True) / max(count - 1, 1)
        else:
            count = cells.shape[2] * mask.sum(dim=1)[:, None, None, None]
            distance = (cells - cells.sum(dim=(2, 3), keepdim=True) / count) ** 2
            distance = distance.masked_fill(~mask[:, None, None], 0.0)
            variance = distance.sum(dim=(2, 3), keepdim=True) / (count - 1).clamp(min=1)
        return maps * torch.sigmoid(distance / (4 * (variance + 1e-4)) + 0.5).to(maps.dtype)


class BasicBlock(nn.Module):
    """Residual block of two convolutions: conv with stride, BN, ReLU, conv, BN, plus the input; ReLU after the sum.

    Source: He et al. 2016, arXiv:1512.03385. With ``simam`` the residual passes through :class:`SimAM`
    before it is added.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        stride: stride of the first convolution and, with a 1x1 convolution, of the shortcut; over time and frequency.
        simam: gate the residual.

    Shape:
        - maps: (B, in_channels, F, T), zero in padding
        - mask: (B, T) boolean, True for valid columns; None if all are valid
        - output: (B, out_channels, ceil(F / stride), ceil(T / stride)), zero in padding

    Example:
        >>> BasicBlock(32, 64, stride=2)(torch.zeros(2, 32, 80, 99)).shape
        torch.Size([2, 64, 40, 50])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, simam: bool = False) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.norm1 = MaskedBatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = MaskedBatchNorm2d(out_channels)
        self.simam = SimAM() if simam else None
        self.shortcut = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)
            self.shortcut_norm = MaskedBatchNorm2d(out_channels)

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> Tensor:
        mask = None if mask is None else mask[:, :: self.stride]
        hidden = torch.relu(self.norm1(self.conv1(maps), mask))
        hidden = self.norm2(self.conv2(hidden), mask)
        if self.simam is not None:
            hidden = self.simam(hidden, mask)
        if self.shortcut is not None:
            # The stride is implemented by slicing: on a CPU, torch 2.11 crashes in the backward pass of a strided 1x1
            # convolution with fewer than 16 channels that are stored last.
            maps = self.shortcut_norm(self.shortcut(maps[:, :, :: self.stride, :: self.stride]), mask)
        return torch.relu(hidden + maps)


class ResNetTrunk(nn.Module):
    """The convolutions of a residual network over features: a stem and four stages, which reduce the size by 8.

    Padding does not affect the result: it is zero before every convolution, as after the end of an unpadded utterance,
    and is excluded from the batch statistics.

    Args:
        depth: 18, 34 or 100 layers, as counted by the authors of the networks.
        channels: channels of the first stage; the others have 2, 4 and 8 times as many.
        simam: gate the residuals with :class:`SimAM`.

    Shape:
        - features: (B, T, F)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: maps (B, 8 * channels, ceil(F / 8), ceil(T / 8)) and their mask (B, ceil(T / 8))

    Example:
        >>> ResNetTrunk(18, 4)(torch.zeros(2, 100, 80))[0].shape
        torch.Size([2, 32, 10, 13])
    """

    def __init__(self, depth: int, channels: int, simam: bool = False) -> None:
        super().__init__()
        self.depth = depth
        self.stem = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.norm = MaskedBatchNorm2d(channels)
        self.blocks = nn.ModuleList()
        before = channels
        for factor, blocks in zip((1, 2, 4, 8), BLOCKS[depth], strict=True):
            for index in range(blocks):
                stride = 2 if index == 0 and factor > 1 else 1
                self.blocks.append(BasicBlock(before, factor * channels, stride, simam))
                before = factor * channels
        # With channels stored last, a training step takes 20 to 45 % less time on a CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        given = None if mask is None else mask[:, ::8]
        if mask is not None:
            if mask.all():
                mask = None
            else:
                features = features.masked_fill(~mask.unsqueeze(2), 0.0)
        maps = torch.relu(self.norm(self.stem(features.transpose(1, 2).unsqueeze(1)), mask))
        maps = maps.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            maps = block(maps, mask)
            mask = None if mask is None else mask[:, :: block.stride]
        return maps, given

    def published_names(self) -> Rules:
        """The rules from the names of these weights in WeSpeaker, as in ``layer2.0.conv1``, to those of a network."""
        starts = [0, *accumulate(BLOCKS[self.depth])]

        def block(match: re.Match[str]) -> str:
            return f"trunk.blocks.{starts[int(match[1]) - 1] + int(match[2])}."

        return (
            (r"^conv1\.", "trunk.stem."),
            (r"^bn1\.", "trunk.norm."),
            (r"^layer(\d)\.(\d+)\.", block),
            (r"\.bn([12])\.", r".norm\1."),
            (r"\.(shortcut|downsample)\.0\.", ".shortcut."),
            (r"\.(shortcut|downsample)\.1\.", ".shortcut_norm."),
        )


class ResNet(Backbone):
    """ResNet speaker embeddings from filterbank features.

    Source: He et al. 2016, arXiv:1512.03385, as in wespeaker: a 3x3 stem without stride, no max pooling, pooling of
    every channel and row of the last map over time, one linear layer.

    Args:
        depth: 18 or 34 layers.
        feature_dim: bins F of the features.
        channels: channels of the first stage; the others have 2, 4 and 8 times as many.
        embedding_dim: size D of the embedding.
        pooling: a name of :data:`avsv.nnet.pooling.POOLINGS`, over time.
        attention_channels: width of the hidden layer of the attention (attentive poolings).
        context: the attention also receives the mean and standard deviation of the utterance (attentive poolings).

    Shape:
        - inputs: (B, T, F)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: inputs are not (B, T, F), or an utterance has no valid frame.

    Example:
        >>> net = ResNet(depth=34)
        >>> sum(p.numel() for p in net.parameters())
        6634336
        >>> net.frames(torch.zeros(1, 100, 80))[0].shape, net.eval()(torch.zeros(1, 100, 80)).shape
        (torch.Size([1, 2560, 13]), torch.Size([1, 256]))
    """

    def __init__(
        self,
        *,
        depth: Literal[18, 34] = 34,
        feature_dim: int = 80,
        channels: int = 32,
        embedding_dim: int = 256,
        pooling: PoolingName = "tstp",
        attention_channels: int = 128,
        context: bool = True,
    ) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.embedding_dim = embedding_dim
        self.trunk = ResNetTrunk(depth, channels)
        self.pool = build_pooling(pooling, frame_dim(channels, feature_dim), attention_channels, context)
        self.embed = nn.Linear(self.pool.output_dim, embedding_dim)

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, 8 * channels * ceil(F / 8), ceil(T / 8)) and their mask."""
        check_features("ResNet", inputs, self.feature_dim)
        maps, mask = self.trunk(inputs, mask)
        return maps.flatten(1, 2), mask

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a state dict of WeSpeaker; see :meth:`avsv.nnet.backbone.Backbone.convert_published`."""
        attention = ((r"^pool\.linear1\.", "pool.hidden."), (r"^pool\.linear2\.", "pool.score."))
        rules = (*self.trunk.published_names(), *attention, (r"^seg_1\.", "embed."))
        return renamed(self, state, rules, "projection")


def frame_dim(channels: int, feature_dim: int) -> int:
    """The number of rows times channels of the last map of a :class:`ResNetTrunk`.

    Example:
        >>> frame_dim(32, 80)
        2560
    """
    return 8 * channels * -(-feature_dim // 8)


def check_features(name: str, inputs: Tensor, feature_dim: int) -> None:
    """Raise a ValueError that names the network if inputs are not (B, T, feature_dim)."""
    if inputs.ndim != 3 or inputs.shape[2] != feature_dim:
        raise ValueError(f"{name}: features of shape {tuple(inputs.shape)}, expected (B, T, {feature_dim})")
