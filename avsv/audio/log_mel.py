"""Log-mel energies from waveforms, as the fusion study of Claborne et al. takes them."""

import torchaudio
from torch import Tensor, nn


class LogMel(nn.Module):
    """Log-mel spectrogram: 25 ms Hann windows, 10 ms apart and centred on their time, 512-point FFT, log(x + 1e-6).

    Source: Claborne et al. 2023, appendix B-C2 (window and floor are not stated there: torchaudio's default, and the
    floor of voxceleb_trainer). Not normalised: the network knows the training set's mean and deviation.

    Args:
        sample_rate: in Hz.
        bins: mel filters F.

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
        """Frames of a waveform."""
        return 1 + num_samples // self.hop

    def forward(self, waveform: Tensor) -> Tensor:
        return (self.spectrogram(waveform) + 1e-6).log().T
