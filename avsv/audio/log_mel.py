"""Log-mel energies of waveforms, as in the fusion study of Claborne et al."""

import torchaudio
from torch import Tensor, nn


class LogMel(nn.Module):
    """Log-mel spectrogram: centered 25 ms Hann windows every 10 ms, 512-point FFT, log(x + 1e-6).

    Source: Claborne et al. 2023, appendix B-C2. Window and floor are not stated there; they are the default of
    torchaudio and the floor of voxceleb_trainer. The result is not normalized: the network stores the mean and standard
    deviation of the training set.

    Args:
        sample_rate: sample rate in Hz.
        bins: number F of mel filters.

    Shape:
        - waveform: (n,) float32 in [-1, 1]
        - output: (1 + n // hop, bins)

    Example:
        >>> import torch
        >>> LogMel()(torch.zeros(24000)).shape
        torch.Size([151, 64])
    """

    def __init__(self, sample_rate: int = 16000, bins: int = 64) -> None:
        super().__init__()
        self.hop = sample_rate // 100
        self.spectrogram = torchaudio.transforms.MelSpectrogram(
            sample_rate,
            n_fft=512 * sample_rate // 16000,
            win_length=sample_rate // 40,
            hop_length=self.hop,
            n_mels=bins,
        )

    def num_frames(self, num_samples: int) -> int:
        """The number of frames of a waveform."""
        return 1 + num_samples // self.hop

    def forward(self, waveform: Tensor) -> Tensor:
        return (self.spectrogram(waveform) + 1e-6).log().T
