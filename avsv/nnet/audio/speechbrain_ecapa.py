"""ECAPA-TDNN with the conventions of SpeechBrain, whose published weights it takes; from the waveform."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.audio.ecapa_tdnn import ConvReLUNorm, Res2Conv, SERes2Block
from avsv.nnet.audio.renaming import renamed
from avsv.nnet.backbone import Backbone
from avsv.nnet.convolution import concatenate, split
from avsv.nnet.normalization import MaskedBatchNorm1d
from avsv.nnet.pooling import AttentiveStatsPooling, valid_frames

SAMPLE_RATE = 16000
WINDOW = 400
HOP = 160
# Decibels: the least energy of a filter, and the range below the largest energy of an utterance.
LEAST_DB = -100.0
RANGE_DB = 80.0


class ReflectedConv(ConvReLUNorm):
    """:class:`ConvReLUNorm` that continues an utterance beyond its ends by its reflection, not by zeros.

    Shape: as :class:`ConvReLUNorm`.

    Example:
        >>> ReflectedConv(80, 512, kernel_size=5)(torch.zeros(2, 80, 100)).shape
        torch.Size([2, 512, 100])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, dilation: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel_size, dilation)
        self.reach = self.conv.padding[0]
        self.conv.padding = (0,)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(reflected(frames, self.reach, mask) if self.reach else frames, mask)


class PassFirstRes2Conv(Res2Conv):
    """:class:`Res2Conv` that passes the first split through unchanged, in place of the last.

    Shape: as :class:`ConvReLUNorm`.

    Example:
        >>> PassFirstRes2Conv(64, scale=8, dilation=2)(torch.zeros(2, 64, 100)).shape
        torch.Size([2, 64, 100])
    """

    convolution: ClassVar[type[ConvReLUNorm]] = ReflectedConv

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        first, *splits = split(frames, self.scale)
        outputs: list[Tensor] = []
        for part, conv in zip(splits, self.convs, strict=True):
            outputs.append(conv(part + outputs[-1] if outputs else part, mask))
        return concatenate([first, *outputs])


class PassFirstBlock(SERes2Block):
    """:class:`avsv.nnet.audio.ecapa_tdnn.SERes2Block` with the convolution of :class:`PassFirstRes2Conv`.

    Shape: as :class:`avsv.nnet.audio.ecapa_tdnn.SERes2Block`.

    Example:
        >>> PassFirstBlock(64, 8, 2, 16)(torch.zeros(2, 64, 100)).shape
        torch.Size([2, 64, 100])
    """

    res2_class: ClassVar[type[Res2Conv]] = PassFirstRes2Conv


