"""A published ONNX graph as an audio network."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torchaudio
from torch import Tensor, nn

from avsv.nnet.backbone import Backbone
from avsv.nnet.onnx_graph import OnnxGraph
from avsv.nnet.pooling import build_pooling, valid_frames

SAMPLE_RATE = 16000
# Samples in the window of a feature frame (25 ms); a frame begins every 10 ms.
WINDOW = 400


class AudioONNX(Backbone):
    """Speaker embeddings by a published ONNX graph.

    The graph is named in the section ``pretrained`` as a file ``.onnx`` and stays as it is: it is not trained, and runs
    on the CPU through onnxruntime. Its options are its input convention: Kaldi's Fbank features, computed here from the
    waveform without dither, or the waveform itself. The defaults are those of WeSpeaker; 3D-Speaker's graphs need
    ``window: povey`` and ``amplitude: 1``. Utterances of different lengths are embedded one after the other.

    Args:
        embedding_dim: size D of the graph's output.
        features: input of the graph.
        num_mel_bins: mel filters.
        window: of a frame.
        amplitude: what a sample of 1.0 is multiplied by before the features are computed; 32768 for 16-bit integers.
        low_freq: lower edge of the first filter in Hz.
        high_freq: upper edge of the last filter in Hz; 0 means 8000, and a negative number is added to that.
        mean_normalize: subtract the mean of every bin over the utterance.
        layout: order of the axes: btf (batch, frames, bins) or bft.

    Shape:
        - inputs: (B, n) samples at 16 kHz in [-1, 1], at least 400 (25 ms)
        - mask: (B, n) boolean, True for valid samples, which come first; None if all are valid
        - output: (B, D)

    Raises:
        DataError: see :class:`avsv.nnet.onnx_graph.OnnxGraph`.
        ValueError: inputs are not (B, n), or an utterance is too short.

    Example:
        >>> net = AudioONNX(embedding_dim=192)
        >>> net.embedding_dim, net.features(torch.zeros(1, 16000)).shape, list(net.state_dict())
        (192, torch.Size([1, 98, 80]), ['graph._extra_state'])
    """

    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "waveform"
    sample_rate: ClassVar[int | None] = SAMPLE_RATE

    def __init__(
        self,
        *,
        embedding_dim: int = 256,
        features: Literal["fbank", "waveform"] = "fbank",
        num_mel_bins: int = 80,
        window: Literal["hamming", "hanning", "povey"] = "hamming",
        amplitude: float = 32768.0,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        mean_normalize: bool = True,
        layout: Literal["btf", "bft"] = "btf",
    ) -> None:
        super().__init__()
        self.graph = OnnxGraph(embedding_dim)
        self.takes_waveform = features == "waveform"
        self.options = {
            "num_mel_bins": num_mel_bins,
            "window_type": window,
            "low_freq": low_freq,
            "high_freq": high_freq,
            "sample_frequency": float(SAMPLE_RATE),
            "dither": 0.0,
        }
        self.amplitude, self.mean_normalize, self.layout = amplitude, mean_normalize, layout
        # The graph pools over time itself: its embedding is the only frame.
        self.pool = build_pooling("tap", embedding_dim, 1, context=False)
        self.embed = nn.Identity()
        self.embedding_dim = embedding_dim

    def features(self, samples: Tensor) -> Tensor:
        """The input of the graph for utterances (N, n) of one length."""
        if self.takes_waveform:
            return samples
        frames = torch.stack(
            [torchaudio.compliance.kaldi.fbank(one[None] * self.amplitude, **self.options) for one in samples]
        )
        if self.mean_normalize:
            frames = frames - frames.mean(dim=1, keepdim=True)
        return frames.transpose(1, 2) if self.layout == "bft" else frames

    @torch.no_grad()
    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Embeddings as the only frame (B, D, 1), and its mask; see the base class."""
        if inputs.ndim != 2:
            raise ValueError(f"AudioONNX: samples of shape {tuple(inputs.shape)}, expected (B, n)")
        samples, valid = valid_frames(inputs.float().unsqueeze(1), mask)
        lengths = valid.squeeze(1).expand(len(inputs), -1).sum(dim=1)
        if int(lengths.min()) < WINDOW:
            raise ValueError(f"AudioONNX: an utterance of {int(lengths.min())} samples, at least {WINDOW} are needed")
        found = inputs.new_zeros(len(inputs), self.embedding_dim, dtype=torch.float32)
        for length in lengths.unique().tolist():
            rows = lengths == length
            found[rows] = self.graph(self.features(samples[rows, 0, :length]))
        return found.unsqueeze(2), None if mask is None else mask.new_ones(len(inputs), 1)

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take an ONNX graph; see :meth:`avsv.nnet.backbone.Backbone.convert_published`."""
        probe = self.features(torch.sin(torch.arange(2.0 * SAMPLE_RATE) / 10)[None] / 10)
        return {"graph._extra_state": self.graph.read(state, probe)}
