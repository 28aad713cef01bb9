"""Self-supervised speech networks (HuBERT, WavLM) with an ECAPA-TDNN on their hidden states."""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model

from avsv.nnet.audio.ecapa_tdnn import ECAPATDNN
from avsv.nnet.pooling import valid_frames

# Samples in the first frame, at 16 kHz; a frame begins every 320 samples (20 ms).
FIRST_FRAME = 400

_CONVOLUTIONS = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]

_SIZES = {"base": (12, 768), "large": (24, 1024)}


def build_upstream(
    name: Literal["hubert_base", "hubert_large", "wavlm_base_plus", "wavlm_large"],
    layers: int | None = None,
    width: int | None = None,
) -> Wav2Vec2Model:
    """Build a network of torchaudio with one of four published architectures and random weights.

    Dropout is that of the published pretraining, but layers are never dropped: all hidden states are needed, and in
    distributed training every weight must be used in every step.

    Source: Hsu et al. 2021 (HuBERT), arXiv:2106.07447, table 1; Chen et al. 2022 (WavLM), arXiv:2110.13900, section
    IV-B. WavLM Base+ is WavLM Base trained on more data.

    Args:
        name: name of the architecture.
        layers: layers of the transformer; None for the published number.
        width: width of the transformer, and largest width of the convolutions before it; None for the published one.

    Raises:
        ValueError: ``layers`` or ``width`` is out of range.

    Example:
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in build_upstream("wavlm_base_plus").parameters())
        94381168
    """
    family, size = name.split("_")[:2]
    default_layers, default_width = _SIZES[size]
    layers = default_layers if layers is None else layers
    width = default_width if width is None else width
    if layers < 1:
        raise ValueError(f"layers: {layers}: must be at least 1")
    # Heads have width 64, and the positional convolution has 16 groups.
    if width < 16 or width % (64 if width > 64 else 16):
        raise ValueError(f"width: {width}: must be 16, 32, 48 or a multiple of 64")
    dropout = 0.0 if name == "hubert_large" else 0.1
    options = {
        "extractor_mode": "layer_norm" if size == "large" else "group_norm",
        "extractor_conv_layer_config": [(min(512, width), *kernel_stride) for kernel_stride in _CONVOLUTIONS],
        "extractor_conv_bias": False,
        "encoder_embed_dim": width,
        "encoder_projection_dropout": dropout,
        "encoder_pos_conv_kernel": 128,
        "encoder_pos_conv_groups": 16,
        "encoder_num_layers": layers,
        "encoder_num_heads": max(1, width // 64),
        "encoder_attention_dropout": dropout,
        "encoder_ff_interm_features": 4 * width,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": dropout,
        "encoder_layer_norm_first": size == "large",
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }
    if family == "hubert":
        return wav2vec2_model(**options)
    return wavlm_model(**options, encoder_num_buckets=320, encoder_max_distance=800)


def normalize_over_time(frames: Tensor, mask: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Normalize every channel of every utterance to mean 0 and variance 1 over valid frames; padding becomes 0.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, C, T), in at least float32

    Raises:
        ValueError: an utterance has no valid frame.

    Example:
        >>> frames, mask = torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[True, True, False]])
        >>> [round(x, 4) for x in normalize_over_time(frames, mask).flatten().tolist()]
        [-1.0, 1.0, 0.0]
    """
    frames, valid = valid_frames(frames, mask)
    count = valid.sum(dim=2, keepdim=True)
    centered = frames - frames.sum(dim=2, keepdim=True) / count
    if mask is not None:
        centered = centered.masked_fill(~valid, 0.0)
    return centered * (centered.square().sum(dim=2, keepdim=True) / count + eps).rsqrt()


class SSLECAPA(ECAPATDNN):
    """ECAPA-TDNN speaker embeddings from all hidden states of HuBERT or WavLM, frozen or fine-tuned.

    The hidden states are the input of the first transformer layer and the output of every layer, 13 in the Base and 25
    in the Large networks (the last one after the final layer normalization). A learned softmax mixes them, each channel
    of the mix is normalized over time and passed to an :class:`~avsv.nnet.audio.ecapa_tdnn.ECAPATDNN` without context.
    The Large networks expect waveforms with mean 0 and variance 1.

    Source: Chen et al. 2022 (WavLM), arXiv:2110.13900, section V-C, and the speaker verification code of UniSpeech; the
    rows of self-supervised networks in Sun et al. 2023, table 1. The 1e-6 that this code adds to the mix is omitted,
    since the normalization over time removes it.

    Padding does not change an embedding: unlike in the original networks, waveform normalization, the group
    normalization of the Base networks, positional convolution and attention use valid samples only.

    Args:
        upstream: the self-supervised network. Its weights are random until published ones are loaded.
        freeze: do not train the self-supervised network: no gradients, and no dropout in training either.
        layers: transformer layers; None for the published number.
        width: width of the transformer; None for 768 (Base) or 1024 (Large), otherwise 16, 32, 48 or a multiple of 64.
        channels: channels of the ECAPA-TDNN.
        aggregate_channels: channels of the frames that are pooled.
        embedding_dim: size D of the embedding.

    Shape:
        - inputs: (B, n) samples at 16 kHz in [-1, 1], at least 400 (25 ms)
        - mask: (B, n) boolean, True for valid samples, which come first; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: ``layers`` or ``width`` is out of range, inputs are not (B, n), or an utterance is too short.

    Example:
        >>> net = SSLECAPA(layers=2, width=32, channels=16, aggregate_channels=32)
        >>> net.frames(torch.zeros(1, 16000))[0].shape, net.eval()(torch.zeros(1, 16000)).shape
        (torch.Size([1, 32, 49]), torch.Size([1, 256]))
        >>> with torch.device("meta"):
        ...     sum(p.numel() for p in SSLECAPA(upstream="wavlm_large").parameters() if p.requires_grad)
        8410841
    """

    takes: ClassVar[Literal["fbank", "waveform", "log_mel"]] = "waveform"
    sample_rate: ClassVar[int | None] = 16000

    def __init__(
        self,
        *,
        upstream: Literal["hubert_base", "hubert_large", "wavlm_base_plus", "wavlm_large"] = "hubert_base",
        freeze: bool = True,
        layers: int | None = None,
        width: int | None = None,
        channels: int = 512,
        aggregate_channels: int = 1536,
        embedding_dim: int = 256,
    ) -> None:
        network = build_upstream(upstream, layers, width)
        super().__init__(
            feature_dim=network.encoder.feature_projection.projection.out_features,
            channels=channels,
            aggregate_channels=aggregate_channels,
            embedding_dim=embedding_dim,
            context=False,
        )
        self.freeze = freeze
        self.is_wavlm = upstream.startswith("wavlm")
        self.is_large = upstream.endswith("large")
        self.upstream = network.requires_grad_(not freeze)
        self.layer_weights = nn.Parameter(torch.zeros(len(network.encoder.transformer.layers) + 1))
        self.train()

    def train(self, mode: bool = True) -> "SSLECAPA":
        """Set training or evaluation mode; a frozen network stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.freeze:
            self.upstream.eval()
        return self

    def hidden_states(self, samples: Tensor, mask: Tensor | None = None) -> tuple[list[Tensor], Tensor | None]:
        """The hidden states, each (B, T, width), and their mask (B, T) or None if all frames are valid.

        Args:
            samples: (B, n).
            mask: (B, n) boolean, True for valid samples, which come first; None if all are valid.
        """
        if samples.ndim != 2:
            raise ValueError(f"SSLECAPA: samples of shape {tuple(samples.shape)}, expected (B, n)")
        if mask is not None and mask.all():
            mask = None
        shortest = samples.shape[1] if mask is None else int(mask.sum(dim=1).min())
        if shortest < FIRST_FRAME:
            raise ValueError(f"SSLECAPA: an utterance of {shortest} samples, at least {FIRST_FRAME} are needed")

        if self.is_large:
            samples = normalize_over_time(samples.unsqueeze(1), mask).squeeze(1)
        elif mask is not None:
            samples = samples.masked_fill(~mask, 0.0)
        frames, mask = self._convolve(samples, mask)
        encoder = self.upstream.encoder
        frames = encoder.feature_projection(frames)
        allowed = padding = None
        if mask is not None:
            frames = frames.masked_fill(~mask.unsqueeze(2), 0.0)
            # HuBERT layers take a mask (frames, frames), WavLM layers a term that is added to the attention logits.
            if self.is_wavlm:
                weight = encoder.feature_projection.projection.weight
                padding = weight.new_zeros(mask.shape).masked_fill(~mask, float("-inf"))
            else:
                allowed = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)

        transformer = encoder.transformer
        frames = frames + transformer.pos_conv_embed(frames)
        if not self.is_large:
            frames = transformer.layer_norm(frames)
        states, position_bias = [transformer.dropout(frames)], None
        for layer in transformer.layers:
            frames, position_bias = layer(states[-1], allowed, position_bias, padding)
            states.append(frames)
        if self.is_large:
            states[-1] = transformer.layer_norm(states[-1])
        return states, mask

    def _convolve(self, samples: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The convolutional front end: (B, n) and (B, n) to (B, T, C) and (B, T)."""
        extractor = self.upstream.feature_extractor
        if mask is None:
            return extractor(samples, None)
        frames, lengths = samples.unsqueeze(1), mask.sum(dim=1)
        blocks = list(extractor.conv_layers)
        if not self.is_large:
            # Group normalization with one group per channel normalizes over time; that of torchaudio ignores padding.
            first = blocks.pop(0)
            frames, norm = first.conv(frames), first.layer_norm
            lengths = (lengths - first.kernel_size) // first.stride + 1
            frames = normalize_over_time(frames, _first_frames(lengths, frames.shape[2]), norm.eps)
            frames = functional.gelu(frames * norm.weight.unsqueeze(1) + norm.bias.unsqueeze(1))
        for block in blocks:
            frames, lengths = block(frames, lengths)
        return frames.transpose(1, 2), _first_frames(lengths, frames.shape[2])

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, aggregate_channels, T), one frame every 20 ms, and their mask."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            states, valid = self.hidden_states(inputs, mask)
        shares = self.layer_weights.softmax(dim=0)
        kind = torch.promote_types(states[0].dtype, torch.float32)
        mixed = sum(share * state.to(kind) for share, state in zip(shares, states, strict=True))
        frames, valid = super().frames(normalize_over_time(mixed.transpose(1, 2), valid).transpose(1, 2), valid)
        if mask is not None and valid is None:
            valid = mask.new_ones(frames.shape[0], frames.shape[2])
        return frames, valid

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a state dict of the self-supervised network in the form of torchaudio or Hugging Face.

        See :meth:`avsv.nnet.backbone.Backbone.convert_published`.
        """
        own, renamed = self.upstream.state_dict(), {}
        for key, value in state.items():
            for pattern, replacement in _RENAMED:
                key = pattern.sub(replacement, key)
            if not _UNNEEDED.match(key):
                renamed[key] = value
        if self.is_wavlm:
            _join_projections(renamed)

        problems = [f"{key} is missing" for key in own if key not in renamed]
        problems += [f"{key} does not belong to this network" for key in renamed if key not in own]
        problems += [
            f"{key} has shape {tuple(value.shape)}, expected {tuple(own[key].shape)}"
            for key, value in renamed.items()
            if key in own and value.shape != own[key].shape
        ]
        if problems:
            more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
            raise ValueError(f"published weights of SSLECAPA: {', '.join(problems[:3])}{more}")
        return {f"upstream.{key}": value for key, value in renamed.items()}


_UNNEEDED = re.compile(r"(masked_spec_embed$|aux\.|lm_head\.)")
_RENAMED = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^(hubert|wavlm)\.", ""),
        (r"^feature_projection\.", "encoder.feature_projection."),
        (r"^encoder\.(pos_conv_embed|layer_norm|layers)\.", r"encoder.transformer.\1."),
        # The names of weight normalization before PyTorch 2.0, which the files of torchaudio use.
        (r"\.pos_conv_embed\.conv\.weight_g$", ".pos_conv_embed.conv.parametrizations.weight.original0"),
        (r"\.pos_conv_embed\.conv\.weight_v$", ".pos_conv_embed.conv.parametrizations.weight.original1"),
    )
]


def _join_projections(state: dict[str, Tensor]) -> None:
    """Join the three input projections of WavLM's attention in Hugging Face's form into the one of torchaudio."""
    for key in [key for key in state if key.endswith(".attention.q_proj.weight")]:
        layer = key.removesuffix("q_proj.weight")
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{layer}{name}_proj.{kind}", torch.empty(0)) for name in "qkv"]
            state[f"{layer}attention.in_proj_{kind}"] = torch.cat(parts)
            if f"{layer}out_proj.{kind}" in state:
                state[f"{layer}attention.out_proj.{kind}"] = state.pop(f"{layer}out_proj.{kind}")


def _first_frames(lengths: Tensor, count: int) -> Tensor:
    """A mask (B, count) in which the first ``lengths`` frames are valid."""
    return torch.arange(count, device=lengths.device) < lengths.unsqueeze(1)