class NormalizedStatsPooling(AttentiveStatsPooling):
    """:class:`avsv.nnet.pooling.AttentiveStatsPooling` with ReLU and batch normalization before its tanh.

    Example:
        >>> NormalizedStatsPooling(channels=4, bottleneck=3)(torch.ones(2, 4, 9)).shape
        torch.Size([2, 8])
    """

    least_variance: ClassVar[float] = 1e-12

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__(channels, bottleneck)
        self.norm = MaskedBatchNorm1d(bottleneck)

    def activate(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """The output of the hidden layer (B, bottleneck, T)."""
        return super().activate(self.norm(torch.relu(hidden), mask), mask)


class SpeechBrainECAPA(Backbone):
    """ECAPA-TDNN as SpeechBrain builds and publishes it.

    It differs from :class:`avsv.nnet.audio.ecapa_tdnn.ECAPATDNN`: utterances are reflected at their ends, the first
    split of a Res2 convolution is passed through, and the aggregated frames and the hidden layer of the attention are
    normalized. Its features are its own: 80 triangles, symmetric on the frequency axis, over the power spectrum of
    25 ms Hamming windows every 10 ms, in decibels, at most 80 below the largest of the utterance, less their mean.

    Source: Desplanques et al. 2020, arXiv:2005.07143; conventions of SpeechBrain 1.0 (Ravanelli et al. 2021,
    arXiv:2106.04624).

    Args:
        mel_bins: mel filters.
        channels: channels of the stem and the three blocks.
        embedding_dim: size D of the embedding.
        aggregate_channels: channels of the frames that are pooled.
        se_channels: hidden width of the squeeze and excitation.
        attention_channels: width of the hidden layer of the attention.

    Shape:
        - inputs: (B, n) samples at 16 kHz in [-1, 1]
        - mask: (B, n) boolean, True for valid samples, which come first; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: inputs are not (B, n), or an utterance has no samples.

    Example (the number of parameters of the published network):
        >>> net = SpeechBrainECAPA()
        >>> sum(p.numel() for p in net.parameters())
        20767552
        >>> net.eval()(torch.zeros(1, 16000)).shape
        torch.Size([1, 192])
    """

    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "waveform"
    sample_rate: ClassVar[int | None] = SAMPLE_RATE

    def __init__(
        self,
        *,
        mel_bins: int = 80,
        channels: int = 1024,
        embedding_dim: int = 192,
        aggregate_channels: int = 3072,
        se_channels: int = 128,
        attention_channels: int = 128,
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        # Constants of the code, not weights: they are not saved in checkpoints. The meta device has no values.
        with torch.device("cpu"):
            self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)
            self.register_buffer("filters", mel_filters(mel_bins), persistent=False)
        self.stem = ReflectedConv(mel_bins, channels, kernel_size=5)
        self.blocks = nn.ModuleList(PassFirstBlock(channels, 8, dilation, se_channels) for dilation in (2, 3, 4))
        self.aggregate = ConvReLUNorm(3 * channels, aggregate_channels)
        self.pool = NormalizedStatsPooling(aggregate_channels, attention_channels)
        self.embed = nn.Sequential(nn.BatchNorm1d(self.pool.output_dim), nn.Linear(self.pool.output_dim, embedding_dim))

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, aggregate_channels, T) and their mask; see the base class."""
        if inputs.ndim != 2:
            raise ValueError(f"SpeechBrain's ECAPA-TDNN: samples of shape {tuple(inputs.shape)}, expected (B, n)")
        features, valid = self._features(inputs, mask)
        given, valid = valid, None if valid is None or valid.all() else valid
        frames = self.stem(features, valid)
        outputs = []
        for block in self.blocks:
            frames = block(frames, valid)
            outputs.append(frames)
        return self.aggregate(concatenate(outputs), valid), given

    def _features(self, inputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Filterbank energies (B, F, T) of samples (B, n), and the mask of the frames (B, T)."""
        samples, valid = valid_frames(inputs.unsqueeze(1), mask)
        counts = valid.sum(dim=2) // HOP + 1
        # Half precision is not accurate enough for decibels.
        with torch.autocast(samples.device.type, enabled=False):
            samples = samples.squeeze(1).to(torch.promote_types(samples.dtype, torch.float32))
            spectrum = torch.stft(
                samples, WINDOW, HOP, window=self.window, center=True, pad_mode="constant", return_complex=True
            )
            energies = torch.matmul(self.filters, spectrum.abs().square())
            decibels = 10.0 * energies.clamp(min=10.0 ** (LEAST_DB / 10.0)).log10()
            wanted = (torch.arange(decibels.shape[2], device=inputs.device) < counts).unsqueeze(1)
            largest = decibels.masked_fill(~wanted, LEAST_DB).amax(dim=(1, 2), keepdim=True)
            decibels = decibels.maximum(largest - RANGE_DB).masked_fill(~wanted, 0.0)
            mean = decibels.sum(dim=2, keepdim=True) / counts.unsqueeze(2)
            features = (decibels - mean).masked_fill(~wanted, 0.0)
        return features, None if mask is None else wanted.squeeze(1)

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert SpeechBrain's ``embedding_model.ckpt``; see :class:`avsv.nnet.backbone.Backbone`."""
        # Layers of single vectors are convolutions of width 1 there.
        vectors = (".se_block.", "fc.")
        flat = {
            key: value.squeeze(2) if value.ndim == 3 and any(part in f".{key}" for part in vectors) else value
            for key, value in state.items()
        }
        return renamed(self, flat, _SPEECHBRAIN, "classifier")


