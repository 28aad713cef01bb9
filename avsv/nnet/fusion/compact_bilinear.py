"""Compact bilinear pooling of the two embeddings."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.fusion.base import Fusion, check_present, unit


class CompactBilinearPooling(Fusion):
    """Compact bilinear pooling (CBP): a random sketch of all products of audio and visual values, then a linear layer.

    A count sketch adds every value of an embedding, with a random sign, to a random one of ``sketch_dim`` places. The
    circular convolution of the two sketches, computed as a product of Fourier transforms, is the count sketch of their
    outer product. Its signed square root is scaled to length 1 and transformed by the linear layer.

    Source: Gao et al. 2016, arXiv:1511.06062, algorithm 2; Fukui et al. 2016, arXiv:1606.01847, section 3.1 for two
    modalities; Chen et al. 2020, "Multi-modality matters: a performance leap on VoxCeleb", uses it for voice and face.
    Embeddings are scaled to length 1 first. The sketch is computed at least in float32, also under autocast.

    A missing modality is replaced by the neutral element of the convolution, which leaves the sketch of the other one.
    With zeros, all products would be zero and all such utterances would have the same embedding. Sketches of products
    and of single embeddings are very different: a system must be trained on both to distinguish identities with both.

    Args:
        audio_dim: size of the audio embedding.
        visual_dim: size of the visual embedding.
        dim: size of the fused embedding.
        sketch_dim: number of places of the sketch.
        seed: seed of the random places and signs, which are saved with the weights.

    Shape:
        - audio: (B, audio_dim)
        - visual: (B, visual_dim)
        - present: (B, 2) boolean, whether audio and video are present; None if both always are
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
        """The count sketch of the outer product of the embeddings, without scaling: (B, sketch_dim)."""
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
        check_present(present)
        sketch = self.sketch(*unit(audio, visual, present), present)
        # The signed square root, flattened around 0, where its unbounded slope would turn rounding errors of the
        # transforms into noise. With 2048 places and vectors of length 1, a typical value is 0.02.
        root = sketch / (sketch.abs() + 1e-6).sqrt()
        return self.transform(functional.normalize(root))
