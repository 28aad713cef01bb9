"""The d-vector network of GE2E: LSTM layers over partial utterances of a mel spectrogram."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.backbone import Backbone
from avsv.nnet.normalization import UnitLength
from avsv.nnet.pooling import PoolingName, build_pooling, valid_frames

SAMPLE_RATE = 16000
HOP = 160
# Frames of a partial utterance (1.6 s), and from the start of one to the start of the next (1.3 begin in a second).
PARTIAL_FRAMES = 160
STEP_FRAMES = 77
# A last partial utterance counts if at least this share of it is speech of the utterance; the rest is silence.
MIN_COVERAGE = 0.75
# Quiet utterances are amplified to this level, relative to full scale; loud ones stay as they are.
LEVEL_DB = -30.0
# In evaluation, the partial utterances of long recordings go through the LSTM layers in pieces of this number.
PIECE = 256


def count_partials(samples: Tensor) -> Tensor:
    """The number of partial utterances of utterances with these numbers of samples.

    Example:
        >>> count_partials(torch.tensor([400, 25600, 30000, 36000, 160000])).tolist()
        [1, 1, 1, 2, 12]
    """
    frames = samples // HOP + 1
    starts = (frames - PARTIAL_FRAMES + STEP_FRAMES).clamp(min=0) // STEP_FRAMES + 1
    begin = (starts - 1) * STEP_FRAMES * HOP
    covered = (samples - begin) / (PARTIAL_FRAMES * HOP)
    return torch.where((covered < MIN_COVERAGE) & (starts > 1), starts - 1, starts)


class DVector(Backbone):
    """The d-vector network of GE2E: LSTM layers over the mel spectrogram of partial utterances.

    An utterance is amplified to -30 dB if it is quieter. Its mel spectrogram (25 ms windows every 10 ms, power, the mel
    scale of Slaney, no logarithm) is cut into partial utterances of 1.6 s, one every 0.77 s; what is missing at the end
    is silence. The last state of the last LSTM layer goes through a linear layer and ReLU and is scaled to length 1;
    the embedding is the mean of these over the partial utterances, scaled to length 1.

    Source: Wan et al. 2018, arXiv:1710.10467 (GE2E), with the sizes and the input of the package resemblyzer, whose
    ``pretrained.pt`` is the published file. That package also has a function that cuts out long silences
    (``preprocess_wav``); this network hears utterances as they are.

    Args:
        mel_bins: mel filters.
        channels: size of the state of an LSTM layer.
        layers: LSTM layers.
        embedding_dim: size D of the embedding.
        pooling: over the partial utterances; see :func:`avsv.nnet.pooling.build_pooling`.
        attention_channels: width of the hidden layer of the attention (asp, we_asp, we_asp_literal).
        context: the attention also receives the mean and standard deviation (asp, we_asp, we_asp_literal).

    Shape:
        - inputs: (B, n) samples at 16 kHz in [-1, 1]
        - mask: (B, n) boolean, True for valid samples, which come first; None if all are valid
        - output: (B, D), rows of length 1; (B, 2 * D) with a pooling that adds the deviation

    Raises:
        ValueError: inputs are not (B, n), or an utterance has no samples.

    Example:
        >>> net = DVector()
        >>> net.frames(torch.zeros(1, 48000))[0].shape, net(torch.zeros(1, 48000)).shape
        (torch.Size([1, 256, 3]), torch.Size([1, 256]))
        >>> sum(p.numel() for p in net.parameters())
        1423616
    """

    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "waveform"
    sample_rate: ClassVar[int | None] = SAMPLE_RATE

    def __init__(
        self,
        *,
        mel_bins: int = 40,
        channels: int = 256,
        layers: int = 3,
        embedding_dim: int = 256,
        pooling: PoolingName = "tap",
        attention_channels: int = 128,
        context: bool = True,
    ) -> None:
        super().__init__()
        # Its filters are computed from values, which the meta device does not have.
        with torch.device("cpu"):
            self.mel = torchaudio.transforms.MelSpectrogram(
                SAMPLE_RATE,
                n_fft=400,
                hop_length=HOP,
                n_mels=mel_bins,
                pad_mode="constant",
                norm="slaney",
                mel_scale="slaney",
            )
        # Constants of the code, not weights: they are not saved in checkpoints.
        for module in self.mel.modules():
            module._non_persistent_buffers_set.update(module._buffers)
        self.lstm = nn.LSTM(mel_bins, channels, layers, batch_first=True)
        self.linear = nn.Linear(channels, embedding_dim)
        self.unit = UnitLength()
        self.pool = build_pooling(pooling, embedding_dim, attention_channels, context)
        self.embed = UnitLength()
        self.embedding_dim = self.pool.output_dim

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Embeddings of the partial utterances (B, D, W) and their mask; see the base class."""
        if inputs.ndim != 2:
            raise ValueError(f"DVector: samples of shape {tuple(inputs.shape)}, expected (B, n)")
        samples, valid = valid_frames(inputs.unsqueeze(1), mask)
        samples, valid = samples.squeeze(1), valid.squeeze(1).expand(len(inputs), -1)
        lengths = valid.sum(dim=1)
        counts = count_partials(lengths)
        number = int(counts.max())
        # Half precision is not accurate enough for a spectrum without logarithm.
        with torch.autocast(samples.device.type, enabled=False):
            samples = _amplified(samples.to(torch.promote_types(samples.dtype, torch.float32)), lengths)
            end = ((number - 1) * STEP_FRAMES + PARTIAL_FRAMES) * HOP
            mel = self.mel(functional.pad(samples, (0, max(0, end - samples.shape[1]))))
            partials = mel[:, :, : end // HOP].unfold(2, PARTIAL_FRAMES, STEP_FRAMES).permute(0, 2, 3, 1)
            wanted = torch.arange(number, device=inputs.device) < counts.unsqueeze(1)
            # Nor do all processors have LSTM layers in half precision.
            found = self._partials(partials[wanted])
        frames = found.new_zeros(len(inputs), number, found.shape[1])
        frames[wanted] = found
        return frames.transpose(1, 2), None if mask is None else wanted

    def _partials(self, mel: Tensor) -> Tensor:
        """Embeddings (N, D) of partial utterances (N, T, F)."""
        pieces = [mel] if self.training else mel.split(PIECE)
        return torch.cat([self.unit(self.linear(self.lstm(piece)[0][:, -1]).relu()) for piece in pieces])

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert the state dict of resemblyzer; see :meth:`avsv.nnet.backbone.Backbone.convert_published`."""
        own = {key: value for key, value in self.state_dict().items() if key.startswith(("lstm.", "linear."))}
        found = {key: value for key, value in state.items() if not key.startswith("similarity_")}
        for key, value in own.items():
            if key not in found:
                raise ValueError(f"published weights of DVector: {key}: missing")
            if found[key].shape != value.shape:
                raise ValueError(
                    f"published weights of DVector: {key} has shape {tuple(found[key].shape)}, expected"
                    f" {tuple(value.shape)}"
                )
        unknown = [key for key in found if key not in own]
        if unknown:
            raise ValueError(f"published weights of DVector: {unknown[0]}: not part of this network")
        return found


def _amplified(samples: Tensor, lengths: Tensor) -> Tensor:
    """Samples (B, n) with a mean power of at least ``LEVEL_DB`` over their first ``lengths`` samples; silence stays."""
    power = samples.square().sum(dim=1) / lengths
    level = 10.0 ** (LEVEL_DB / 20.0)
    gain = (level * power.clamp(min=torch.finfo(power.dtype).tiny).rsqrt()).clamp(min=1.0)
    return samples * torch.where(power > 0, gain, 1.0).unsqueeze(1)
