"""ECAPA-TDNN: a time-delay network with channel attention and multi-layer aggregation."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from avsv.nnet.audio.renaming import renamed
from avsv.nnet.backbone import Backbone
from avsv.nnet.convolution import FrameConv, concatenate, split
from avsv.nnet.normalization import MaskedBatchNorm1d
from avsv.nnet.pooling import PoolingName, build_pooling


class ConvReLUNorm(nn.Module):
    """Conv1d that preserves the length, then ReLU, then batch normalization.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        kernel_size: odd width in frames.
        dilation: distance between the frames of the kernel.

    Shape:
        - frames: (B, in_channels, T), zero in padding
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, out_channels, T), zero in padding

    Example:
        >>> ConvReLUNorm(80, 512, kernel_size=5)(torch.zeros(2, 80, 100)).shape
        torch.Size([2, 512, 100])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        self.conv = FrameConv(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation)
        self.norm = MaskedBatchNorm1d(out_channels)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.norm(torch.relu_(self.conv(frames)), mask)


class Res2Conv(nn.Module):
    """Res2Net convolution: each of ``scale`` channel splits is convolved after adding the result of the previous one.

    The last split is passed through unchanged, as in wespeaker, unless ``extra_conv`` adds a convolution for it.

    Source: Gao et al. 2019, arXiv:1904.01169, equation 1.

    Args:
        channels: input and output channels, a multiple of ``scale``.
        scale: number of splits.
        dilation: dilation of the convolutions of width 3.
        extra_conv: also convolve the last split.

    Shape: as :class:`ConvReLUNorm`.

    Raises:
        ValueError: ``channels`` is not a multiple of ``scale``.

    Example:
        >>> Res2Conv(64, scale=8, dilation=2)(torch.zeros(2, 64, 100)).shape
        torch.Size([2, 64, 100])
    """

    convolution: ClassVar[type[ConvReLUNorm]] = ConvReLUNorm

    def __init__(self, channels: int, scale: int, dilation: int, extra_conv: bool = False) -> None:
        super().__init__()
        if scale < 2 or channels % scale:
            raise ValueError(f"res2_scale: {scale}: must be at least 2 and divide the {channels} channels")
        width = channels // scale
        count = scale if extra_conv else scale - 1
        self.scale = scale
        self.convs = nn.ModuleList(self.convolution(width, width, 3, dilation) for _ in range(count))

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        splits = split(frames, self.scale)
        outputs = []
        for index, conv in enumerate(self.convs):
            outputs.append(conv(splits[index] + outputs[-1] if outputs else splits[index], mask))
        outputs.extend(splits[len(outputs) :])
        return concatenate(outputs)


class SqueezeExcitation(nn.Module):
    """Scale every channel by a gate computed from the means of all channels over the utterance.

    Source: Hu et al. 2018, arXiv:1709.01507, equations 2-4; over time as in Desplanques et al. 2020, section 3.2.

    Args:
        channels: input and output channels.
        bottleneck: width of the hidden layer.

    Shape: as :class:`ConvReLUNorm`.

    Example:
        >>> SqueezeExcitation(64, 16)(torch.zeros(2, 64, 100)).shape
        torch.Size([2, 64, 100])
    """

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, bottleneck)
        self.excite = nn.Linear(bottleneck, channels)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        # Padding is zero, so only the count needs the mask, not the sum.
        count = frames.shape[2] if mask is None else mask.sum(dim=1, keepdim=True)
        mean = frames.sum(dim=2) / count
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))
        return frames * gate.unsqueeze(2)


class SERes2Block(nn.Module):
    """SE-Res2Block: 1x1 convolution, Res2 convolution, 1x1 convolution, squeeze and excitation, plus the input.

    Source: Desplanques et al. 2020, arXiv:2005.07143, section 3.2 and figure 1.

    Args:
        channels: input and output channels.
        scale: splits of the Res2 convolution.
        dilation: dilation of the Res2 convolution.
        se_channels: hidden width of the squeeze and excitation.
        extra_conv: see :class:`Res2Conv`.

    Shape: as :class:`ConvReLUNorm`.

    Example (the same number of parameters as in wespeaker):
        >>> sum(p.numel() for p in SERes2Block(512, scale=8, dilation=2, se_channels=128).parameters())
        746432
    """

    res2_class: ClassVar[type[Res2Conv]] = Res2Conv

    def __init__(self, channels: int, scale: int, dilation: int, se_channels: int, extra_conv: bool = False) -> None:
        super().__init__()
        self.reduce = ConvReLUNorm(channels, channels)
        self.res2 = self.res2_class(channels, scale, dilation, extra_conv)
        self.expand = ConvReLUNorm(channels, channels)
        self.se = SqueezeExcitation(channels, se_channels)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = self.expand(self.res2(self.reduce(frames, mask), mask), mask)
        return frames + self.se(hidden, mask)


