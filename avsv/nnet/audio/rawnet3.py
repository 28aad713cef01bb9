"""RawNet3: speaker embeddings directly from the waveform."""

import math
import re
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.audio.ecapa_tdnn import ConvReLUNorm, Res2Conv
from avsv.nnet.audio.simam_resnet import ReLUAttentiveStatsPooling
from avsv.nnet.backbone import Backbone
from avsv.nnet.pooling import PoolingName, build_pooling

PRE_EMPHASIS = 0.97
MIN_LOW = 50.0
MIN_BAND = 50.0


class SincFilterbank(nn.Module):
    """Learned band-pass filters, each with an even (cosine) and an odd (sine) form; only band edges are parameters.

    Source: Ravanelli and Bengio 2018, arXiv:1808.00158, with the odd filters of Pariente et al. 2020,
    arXiv:1910.10400, as in asteroid's ParamSincFB: initial bands are equally spaced in mels; bands are at least 50 Hz
    wide and begin at 50 Hz or above; the window is half a Hamming window on each side.

    Args:
        filters: even number of filters: first all even ones, then all odd ones.
        kernel_size: odd length of a filter in samples.
        stride: samples between two frames.
        sample_rate: sample rate in Hz.

    Shape:
        - samples: (B, n)
        - output: (B, filters, 1 + (n - kernel_size) // stride)

    Example:
        >>> bank = SincFilterbank(256, 251, stride=10)
        >>> bank(torch.zeros(2, 48240)).shape, sum(p.numel() for p in bank.parameters())
        (torch.Size([2, 256, 4799]), 256)
    """

    def __init__(self, filters: int, kernel_size: int, stride: int, sample_rate: int = 16000) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.sample_rate = sample_rate
        half = kernel_size // 2

        def mel(hertz: float) -> float:
            return 2595.0 * math.log10(1.0 + hertz / 700.0)

        mels = torch.linspace(
            mel(30.0), mel(sample_rate / 2 - (MIN_LOW + MIN_BAND)), filters // 2 + 1, dtype=torch.float64
        )
        edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
        self.low = nn.Parameter(edges[:-1, None].float())
        self.band = nn.Parameter(edges.diff()[:, None].float())
        window = torch.hamming_window(kernel_size, periodic=False, dtype=torch.float64)[:half]
        angle = 2.0 * math.pi * torch.arange(-half, 0, dtype=torch.float64) / sample_rate
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("angle", angle.float(), persistent=False)

    def filters(self) -> Tensor:
        """The filters (filters, 1, kernel_size), each 1 at its center if even and 0 there if odd."""
        low = MIN_LOW + self.low.abs()
        high = (low + MIN_BAND + self.band.abs()).clamp(MIN_LOW, self.sample_rate / 2)
        taper = self.window / (self.angle * (high - low))
        even = ((high * self.angle).sin() - (low * self.angle).sin()) * taper
        odd = ((low * self.angle).cos() - (high * self.angle).cos()) * taper
        center = torch.ones_like(low)
        even = torch.cat([even, center, even.flip(1)], dim=1)
        odd = torch.cat([odd, torch.zeros_like(center), -odd.flip(1)], dim=1)
        return torch.cat([even, odd]).unsqueeze(1)

    def forward(self, samples: Tensor) -> Tensor:
        return functional.conv1d(samples.unsqueeze(1), self.filters(), stride=self.stride)

    def frame_mask(self, mask: Tensor) -> Tensor:
        """The mask (B, T) of frames that contain only valid samples, given the mask (B, n) of the samples.

        Example:
            >>> SincFilterbank(4, 3, stride=2).frame_mask(torch.tensor([[True] * 6 + [False] * 3])).tolist()
            [[True, True, False, False]]
        """
        padding = functional.max_pool1d((~mask).to(torch.float32), self.kernel_size, self.stride)
        return padding == 0


