"""Windows of waveforms, whose features are computed for a whole training batch at a time, on its device."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avsv.audio.config import FbankConfig
from avsv.audio.fbank import Fbank
from avsv.data.padding import pad

# White noise is drawn once, and each clip adds a window of it that begins at one of so many places.
_NOISE_PLACES = 1 << 20


@dataclass(frozen=True)
class WaveformWindows:
    """The waveforms of a training batch, from which its Fbank features are computed.

    Args:
        form: settings of the features.
        samples: (B, n) float32 in [-1, 1], 0 after the end of a waveform.
        mask: (B, T) boolean, True for the feature frames that a waveform has.
        noise: (B,) int64, a number that decides where the noise of the dither begins.

    Example:
        >>> windows = WaveformWindows.of([torch.zeros(31920), None], [7, 8], FbankConfig(), 198)
        >>> tuple(windows.features().shape), windows.mask.sum(dim=1).tolist()
        ((2, 198, 80), [198, 0])
    """

    form: FbankConfig
    samples: Tensor
    mask: Tensor
    noise: Tensor

    @classmethod
    def of(
        cls, waveforms: Sequence[Tensor | None], noise: Sequence[int], form: FbankConfig, frames: int
    ) -> "WaveformWindows":
        """The windows of waveforms (n,), at most as long as ``frames`` feature frames; None for a missing one."""
        size = (frames - 1) * form.shift_samples + form.window_samples
        counts = torch.tensor([0 if waveform is None else form.num_frames(len(waveform)) for waveform in waveforms])
        return cls(
            form,
            pad(waveforms, size, (), torch.tensor(0.0))[0],
            torch.arange(frames) < counts[:, None],
            torch.tensor(noise, dtype=torch.int64),
        )

    def map_tensors(self, function: Callable) -> "WaveformWindows":
        """The same windows with every tensor replaced by a function of it."""
        changed = {name: function(getattr(self, name)) for name in ("samples", "mask", "noise")}
        return replace(self, **changed)

    def features(self) -> Tensor:
        """(B, T, F) Fbank features with dither, mean-normalized over the frames of each waveform, 0 elsewhere."""
        size, noise = self.samples.shape[1], None
        if self.form.dither > 0:
            noise = _noise(size, self.samples.device).unfold(0, size, 1)[self.noise % _NOISE_PLACES]
        features = _fbank(self.form, self.samples.device)(self.samples, noise)
        valid = self.mask.to(features.dtype).unsqueeze(1)
        means = (valid / valid.sum(dim=2, keepdim=True).clamp_(min=1)) @ features
        return features.sub_(means).mul_(valid.transpose(1, 2))


@functools.lru_cache
def _fbank(form: FbankConfig, device: torch.device) -> Fbank:
    return Fbank(**form.to_dict()).to(device)


@functools.lru_cache
def _noise(size: int, device: torch.device) -> Tensor:
    """White noise, the same on every device, with _NOISE_PLACES windows of ``size`` samples."""
    return torch.randn(_NOISE_PLACES + size - 1, generator=torch.Generator().manual_seed(0)).to(device)