class ECAPATDNN(Backbone):
    """ECAPA-TDNN speaker embeddings from filterbank features.

    Source: Desplanques et al. 2020, arXiv:2005.07143, with the conventions of wespeaker (order conv, ReLU, BN; the last
    Res2 split is passed through; no BN after the aggregation). The "additional scale information to the second layer"
    of Sun et al. 2022, section 3, is interpreted as ``res2_scale=(16, 8, 8)``.

    Args:
        feature_dim: bins F of the features.
        channels: channels C of the stem and the three blocks.
        embedding_dim: size D of the embedding.
        res2_scale: Res2 splits of each of the three blocks.
        aggregate_channels: channels of the frames that are pooled.
        se_channels: hidden width of the squeeze and excitation.
        pooling: a name of :data:`avsv.nnet.pooling.POOLINGS`, over time.
        attention_channels: width of the hidden layer of the attention (asp).
        context: the attention also receives the mean and standard deviation of the utterance (asp).
        extra_conv: add a convolution for the pass-through split of the first block.
        dense_sum: the input of a block is the sum of all earlier outputs instead of the last one.
        final_norm: batch normalization of the embedding.

    Shape:
        - inputs: (B, T, F)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: ``res2_scale`` is not three divisors of ``channels``, or inputs are not (B, T, F), or an utterance
            has no valid frame.

    Example:
        >>> net = ECAPATDNN(channels=512)
        >>> sum(p.numel() for p in net.parameters())
        6190720
        >>> net.frames(torch.zeros(1, 198, 80))[0].shape, net.eval()(torch.zeros(1, 198, 80)).shape
        (torch.Size([1, 1536, 198]), torch.Size([1, 192]))
    """

    def __init__(
        self,
        *,
        feature_dim: int = 80,
        channels: int = 512,
        embedding_dim: int = 192,
        res2_scale: tuple[int, ...] = (8, 8, 8),
        aggregate_channels: int = 1536,
        se_channels: int = 128,
        pooling: PoolingName = "asp",
        attention_channels: int = 128,
        context: bool = True,
        extra_conv: bool = False,
        dense_sum: bool = False,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(res2_scale) != 3:
            raise ValueError(f"res2_scale: {list(res2_scale)}: give one scale for each of the three blocks")
        self.feature_dim = feature_dim
        self.embedding_dim = embedding_dim
        self.dense_sum = dense_sum
        self.stem = ConvReLUNorm(feature_dim, channels, kernel_size=5)
        self.blocks = nn.ModuleList(
            SERes2Block(channels, scale, dilation, se_channels, extra_conv and dilation == 2)
            for scale, dilation in zip(res2_scale, (2, 3, 4), strict=True)
        )
        self.aggregate = FrameConv(3 * channels, aggregate_channels, kernel_size=1)
        self.pool = build_pooling(pooling, aggregate_channels, attention_channels, context)
        self.embed = nn.Sequential(nn.BatchNorm1d(self.pool.output_dim), nn.Linear(self.pool.output_dim, embedding_dim))
        if final_norm:
            self.embed.append(nn.BatchNorm1d(embedding_dim))

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, aggregate_channels, T), one per input frame, and the unchanged mask."""
        if inputs.ndim != 3 or inputs.shape[2] != self.feature_dim:
            raise ValueError(
                f"ECAPA-TDNN: features of shape {tuple(inputs.shape)}, expected (B, T, {self.feature_dim})"
            )
        given = mask
        # With the channels of a frame adjacent in memory, a training step takes less time on a CPU.
        frames = inputs.transpose(1, 2)
        if inputs.is_cuda:
            frames = frames.contiguous()
        if mask is not None:
            if mask.all():
                mask = None
            else:
                frames = frames.masked_fill(~mask.unsqueeze(1), 0.0)
        frames = self.stem(frames, mask)
        outputs = []
        for block in self.blocks:
            outputs.append(block(frames, mask))
            frames = frames + outputs[-1] if self.dense_sum else outputs[-1]
        return torch.relu_(self.aggregate(concatenate(outputs))), given

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a state dict of WeSpeaker; see :meth:`avsv.nnet.backbone.Backbone.convert_published`."""
        return renamed(self, state, _WESPEAKER, "projection")


_WESPEAKER = (
    (r"^layer1\.", "stem."),
    (r"^layer([234])\.se_res2block\.", lambda match: f"blocks.{int(match[1]) - 2}."),
    (r"^(blocks\.\d)\.0\.", r"\1.reduce."),
    (r"^(blocks\.\d)\.1\.convs\.(\d+)\.", r"\1.res2.convs.\2.conv."),
    (r"^(blocks\.\d)\.1\.bns\.(\d+)\.", r"\1.res2.convs.\2.norm."),
    (r"^(blocks\.\d)\.2\.", r"\1.expand."),
    (r"^(blocks\.\d)\.3\.linear1\.", r"\1.se.squeeze."),
    (r"^(blocks\.\d)\.3\.linear2\.", r"\1.se.excite."),
    (r"^conv\.", "aggregate."),
    (r"^pool\.linear1\.", "pool.hidden."),
    (r"^pool\.linear2\.", "pool.score."),
    (r"^bn\.", "embed.0."),
    (r"^linear\.", "embed.1."),
    (r"\.bn\.", ".norm."),
)
