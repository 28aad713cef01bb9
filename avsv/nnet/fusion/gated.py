"""Gated multimodal fusion."""

import torch
from torch import Tensor, nn

from avsv.nnet.fusion.base import (
    Fusion,
    Start,
    check_present,
    start_as_averaging,
    unit,
    weight_figures,
)
from avsv.nnet.normalization import RowBatchNorm


class GatedFusion(Fusion):
    """Gated multimodal fusion (GMF): a gate mixes the two embeddings in each dimension, z tanh(a') + (1 - z) tanh(v').

    Source: Arevalo et al. 2017, arXiv:1702.01992, the bimodal gated unit; Chen et al. 2020, "Multi-modality matters: a
    performance leap on VoxCeleb", uses it for voice and face. The two-layer gate, 128 wide, is that of Saeed et al.
    2022, arXiv:2112.10483. Embeddings are scaled to length 1 first.

    If a modality is missing, the gate is not used: the weight of the other one is exactly 1 in every dimension, and the
    row is excluded from the statistics of the gate's batch normalization.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        gate_hidden: width of the hidden layer of the gate, with batch normalization and ReLU; None for a linear gate.
        start: see :data:`avsv.nnet.fusion.base.Start`.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether audio and video are present; None if both always are
        - output: (B, dim), in (-1, 1)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> sum(p.numel() for p in GatedFusion(192, 512).parameters())
        722432
        >>> GatedFusion(8, 8, dim=4, gate_hidden=2).gate
        Sequential(
          (0): Linear(in_features=16, out_features=2, bias=True)
          (1): RowBatchNorm(2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
          (2): ReLU()
          (3): Linear(in_features=2, out_features=4, bias=True)
        )
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        *,
        dim: int = 512,
        gate_hidden: int | None = None,
        start: Start = "random",
    ) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)
        joint_dim = audio_dim + visual_dim
        last = nn.Linear(joint_dim if gate_hidden is None else gate_hidden, dim)
        if start == "averaging":
            start_as_averaging(self.audio, self.visual, last)
        if gate_hidden is None:
            self.gate: nn.Module = last
        else:
            self.gate = nn.Sequential(nn.Linear(joint_dim, gate_hidden), RowBatchNorm(gate_hidden), nn.ReLU(), last)

    def weights(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        """The gate z: (B, dim), the weight of the audio embedding; that of the visual one is 1 - z."""
        joint = torch.cat(unit(audio, visual, present), dim=1)
        if present is None:
            return self.gate(joint).sigmoid()
        weights = present[:, :1].to(joint.dtype).repeat(1, self.embedding_dim)
        both = present.all(dim=1)
        if torch.jit.is_tracing():
            # A graph has no branches.
            return torch.where(both.unsqueeze(1), self.gate(joint).sigmoid(), weights)
        if both.any():
            weights[both] = self.gate(joint[both]).sigmoid().to(weights.dtype)
        return weights

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        check_present(present)
        weights = self.weights(audio, visual, present)
        audio, visual = unit(audio, visual, present)
        return weights * self.audio(audio).tanh() + (1.0 - weights) * self.visual(visual).tanh()

    def figures(self, audio: Tensor, visual: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Those of :func:`avsv.nnet.fusion.base.weight_figures` for the gate's mean over its dimensions."""
        return weight_figures(self.weights(audio, visual, present)[present.all(dim=1)].mean(dim=1))
