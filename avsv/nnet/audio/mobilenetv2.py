"""MobileNetV2 over log-mel energies, with attention pooling without softmax."""

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.audio.resnet import MaskedBatchNorm2d, check_features
from avsv.nnet.backbone import Backbone
from avsv.nnet.pooling import Pooling, valid_frames


class RunningMoments:
    """Mean and variance of every feature bin, accumulated batch by batch and over several workers.

    Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", the pairwise update: (count,
    mean, sum of squared distances from the mean), in float64.

    Args:
        bins: number of bins F.

    Example:
        >>> moments = RunningMoments(1)
        >>> for chunk in ([[[1.0], [2.0]]], [[[6.0]]]):
        ...     moments.update(torch.tensor(chunk))
        >>> moments.count, moments.mean.tolist(), [round(x, 4) for x in moments.variance.tolist()]
        (3, [3.0], [4.6667])
    """

    def __init__(self, bins: int) -> None:
        self.count = 0
        self.mean = torch.zeros(bins, dtype=torch.float64)
        self.squares = torch.zeros(bins, dtype=torch.float64)

    def update(self, features: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch of features (B, T, F) with their mask (B, T), or None if all frames are valid."""
        frames = features.detach().flatten(0, 1) if mask is None else features.detach()[mask]
        if not len(frames):
            return
        chunk = RunningMoments(frames.shape[1])
        frames = frames.to("cpu", torch.float64)
        chunk.count = len(frames)
        chunk.mean = frames.mean(dim=0)
        chunk.squares = ((frames - chunk.mean) ** 2).sum(dim=0)
        self.merge(chunk)

    def merge(self, other: "RunningMoments") -> None:
        """Add the data of another instance."""
        count = self.count + other.count
        if count == 0:
            return
        distance = other.mean - self.mean
        self.mean = self.mean + distance * (other.count / count)
        self.squares = self.squares + other.squares + distance**2 * (self.count * other.count / count)
        self.count = count

    @property
    def variance(self) -> Tensor:
        """The population variance (F,)."""
        return self.squares / max(self.count, 1)

    @property
    def std(self) -> Tensor:
        """The population standard deviation (F,); 1 for a constant bin, so that dividing by it is harmless."""
        return torch.where(self.variance > 0, self.variance, 1.0).sqrt()


class ConvNormReLU6(nn.Module):
    """Convolution over time and frequency, batch normalization, ReLU6.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        kernel_size: odd width and height.
        stride: stride over time and frequency.
        groups: groups of channels that are convolved separately.
        activation: False to omit the activation after the normalization.

    Shape:
        - maps: (B, in_channels, F, T), zero in padding
        - mask: (B, T) boolean, True for valid columns; None if all are valid
        - output: (B, out_channels, ceil(F / stride), ceil(T / stride)), zero in padding, and its mask

    Example:
        >>> ConvNormReLU6(1, 32, kernel_size=3, stride=2)(torch.zeros(2, 1, 64, 151))[0].shape
        torch.Size([2, 32, 32, 76])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.activation = activation
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.norm = MaskedBatchNorm2d(out_channels)

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        mask = None if mask is None else mask[:, :: self.stride]
        maps = self.norm(self.conv(maps), mask)
        return functional.relu6(maps) if self.activation else maps, mask


class InvertedResidual(nn.Module):
    """Inverted residual block: 1x1 convolution that expands, depthwise convolution, 1x1 convolution that projects.

    The input is added if it has the shape of the output.

    Source: Sandler et al. 2018 (MobileNetV2), arXiv:1801.04381, section 3.3 and table 1.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        stride: stride of the depthwise convolution.
        expansion: expanded channels as a multiple of ``in_channels``; with 1 there is no first convolution.
        relu6_after_projection: apply ReLU6 after the projection too, which is linear in MobileNetV2.

    Shape: as :class:`ConvNormReLU6`.

    Example:
        >>> InvertedResidual(32, 64, stride=2, expansion=6)(torch.zeros(2, 32, 16, 38))[0].shape
        torch.Size([2, 64, 8, 19])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        expansion: int,
        relu6_after_projection: bool = False,
    ) -> None:
        super().__init__()
        hidden = expansion * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.convs = nn.ModuleList([ConvNormReLU6(in_channels, hidden, 1)] if expansion != 1 else [])
        self.convs.append(ConvNormReLU6(hidden, hidden, 3, stride, groups=hidden))
        self.convs.append(ConvNormReLU6(hidden, out_channels, 1, activation=relu6_after_projection))

    def forward(self, maps: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        hidden = maps
        for conv in self.convs:
            hidden, mask = conv(hidden, mask)
        return hidden + maps if self.residual else hidden, mask


class MatrixAttentionPooling(Pooling):
    """Pool frames with one weight per frame, computed by two linear layers that are each followed by a leaky ReLU.

    The weights are not normalized: they can be negative, and the pooled vector grows with the number of frames.

    Source: Claborne et al. 2023, arXiv:2311.05071, appendix A, where the column of weights "is then right multiplied
    with" the map.

    Args:
        channels: number of input channels C.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, C)

    Raises:
        ValueError: an utterance has no valid frame.

    Example:
        >>> pool = MatrixAttentionPooling(356)
        >>> pool(torch.zeros(2, 356, 10)).shape, sum(p.numel() for p in pool.parameters())
        (torch.Size([2, 356]), 127449)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.output_dim = channels
        self.hidden = nn.Linear(channels, channels)
        self.score = nn.Linear(channels, 1)
        # The weights start around 1: for negative weights, the leaky ReLU would leave 1 % of the embedding.
        nn.init.ones_(self.score.bias)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        frames, valid = valid_frames(frames, mask)
        hidden = functional.leaky_relu(self.hidden(frames.transpose(1, 2)))
        weights = functional.leaky_relu(self.score(hidden)).transpose(1, 2).masked_fill(~valid, 0.0)
        return (frames * weights).sum(dim=2)


