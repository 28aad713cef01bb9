"""Fusion of an audio and a visual embedding into one.

Every fusion is called with a batch of both embeddings and with what is present of them. A missing modality has zeros in
the place of its embedding; whatever stands there, it does not reach the result.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SimpleSoftAttention(nn.Module):
    """Simple soft attention (SSA): a softmax over two scores weighs the transformed audio and visual embeddings.

    Source: Shon et al. 2019, arXiv:1811.10813, equations 1-4; Sun et al. 2022, section 2.3. Embeddings are scaled to
    length 1 first, for their lengths differ much.

    A missing modality has a zero vector in the place of its embedding and weight exactly 0, so the result is the
    transform of the other one.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        normalise: scale the fused embedding to length 1.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether there is audio and whether there is video; None means both everywhere
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> fusion = SimpleSoftAttention(192, 512)
        >>> sum(p.numel() for p in fusion.parameters())
        362882
        >>> fusion(torch.zeros(3, 192), torch.zeros(3, 512)).shape
        torch.Size([3, 512])
    """

    def __init__(self, audio_dim: int, visual_dim: int, *, dim: int = 512, normalise: bool = False) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.normalise = normalise
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)
        self.attention = nn.Linear(audio_dim + visual_dim, 2)
        _start_as_one_isometry(self.audio, self.visual)
        _start_undecided(self.attention)

    def weights(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        """The attention: (B, 2), the weight of the audio and of the visual embedding, summing to 1."""
        audio, visual = _unit(audio, visual, present)
        logits = self.attention(torch.cat([audio, visual], dim=1))
        if present is not None:
            logits = logits.masked_fill(~present, float("-inf"))
        return logits.softmax(dim=1)

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        _check_present(present)
        weights = self.weights(audio, visual, present)
        audio, visual = _unit(audio, visual, present)
        fused = weights[:, :1] * self.audio(audio) + weights[:, 1:] * self.visual(visual)
        return functional.normalize(fused) if self.normalise else fused


class GatedFusion(nn.Module):
    """Gated multimodal fusion (GMF): a gate mixes the two embeddings in each dimension, z tanh(a') + (1 - z) tanh(v').

    Source: Arevalo et al. 2017, arXiv:1702.01992, the bimodal gated unit; Chen et al. 2020, "Multi-modality matters: a
    performance leap on VoxCeleb", uses it for voice and face. The two-layer gate, 128 wide, is that of Saeed et al.
    2022, arXiv:2112.10483. Embeddings are scaled to length 1 first.

    Where a modality is missing, the gate is not asked: the other one has weight exactly 1 in every dimension, and the
    row does not enter the statistics of the gate's batch normalisation.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        gate_hidden: width of a hidden layer of the gate, with batch normalisation and ReLU; None for a linear gate.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether there is audio and whether there is video; None means both everywhere
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

    def __init__(self, audio_dim: int, visual_dim: int, *, dim: int = 512, gate_hidden: int | None = None) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)
        _start_as_one_isometry(self.audio, self.visual)
        joint_dim = audio_dim + visual_dim
        last = nn.Linear(joint_dim if gate_hidden is None else gate_hidden, dim)
        _start_undecided(last)
        if gate_hidden is None:
            self.gate: nn.Module = last
        else:
            self.gate = nn.Sequential(nn.Linear(joint_dim, gate_hidden), RowBatchNorm(gate_hidden), nn.ReLU(), last)

    def weights(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        """The gate z: (B, dim), the weight of the audio embedding; that of the visual one is 1 - z."""
        joint = torch.cat(_unit(audio, visual, present), dim=1)
        if present is None:
            return self.gate(joint).sigmoid()
        weights = present[:, :1].to(joint.dtype).repeat(1, self.embedding_dim)
        both = present.all(dim=1)
        if both.any():
            weights[both] = self.gate(joint[both]).sigmoid().to(weights.dtype)
        return weights

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        _check_present(present)
        weights = self.weights(audio, visual, present)
        audio, visual = _unit(audio, visual, present)
        return weights * self.audio(audio).tanh() + (1.0 - weights) * self.visual(visual).tanh()


class CompactBilinearPooling(nn.Module):
    """Compact bilinear pooling (CBP): a random sketch of all products of audio and visual values, then a linear layer.

    A count sketch adds every value of an embedding, with a random sign, to a random one of ``sketch_dim`` places. The
    circular convolution of the two sketches, a product of Fourier transforms, is the count sketch of the outer product;
    it goes through a signed square root, is scaled to length 1 and transformed.

    Source: Gao et al. 2016, arXiv:1511.06062, algorithm 2; Fukui et al. 2016, arXiv:1606.01847, section 3.1 for two
    modalities; Chen et al. 2020, "Multi-modality matters: a performance leap on VoxCeleb", uses it for voice and face.
    Embeddings are scaled to length 1 first. The sketch is computed in float32 at least, also under autocast.

    A missing modality is replaced by the neutral element of the convolution, and the sketch of the other one remains.
    With zeros in its place all products would be zero and every such utterance would have the same embedding. Products
    and single values look nothing alike: a system has to be trained on both to tell persons from both.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        sketch_dim: number of places of the sketch.
        seed: of the random places and signs, which are kept with the weights.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether there is audio and whether there is video; None means both everywhere
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> fusion = CompactBilinearPooling(192, 512)
        >>> sum(p.numel() for p in fusion.parameters()), fusion.audio_place.shape
        (1049088, torch.Size([192]))
    """

    def __init__(
        self, audio_dim: int, visual_dim: int, *, dim: int = 512, sketch_dim: int = 2048, seed: int = 0
    ) -> None:
        super().__init__()
        if sketch_dim < 1:
            raise ValueError(f"sketch_dim: {sketch_dim}: must be 1 or more")
        self.embedding_dim = dim
        self.sketch_dim = sketch_dim
        generator = torch.Generator().manual_seed(seed)
        for name, size in (("audio", audio_dim), ("visual", visual_dim)):
            place = torch.randint(sketch_dim, (size,), generator=generator, device=generator.device)
            sign = 2.0 * torch.randint(2, (size,), generator=generator, device=generator.device) - 1.0
            self.register_buffer(f"{name}_place", place)
            self.register_buffer(f"{name}_sign", sign)
        self.transform = nn.Linear(sketch_dim, dim)

    def sketch(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        """The count sketch of the outer product of the embeddings as they are: (B, sketch_dim)."""
        with torch.autocast(audio.device.type, enabled=False):
            dtype = torch.promote_types(torch.promote_types(audio.dtype, visual.dtype), torch.float32)
            spectra = []
            for index, (name, embedding) in enumerate((("audio", audio), ("visual", visual))):
                values = embedding.to(dtype) * getattr(self, f"{name}_sign").to(dtype)
                places = values.new_zeros(len(values), self.sketch_dim)
                spectrum = torch.fft.rfft(places.index_add(1, getattr(self, f"{name}_place"), values))
                if present is not None:
                    spectrum = torch.where(present[:, index : index + 1], spectrum, 1.0)
                spectra.append(spectrum)
            return torch.fft.irfft(spectra[0] * spectra[1], n=self.sketch_dim)

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        _check_present(present)
        sketch = self.sketch(*_unit(audio, visual, present), present)
        # The signed square root, flattened around 0, where its slope would turn rounding of the transforms into noise
        # and has no end. Of 2048 places for vectors of length 1, a typical one has 0.02.
        root = sketch / (sketch.abs() + 1e-6).sqrt()
        return self.transform(functional.normalize(root))


class MeanFusion(nn.Module):
    """Mean fusion: both embeddings are transformed to one size and averaged.

    Source: Claborne et al. 2023, arXiv:2311.05071, section IV and the appendix on fusion. The embedding of one modality
    is its mean with the other's null representation, the transform of zeros, which masking teaches the network.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        dropout: share of the values of both embeddings that are dropped in training.
        modality_masking: in training, treat each modality of an utterance that has both as missing in a third of the
            cases, and keep both in another third.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether there is audio and whether there is video; None means both everywhere
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> sum(p.numel() for p in MeanFusion(356, 2048).parameters())
        615936
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        *,
        dim: int = 256,
        dropout: float = 0.1,
        modality_masking: bool = True,
    ) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.modality_masking = modality_masking
        self.dropout = _dropout(dropout)
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        _check_present(present)
        if self.training and self.modality_masking:
            present = _mask_at_random(audio, present)
        audio, visual = _zero_missing(audio, visual, present)
        return 0.5 * (self.audio(self.dropout(audio)) + self.visual(self.dropout(visual)))


class MLPFusion(nn.Module):
    """MLP fusion: both embeddings, one after the other, go through three linear layers.

    Each layer is followed by a leaky ReLU and batch normalisation, the first two by dropout as well.

    Source: Claborne et al. 2023, arXiv:2311.05071, section IV and the appendix on fusion. A missing modality is zeros,
    the null representation, which masking teaches the network.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        hidden_dim: width of the first two layers.
        dropout: share of the values that are dropped in training.
        modality_masking: in training, treat each modality of an utterance that has both as missing in a third of the
            cases, and keep both in another third.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether there is audio and whether there is video; None means both everywhere
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> sum(p.numel() for p in MLPFusion(356, 2048).parameters())
        5315448
    """

    def __init__(
        self,
        audio_dim: int,
        visual_dim: int,
        *,
        dim: int = 256,
        hidden_dim: int = 1330,
        dropout: float = 0.1,
        modality_masking: bool = True,
    ) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.modality_masking = modality_masking
        self.layers = nn.Sequential(
            _dropout(dropout),
            nn.Linear(audio_dim + visual_dim, hidden_dim),
            nn.LeakyReLU(),
            RowBatchNorm(hidden_dim),
            _dropout(dropout),
            nn.Linear(hidden_dim, hidden_dim),
            nn.LeakyReLU(),
            RowBatchNorm(hidden_dim),
            _dropout(dropout),
            nn.Linear(hidden_dim, dim),
            nn.LeakyReLU(),
            RowBatchNorm(dim),
        )

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        _check_present(present)
        if self.training and self.modality_masking:
            present = _mask_at_random(audio, present)
        audio, visual = _zero_missing(audio, visual, present)
        # The paper puts the video first.
        return self.layers(torch.cat([visual, audio], dim=1))


class MultiViewFusion(nn.Module):
    """Multi-view fusion: either modality, through a layer that both share, is a view of the person in one space.

    Source: Sari et al. 2021, arXiv:2102.06291, in the form of Claborne et al. 2023, arXiv:2311.05071, section IV and
    the appendix on fusion. It is trained through :meth:`views`: one classifier takes each view, and the two losses are
    weighted 0.5 each. Claborne et al. do not say what embeds a person of whom there is both; here it is the mean of the
    two views after each is scaled to length 1. Views have no negative values.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the views.
        dropout: share of the values of a view that are dropped in training.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether there is audio and whether there is video; None means both everywhere
        - output: (B, dim)

    Raises:
        ValueError: an utterance has neither modality.

    Example:
        >>> fusion = MultiViewFusion(356, 2048)
        >>> sum(p.numel() for p in fusion.parameters())
        681728
        >>> audio, visual = fusion.views(torch.randn(3, 356), torch.randn(3, 2048))
        >>> audio.shape, visual.shape
        (torch.Size([3, 256]), torch.Size([3, 256]))
    """

    def __init__(self, audio_dim: int, visual_dim: int, *, dim: int = 256, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding_dim = dim
        self.audio = nn.Linear(audio_dim, dim)
        self.visual = nn.Linear(visual_dim, dim)
        self.shared = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), _dropout(dropout))

    def views(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """The audio and the visual view: two (B, dim); that of a missing modality means nothing."""
        return self.shared(self.audio(audio)), self.shared(self.visual(visual))

    def forward(self, audio: Tensor, visual: Tensor, present: Tensor | None = None) -> Tensor:
        _check_present(present)
        views = torch.stack([functional.normalize(view) for view in self.views(audio, visual)], dim=1)
        if present is None:
            return views.mean(dim=1)
        return views.masked_fill(~present.unsqueeze(2), 0.0).sum(dim=1) / present.sum(dim=1, keepdim=True)


class RowBatchNorm(nn.BatchNorm1d):
    """Batch normalisation that goes by the statistics it has gathered where a training batch has only one row.

    Shape:
        - rows: (B, C)
        - output: (B, C)

    Example:
        >>> RowBatchNorm(2)(torch.zeros(1, 2)).tolist()
        [[0.0, 0.0]]
    """

    def forward(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) == 1:
            return functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(rows)


def _dropout(share: float) -> nn.Dropout:
    if not 0 <= share < 1:
        raise ValueError(f"dropout: {share}: must be in [0, 1)")
    return nn.Dropout(share)


def _start_as_one_isometry(audio: nn.Linear, visual: nn.Linear) -> None:
    # Together the transforms start as one isometry (as nearly as dim allows) and the attention undecided, so that
    # the first fused cosine is the mean of the two cosines: training starts from a score fusion, not from noise.
    joint = nn.init.orthogonal_(torch.empty(audio.out_features, audio.in_features + visual.in_features))
    with torch.no_grad():
        audio.weight.copy_(joint[:, : audio.in_features])
        visual.weight.copy_(joint[:, audio.in_features :])
    nn.init.zeros_(audio.bias)
    nn.init.zeros_(visual.bias)


def _start_undecided(scores: nn.Linear) -> None:
    nn.init.zeros_(scores.weight)
    nn.init.zeros_(scores.bias)


def _check_present(present: Tensor | None) -> None:
    if present is not None and not present.any(dim=1).all():
        raise ValueError("fusion: an utterance has neither audio nor video")


def _zero_missing(audio: Tensor, visual: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    if present is None:
        return audio, visual
    return audio.masked_fill(~present[:, :1], 0.0), visual.masked_fill(~present[:, 1:], 0.0)


def _unit(audio: Tensor, visual: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
    audio, visual = _zero_missing(audio, visual, present)
    return functional.normalize(audio), functional.normalize(visual)


def _mask_at_random(audio: Tensor, present: Tensor | None) -> Tensor:
    """What is present (B, 2) when one modality, or neither, is removed from each utterance that has both."""
    if present is None:
        present = torch.ones(len(audio), 2, dtype=torch.bool, device=audio.device)
    removed = torch.randint(3, (len(audio), 1), device=audio.device)
    removed = removed == torch.arange(2, device=audio.device)
    return present & ~(removed & present.all(dim=1, keepdim=True))
