"""Log-mel filterbanks."""

import torch
from torch import Tensor, nn

from avsv.audio.config import FbankConfig
from avsv.errors import DataError

# Frames whose spectra are computed at a time: bounds the memory for hour-long recordings and stays in the cache.
_BLOCK = 1024


class Fbank(nn.Module):
    """Log-mel filterbank energies of waveforms in [-1, 1], as Kaldi computes them.

    Equal to ``torchaudio.compliance.kaldi.fbank`` with ``use_energy=False`` on the waveform times 2^15, but filters and
    window are computed only once. Mean removal and pre-emphasis are linear, so they are applied to the waveform before
    it is split into overlapping frames, which saves most of the work. The edges of the filters are equally spaced on
    the mel scale 1127 ln(1 + f / 700), and energies are floored at the float32 epsilon.

    Args:
        **conf: the fields of :class:`avsv.audio.config.FbankConfig` (those for reading audio are not used here).

    Shape:
        - waveform: (n,) or (B, n), float
        - noise: as waveform; normally distributed, to be scaled to ``dither`` 16-bit steps; None for none
        - output: (T, F) or (B, T, F) float32 with T = 1 + floor((n - window) / shift)

    Raises:
        TypeError, ValueError: unknown settings, or values outside their range.
        DataError: a waveform shorter than one frame.

    Example:
        >>> fbank = Fbank(num_mel_bins=80)
        >>> time = torch.arange(32000) / 16000
        >>> features = fbank(0.5 * torch.sin(2 * torch.pi * 1000 * time))
        >>> tuple(features.shape), int(features[100].argmax())
        ((198, 80), 27)
    """

    def __init__(self, **conf) -> None:
        super().__init__()
        self.config = FbankConfig(**conf)
        self._padded = self.config.fft_size
        window = _window(self.config.window, self.config.window_samples)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("filters", mel_filters(self.config).float(), persistent=False)

    def forward(self, waveform: Tensor, noise: Tensor | None = None) -> Tensor:
        config = self.config
        frames = config.num_frames(waveform.shape[-1])
        if frames == 0:
            raise DataError(f"{waveform.shape[-1]} samples: shorter than one frame ({config.window_samples})")
        batch = waveform.float().reshape(-1, waveform.shape[-1]) * 32768.0
        if noise is not None:
            batch = batch.add_(noise.reshape(batch.shape), alpha=config.dither)
        # The mean of each frame is removed anyway, but before that a large offset would cost precision. Subtracting a
        # whole number of 16-bit steps from 16-bit audio does not round.
        batch = batch - batch.mean(dim=1, keepdim=True).round_()
        shift, size = config.shift_samples, config.window_samples
        features = batch.new_empty(len(batch), frames, config.num_mel_bins)
        # A GPU computes a batch at once, a processor as much of it as stays in the cache.
        at_a_time = len(batch) if batch.is_cuda else max(1, _BLOCK // frames)
        for rows, result in zip(batch.split(at_a_time), features.split(at_a_time), strict=True):
            for first in range(0, frames, _BLOCK):
                last = min(first + _BLOCK, frames)
                result[:, first:last] = self._block(rows[:, first * shift : (last - 1) * shift + size])
        return features.reshape(*waveform.shape[:-1], frames, config.num_mel_bins)

    def _block(self, batch: Tensor) -> Tensor:
        size, shift, emphasis = self.config.window_samples, self.config.shift_samples, self.config.preemphasis
        framed = batch.unfold(1, size, shift)
        mean = framed.mean(dim=2, keepdim=True)
        emphasised = batch.clone()
        emphasised[:, 1:].sub_(batch[:, :-1], alpha=emphasis)
        padded = batch.new_zeros(*framed.shape[:2], self._padded)
        frames = padded[:, :, :size]
        torch.sub(emphasised.unfold(1, size, shift), mean, alpha=1 - emphasis, out=frames)
        # In Kaldi, the predecessor of the first sample of a frame is that sample itself.
        frames[:, :, 0] = (framed[:, :, 0] - mean[:, :, 0]) * (1 - emphasis)
        frames *= self.window
        spectrum = torch.view_as_real(torch.fft.rfft(padded))
        power = spectrum[..., 0].square().addcmul_(spectrum[..., 1], spectrum[..., 1])
        return (power @ self.filters).clamp_(min=torch.finfo(torch.float32).eps).log_()


def _window(name: str, size: int) -> Tensor:
    if name == "hamming":
        return torch.hamming_window(size, periodic=False, dtype=torch.float64)
    hann = torch.hann_window(size, periodic=False, dtype=torch.float64)
    return hann if name == "hanning" else hann.pow(0.85)


def mel_filters(config: FbankConfig) -> Tensor:
    """Triangular filters on the mel scale: (fft_size / 2 + 1, F) float64; the Nyquist bin has weight 0, as in Kaldi."""

    def mel(frequency: Tensor | float) -> Tensor:
        return 1127.0 * torch.log1p(torch.as_tensor(frequency, dtype=torch.float64) / 700.0)

    fft_size = config.fft_size
    edges = torch.linspace(
        mel(config.low_freq).item(), mel(config.top_freq).item(), config.num_mel_bins + 2, dtype=torch.float64
    )
    bins = mel(torch.arange(fft_size // 2, dtype=torch.float64) * config.sample_rate / fft_size).unsqueeze(1)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return nn.functional.pad(torch.minimum(rising, falling).clamp(min=0), (0, 0, 0, 1))


def mean_normalize(features: Tensor, mask: Tensor | None = None) -> Tensor:
    """Subtract the mean of each bin over the valid frames of its utterance; invalid frames become 0, the mean.

    Args:
        features: (T, F) or (B, T, F).
        mask: (T,) or (B, T) boolean, True for valid frames; None if all frames are valid.

    Raises:
        ValueError: an utterance has no valid frame.

    Example:
        >>> mean_normalize(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([True, True, False])).flatten().tolist()
        [-1.0, 1.0, 0.0]
    """
    if mask is None:
        return features - features.mean(dim=-2, keepdim=True)
    if not mask.any(dim=-1).all():
        raise ValueError("mean normalization: an utterance has no valid frame")
    valid = mask.unsqueeze(-1)
    count = valid.sum(dim=-2, keepdim=True)
    mean = features.masked_fill(~valid, 0).sum(dim=-2, keepdim=True) / count
    return (features - mean).masked_fill(~valid, 0)