class MobileNetV2Audio(Backbone):
    """MobileNetV2 speaker embeddings from log-mel energies, which the network normalizes itself.

    Source: Claborne et al. 2023, arXiv:2311.05071, appendix A, with the blocks of Sandler et al. 2018,
    arXiv:1801.04381. The block settings are those of Sari et al. 2021, which the paper does not give; the defaults are
    the progression of MobileNetV2, cut to the stated sizes: 12 blocks, 32 channels before and 256 after them, and a map
    of 4 by 10 from 64 bins by 1.5 s.

    The buffers ``mel_mean`` and ``mel_std`` contain the mean and standard deviation of every bin over the training set
    (see :class:`RunningMoments`); they start at 0 and 1.

    The sum of the attention grows with the length of the utterance, but in training all clips have the same length,
    which the buffer ``clip_frames`` contains. In evaluation the sum is scaled to that length, so that a long utterance
    does not have more weight in a fusion than a short one; the paper does not say how other lengths are embedded. With
    0, the sum is not scaled.

    Args:
        feature_dim: mel bins F.
        stem_channels: channels before the blocks.
        stem_kernel: size of the first convolution: 1 ("1d convolution") or 3.
        expansions: for each row of blocks, the expanded channels as a multiple of its input channels.
        block_channels: for each row of blocks, its output channels.
        repeats: for each row, the number of its blocks.
        strides: for each row, the stride of its first block.
        relu6_after_projection: ReLU6 after the projection of a block too ("all convolutional layers are followed by"
            it).
        embedding_dim: channels D of the last convolution, which is the size of the embedding.

    Shape:
        - inputs: (B, T, F) log-mel energies, not normalized
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: the four row settings differ in length or have values below 1, inputs are not (B, T, F), or an
            utterance has no valid frame.

    Example:
        >>> net = MobileNetV2Audio()
        >>> sum(p.numel() for p in net.parameters())
        994785
        >>> net.frames(torch.zeros(1, 151, 64))[0].shape, net.eval()(torch.zeros(1, 151, 64)).shape
        (torch.Size([1, 356, 10]), torch.Size([1, 356]))
    """

    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "log_mel"

    mel_mean: Tensor
    mel_std: Tensor
    clip_frames: Tensor

    def __init__(
        self,
        *,
        feature_dim: int = 64,
        stem_channels: int = 32,
        stem_kernel: Literal[1, 3] = 1,
        expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6),
        block_channels: tuple[int, ...] = (16, 24, 32, 64, 128, 256),
        repeats: tuple[int, ...] = (1, 2, 3, 3, 2, 1),
        strides: tuple[int, ...] = (1, 2, 2, 2, 2, 1),
        relu6_after_projection: bool = False,
        embedding_dim: int = 356,
    ) -> None:
        super().__init__()
        rows = {"expansions": expansions, "block_channels": block_channels, "repeats": repeats, "strides": strides}
        for name, values in rows.items():
            if len(values) != len(block_channels) or min(values, default=0) < 1:
                raise ValueError(f"{name}: {list(values)}: give one number of at least 1 for each row of blocks")
        self.feature_dim = feature_dim
        self.embedding_dim = embedding_dim
        self.register_buffer("mel_mean", torch.zeros(feature_dim))
        self.register_buffer("mel_std", torch.ones(feature_dim))
        self.register_buffer("clip_frames", torch.zeros(()))
        self.stride = math.prod(strides)
        self.stem = ConvNormReLU6(1, stem_channels, stem_kernel)
        self.blocks = nn.ModuleList()
        before = stem_channels
        for expansion, channels, count, stride in zip(*rows.values(), strict=True):
            for index in range(count):
                self.blocks.append(
                    InvertedResidual(before, channels, stride if index == 0 else 1, expansion, relu6_after_projection)
                )
                before = channels
        self.last = ConvNormReLU6(before, embedding_dim, 1)
        # With channels stored last, a training step takes a quarter less time on a CPU.
        self.to(memory_format=torch.channels_last)
        self.pool = MatrixAttentionPooling(embedding_dim)
        self.embed = nn.Identity()

    def forward(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Embeddings (B, D) of inputs as in :meth:`frames`; in evaluation, scaled to the length of a training clip."""
        frames, mask = self.frames(inputs, mask)
        embeddings = self.embed(self.pool(frames, mask))
        if self.training or self.clip_frames == 0:
            return embeddings
        length = torch.full((1,), frames.shape[2], device=frames.device) if mask is None else mask.sum(dim=1)
        return embeddings * ((self.clip_frames / self.stride).ceil() / length).unsqueeze(1)

    @torch.no_grad()
    def set_log_mel_statistics(self, mean: Tensor, deviation: Tensor, clip_frames: int) -> None:
        self.mel_mean.copy_(mean)
        self.mel_std.copy_(deviation)
        self.clip_frames.fill_(clip_frames)

    def normalize(self, inputs: Tensor) -> Tensor:
        """Normalize log-mel energies (B, T, F) with the mean and standard deviation of the training set, per bin."""
        return (inputs - self.mel_mean) / self.mel_std

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, D, T'), which are the mean of the last map over frequency, and their mask."""
        check_features("MobileNetV2Audio", inputs, self.feature_dim)
        given = mask
        inputs = self.normalize(inputs)
        if mask is not None:
            if mask.all():
                mask = None
            else:
                inputs = inputs.masked_fill(~mask.unsqueeze(2), 0.0)
        maps, mask = self.stem(inputs.transpose(1, 2).unsqueeze(1), mask)
        maps = maps.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            maps, mask = block(maps, mask)
        maps, mask = self.last(maps, mask)
        if given is not None and mask is None:
            mask = given.new_ones(maps.shape[0], maps.shape[3])
        return maps.mean(dim=2), mask