def mel_filters(bins: int) -> Tensor:
    """Filters (bins, 201) of SpeechBrain: triangles from a mel center to the one below, and as far above it.

    Example (1 at the center, 0 at the center below):
        >>> filters = mel_filters(80)
        >>> filters.shape, filters.max() <= 1
        (torch.Size([80, 201]), tensor(True))
    """
    top = 2595.0 * math.log10(1.0 + SAMPLE_RATE / 2 / 700.0)
    hertz = 700.0 * (10.0 ** (torch.linspace(0.0, top, bins + 2) / 2595.0) - 1.0)
    center, width = hertz[1:-1, None], hertz.diff()[:-1, None]
    distance = (torch.linspace(0.0, SAMPLE_RATE / 2, WINDOW // 2 + 1) - center).abs() / width
    return (1.0 - distance).clamp(min=0.0)


def reflected(frames: Tensor, reach: int, mask: Tensor | None = None) -> Tensor:
    """Continue utterances by the reflection of their ``reach`` first and last valid frames, without repeating the ends.

    Args:
        frames: (B, C, T).
        reach: number of frames R on each side. An utterance of fewer frames is reflected repeatedly.
        mask: (B, T) boolean, True for valid frames, which come first; None if all are valid.

    Returns:
        (B, C, R + T + R), any values beyond the reflection of shorter utterances.

    Example:
        >>> frames = torch.tensor([[[1.0, 2.0, 3.0, 0.0]]])
        >>> reflected(frames, 2, torch.tensor([[True, True, True, False]])).tolist()
        [[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0, 2.0]]]
    """
    length = frames.shape[2]
    if mask is None and length > reach:
        return functional.pad(frames, (reach, reach), mode="reflect")
    last = torch.full((len(frames), 1), length - 1, device=frames.device) if mask is None else mask.sum(1)[:, None] - 1
    moments = torch.arange(-reach, length + reach, device=frames.device).expand(len(frames), -1)
    # A triangular wave: 0 to the last frame and back.
    period = (2 * last).clamp(min=1)
    phase = moments.remainder(period)
    index = torch.minimum(phase, period - phase).clamp(max=length - 1) * (last > 0)
    return frames.gather(2, index.unsqueeze(1).expand(-1, frames.shape[1], -1))


_SPEECHBRAIN = (
    (r"^blocks\.0\.", "stem."),
    (r"^blocks\.([123])\.", lambda match: f"blocks.{int(match[1]) - 1}."),
    (r"^(blocks\.\d)\.tdnn1\.", r"\1.reduce."),
    (r"^(blocks\.\d)\.tdnn2\.", r"\1.expand."),
    (r"^(blocks\.\d)\.res2net_block\.blocks\.", r"\1.res2.convs."),
    (r"^(blocks\.\d)\.se_block\.conv1\.conv\.", r"\1.se.squeeze."),
    (r"^(blocks\.\d)\.se_block\.conv2\.conv\.", r"\1.se.excite."),
    (r"^mfa\.", "aggregate."),
    (r"^asp\.tdnn\.conv\.conv\.", "pool.hidden."),
    (r"^asp\.tdnn\.norm\.norm\.", "pool.norm."),
    (r"^asp\.conv\.conv\.", "pool.score."),
    (r"^asp_bn\.norm\.", "embed.0."),
    (r"^fc\.conv\.", "embed.1."),
    (r"\.conv\.conv\.", ".conv."),
    (r"\.norm\.norm\.", ".norm."),
)