class SincFrontEnd(nn.Module):
    """Waveform to frames: pre-emphasis, instance normalization, sinc filters, mean-normalized log magnitude.

    The magnitude is computed for every real filter separately, although pairs are the even and odd part of one band.

    Args:
        filters: even number of filters.
        kernel_size: odd length of a filter in samples.
        stride: samples between two frames.

    Shape:
        - samples: (B, n) in [-1, 1]
        - mask: (B, n) boolean, True for valid samples; None if all are valid
        - output: frames (B, filters, T), zero in padding, and their mask (B, T) or None

    Example:
        >>> SincFrontEnd(256, 251, stride=10)(torch.zeros(1, 48240))[0].shape
        torch.Size([1, 256, 4799])
    """

    def __init__(self, filters: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm1d(1, eps=1e-4, affine=True)
        self.sinc = SincFilterbank(filters, kernel_size, stride)

    def forward(self, samples: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        # Half precision is not accurate enough for the angles of the filters and the mean of 48000 samples.
        with torch.autocast(samples.device.type, enabled=False):
            samples = samples.to(torch.promote_types(samples.dtype, torch.float32))
            before = functional.pad(samples[:, None], (1, 0), mode="reflect")[:, 0, :-1]
            samples = samples - PRE_EMPHASIS * before
            if mask is None:
                samples = self.norm(samples.unsqueeze(1)).squeeze(1)
                frames = (self.sinc(samples).abs() + 1e-6).log()
                return frames - frames.mean(dim=2, keepdim=True), None
            mean = _valid_mean(samples, mask)
            variance = _valid_mean((samples - mean) ** 2, mask)
            samples = (samples - mean) / (variance + self.norm.eps).sqrt() * self.norm.weight + self.norm.bias
            frames = (self.sinc(samples).abs() + 1e-6).log()
            mask = self.sinc.frame_mask(mask)
            valid = mask.unsqueeze(1)
            return (frames - _valid_mean(frames, valid)).masked_fill(~valid, 0.0), mask


def _valid_mean(values: Tensor, valid: Tensor) -> Tensor:
    return values.masked_fill(~valid, 0.0).sum(dim=-1, keepdim=True) / valid.sum(dim=-1, keepdim=True).clamp(min=1)


class AlphaFeatureMapScaling(nn.Module):
    """Alpha feature map scaling (AFMS): add alpha to every channel, then scale it by a gate computed from the means.

    Source: Jung et al. 2020 (RawNet2), arXiv:2004.00526, as in voxceleb_trainer.

    Args:
        channels: input and output channels.

    Shape:
        - frames: (B, channels, T), zero in padding
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, channels, T), zero in padding

    Example:
        >>> AlphaFeatureMapScaling(64)(torch.zeros(2, 64, 100)).shape
        torch.Size([2, 64, 100])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))
        self.gate = nn.Linear(channels, channels)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        mean = frames.mean(dim=2) if mask is None else frames.sum(dim=2) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        scaled = (frames + self.alpha) * torch.sigmoid(self.gate(mean)).unsqueeze(2)
        return scaled if mask is None else scaled.masked_fill(~mask.unsqueeze(1), 0.0)


class MaxPool(nn.Module):
    """Maximum over groups of ``size`` frames; a group with padding becomes padding, and remaining frames are dropped.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, C, T // size), zero in padding, and its mask (B, T // size) or None

    Example:
        >>> frames, mask = torch.tensor([[[1.0, 4.0, 2.0, 3.0, 5.0]]]), torch.tensor([[True, True, True, False, False]])
        >>> MaxPool(2)(frames, mask)
        (tensor([[[4., 0.]]]), tensor([[ True, False]]))
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        pooled = functional.max_pool1d(frames, self.size)
        if mask is None:
            return pooled, None
        mask = mask[:, : pooled.shape[2] * self.size].unflatten(1, (-1, self.size)).all(dim=2)
        return pooled.masked_fill(~mask.unsqueeze(1), 0.0), mask


class RawNetBlock(nn.Module):
    """1x1 convolution, Res2 convolution, 1x1 convolution, plus the input, max pooling over time, AFMS.

    Source: Jung et al. 2022 (RawNet3), arXiv:2203.08488, as in voxceleb_trainer.

    Args:
        in_channels: input channels.
        channels: output channels.
        scale: splits of the Res2 convolution.
        dilation: dilation of the Res2 convolution.
        pool: number of frames that are pooled into one.

    Shape:
        - frames: (B, in_channels, T), zero in padding
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, channels, T // pool), zero in padding, and its mask (B, T // pool) or None

    Example (the same number of parameters as in voxceleb_trainer):
        >>> block = RawNetBlock(256, 1024, scale=8, dilation=2, pool=5)
        >>> block(torch.zeros(1, 256, 57))[0].shape, sum(p.numel() for p in block.parameters())
        (torch.Size([1, 1024, 11]), 2976384)
    """

    def __init__(self, in_channels: int, channels: int, scale: int, dilation: int, pool: int = 1) -> None:
        super().__init__()
        self.reduce = ConvReLUNorm(in_channels, channels)
        self.res2 = Res2Conv(channels, scale, dilation)
        self.expand = ConvReLUNorm(channels, channels)
        self.shortcut = nn.Identity()
        if in_channels != channels:
            self.shortcut = nn.Conv1d(in_channels, channels, kernel_size=1, bias=False)
        self.pool = MaxPool(pool) if pool > 1 else None
        self.afms = AlphaFeatureMapScaling(channels)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        hidden = self.expand(self.res2(self.reduce(frames, mask), mask), mask) + self.shortcut(frames)
        if self.pool is not None:
            hidden, mask = self.pool(hidden, mask)
        return self.afms(hidden, mask), mask


class RawNet3(Backbone):
    """RawNet3 speaker embeddings from the waveform.

    Source: Jung et al. 2022, arXiv:2203.08488, with the conventions of clovaai/voxceleb_trainer. The two batch
    normalizations that voxceleb_trainer builds but never uses are omitted, which saves ``channels`` / 2 + 2 *
    ``embedding_dim`` parameters.

    Args:
        channels: channels C of the blocks, a multiple of 8; there are C / 4 sinc filters.
        embedding_dim: size D of the embedding.
        sinc_stride: samples between two frames of the sinc filters.
        res2_scale: Res2 splits of the blocks.
        aggregate_channels: channels of the frames that are pooled.
        pooling: see :func:`avsv.nnet.pooling.build_pooling`; asp has the form of RawNet3, with ReLU and batch
            normalization.
        attention_channels: width of the hidden layer of the attention (attentive poolings).
        context: the attention also receives the mean and standard deviation of the utterance (attentive poolings).
        scalar_attention: one weight per frame for all channels instead of one per channel (asp).
        final_norm: batch normalization of the embedding.

    Shape:
        - inputs: (B, n) samples in [-1, 1], at 16 kHz
        - mask: (B, n) boolean, True for valid samples; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: ``channels`` is not a multiple of 8 and of ``res2_scale``, inputs are not (B, n), or an utterance is
            shorter than one frame, which has 251 + 14 * ``sinc_stride`` samples.

    Example:
        >>> net = RawNet3(channels=32, aggregate_channels=48, embedding_dim=16)
        >>> net.frames(torch.zeros(2, 16000))[0].shape, net(torch.zeros(2, 16000)).shape
        (torch.Size([2, 48, 105]), torch.Size([2, 16]))
    """

    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "waveform"
    sample_rate: ClassVar[int | None] = 16000

    def __init__(
        self,
        *,
        channels: int = 1024,
        embedding_dim: int = 256,
        sinc_stride: int = 10,
        res2_scale: int = 8,
        aggregate_channels: int = 1536,
        pooling: PoolingName = "asp",
        attention_channels: int = 128,
        context: bool = True,
        scalar_attention: bool = False,
        final_norm: bool = False,
    ) -> None:
        super().__init__()
        if channels < 8 or channels % 8:
            raise ValueError(f"channels: {channels}: must be a multiple of 8")
        self.embedding_dim = embedding_dim
        self.front = SincFrontEnd(channels // 4, 251, sinc_stride)
        self.blocks = nn.ModuleList(
            [
                RawNetBlock(channels // 4, channels, res2_scale, dilation=2, pool=5),
                RawNetBlock(channels, channels, res2_scale, dilation=3, pool=3),
                RawNetBlock(channels, channels, res2_scale, dilation=4),
            ]
        )
        self.skip = MaxPool(3)
        self.aggregate = nn.Conv1d(3 * channels, aggregate_channels, kernel_size=1)
        if pooling == "asp":
            self.pool = ReLUAttentiveStatsPooling(
                aggregate_channels, attention_channels, context, scalar_attention, variance_range=(1e-4, 1e4)
            )
        else:
            self.pool = build_pooling(pooling, aggregate_channels, attention_channels, context)
        self.embed = nn.Sequential(nn.BatchNorm1d(self.pool.output_dim), nn.Linear(self.pool.output_dim, embedding_dim))
        if final_norm:
            self.embed.append(nn.BatchNorm1d(embedding_dim))

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, aggregate_channels, T'), one per 15 sinc strides, and their mask."""
        if inputs.ndim != 2:
            raise ValueError(f"RawNet3: samples of shape {tuple(inputs.shape)}, expected (B, n)")
        sinc = self.front.sinc
        least = sinc.kernel_size + 14 * sinc.stride
        shortest = inputs.shape[1] if mask is None else int(mask.sum(dim=1).min())
        if shortest < least:
            raise ValueError(f"RawNet3: an utterance of {shortest} samples, at least {least} are needed")
        given = mask
        if mask is not None:
            if shortest == inputs.shape[1]:
                mask = None
            else:
                inputs = inputs.masked_fill(~mask, 0.0)
        frames, mask = self.front(inputs, mask)
        first, mask = self.blocks[0](frames, mask)
        skipped = self.skip(first, mask)[0]
        second, mask = self.blocks[1](first, mask)
        third, mask = self.blocks[2](skipped + second, mask)
        frames = torch.relu(self.aggregate(torch.cat([skipped, second, third], dim=1)))
        if given is not None and mask is None:
            mask = given.new_ones(frames.shape[0], frames.shape[2])
        return frames, mask

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a state dict of clovaai/voxceleb_trainer, of the network alone or together with its loss.

        See :meth:`avsv.nnet.backbone.Backbone.convert_published`.
        """
        own = self.state_dict()
        found = {}
        for key, value in state.items():
            name = _published_name(key.removeprefix("__S__."))
            if name is None or (name.startswith("embed.2.") and len(self.embed) == 2):
                continue
            if name not in own or own[name].shape != value.shape:
                raise ValueError(f"RawNet3: {key} of shape {tuple(value.shape)}: not a weight of this network")
            found[name] = value
        if not found:
            raise ValueError("RawNet3: the file contains no weights of this network")
        missing = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            raise ValueError(f"RawNet3: {', '.join(missing[:3])}{more}: missing from the file")
        return found


_UNUSED = re.compile(r"__L__\.|preprocess\.0\.|conv1\.filterbank\.(window_|n_)$|bn1\.")
_RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^preprocess\.1\.", "front.norm."),
        (r"^conv1\.filterbank\.(low|band)_hz_$", r"front.sinc.\1"),
        (r"^layer4\.", "aggregate."),
        (r"^layer([123])\.", lambda match: f"blocks.{int(match[1]) - 1}."),
        (r"^(blocks\.\d\.)conv1\.", r"\1reduce.conv."),
        (r"^(blocks\.\d\.)bn1\.", r"\1reduce.norm."),
        (r"^(blocks\.\d\.)convs\.(\d+)\.", r"\1res2.convs.\2.conv."),
        (r"^(blocks\.\d\.)bns\.(\d+)\.", r"\1res2.convs.\2.norm."),
        (r"^(blocks\.\d\.)conv3\.", r"\1expand.conv."),
        (r"^(blocks\.\d\.)bn3\.", r"\1expand.norm."),
        (r"^(blocks\.\d\.afms\.)fc\.", r"\1gate."),
        (r"^(blocks\.\d\.)residual\.0\.", r"\1shortcut."),
        (r"^attention\.0\.", "pool.hidden."),
        (r"^attention\.2\.", "pool.norm."),
        (r"^attention\.3\.", "pool.score."),
        (r"^bn5\.", "embed.0."),
        (r"^fc6\.", "embed.1."),
        (r"^bn6\.", "embed.2."),
    )
]


def _published_name(key: str) -> str | None:
    if _UNUSED.match(key):
        return None
    for pattern, replacement in _RENAMED:
        key = pattern.sub(replacement, key)
    return key
