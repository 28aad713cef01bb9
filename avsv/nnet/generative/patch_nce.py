"""PatchNCE supervision: contrast between equal and different times of the two series of temporal weights."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from avsv.nnet.generative.pairs import PairedLinear, PairedMLP
from avsv.nnet.generative.supervision import GenerativeSupervision, Learner, check_size, check_weight


def patch_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Mean InfoNCE loss over positions: key s is the positive of query s, the other keys are its negatives.

    Source: Park et al. 2020 (CUT), arXiv:2007.15651, equation 3. Keys receive no gradient.

    Args:
        queries: (..., S, C), of any norm; they are scaled to length 1.
        keys: of the same shape.
        temperature: divisor of the cosines.

    Example (all equal: ln 50):
        >>> round(patch_nce(torch.ones(1, 50, 8), torch.ones(1, 50, 8), 0.07).item(), 4)
        3.912
    """
    queries, keys = functional.normalize(queries, dim=-1), functional.normalize(keys.detach(), dim=-1)
    logits = (queries @ keys.transpose(-1, -2)).flatten(0, -3) / temperature
    own = torch.arange(logits.shape[-1], device=logits.device).expand(logits.shape[0], -1)
    return functional.cross_entropy(logits.transpose(1, 2), own)


class PatchNCESupervision(GenerativeSupervision):
    """PatchNCE and adversarial losses on the temporal weights of two modalities, as CUT applies them to images.

    The generator of each modality maps patches of its series to the series of the other modality: one perceptron,
    shared over time, whose input is the ``patch`` frames around each frame. One linear head per hidden layer and
    modality computes features of every frame from the outputs of the layer. The features of both modalities at the same
    time (query from one, key from the other) must be nearer to each other than to those at other times of the same
    series. Discriminators make generated series resemble real ones. Both losses are summed over the two directions.

    Source: Sun et al. 2023, equations 11-12; Park et al. 2020 (CUT), arXiv:2007.15651; Mao et al. 2017 (LSGAN),
    arXiv:1611.04076, equation 2. Equation 11 sums over layers and times; this is the mean, as in the code of CUT.

    Args:
        frames: T_c, number of frames of a series.
        weight: weight of the sum of both losses.
        patch: odd number of frames in the input of a generator; a series is extended by its first and last values.
        hidden: width of the hidden layers of the generators, and of the features.
        layers: layers of a generator, at least 2; all except the last yield features.
        temperature: divisor of the cosines.
        query: real (features of the real series of the other modality, as printed) or generated (of the generated one).
        discriminator_hidden: width of the two hidden layers of the discriminators.
        discriminator_lr: learning rate of the discriminators' Adam optimizer.
        learner: the modality that learns, or both; see :class:`GenerativeSupervision`.

    Shape:
        - audio, visual: (B, T_c)
        - output: the loss, a scalar, and detached figures; nce, gan and discriminator are means of the two directions;
          nce_a_to_v is that in which video is to be near audio, gan_a_to_v that of series made of audio

    Raises:
        ValueError: an option is out of range, there are too few frames, or series have another shape.

    Example:
        >>> supervision = PatchNCESupervision(50)
        >>> loss, figures = supervision(torch.rand(8, 50), torch.rand(8, 50))
        >>> sum(p.numel() for p in supervision.generators.parameters()), sorted(figures)[2:6]
        (9218, ['cosine', 'discriminator', 'gan', 'gan_a_to_v'])
    """

    def __init__(
        self,
        frames: int,
        *,
        weight: float = 1.0,
        patch: int = 5,
        hidden: int = 64,
        layers: int = 3,
        temperature: float = 0.07,
        query: Literal["real", "generated"] = "real",
        discriminator_hidden: int = 64,
        discriminator_lr: float = 2e-4,
        learner: Learner = "both",
    ) -> None:
        super().__init__(frames, learner)
        if patch < 1 or patch % 2 == 0:
            raise ValueError(f"patch: {patch}: must be odd")
        if not temperature > 0:
            raise ValueError(f"temperature: {temperature}: must be larger than 0")
        check_size("hidden", hidden)
        check_size("layers", layers, 2)
        check_size("discriminator_hidden", discriminator_hidden)
        self.weight = check_weight("weight", weight)
        self.patch = patch
        self.temperature = temperature
        self.query = query
        self.generators = PairedMLP((patch, *[hidden] * (layers - 1), 1), torch.relu)
        self.heads = nn.ModuleList(PairedLinear(hidden, hidden) for _ in range(layers - 1))
        self.auxiliary = PairedMLP((frames, discriminator_hidden, discriminator_hidden, 1))
        self.auxiliary_lr = discriminator_lr
        self.auxiliary_betas = (0.5, 0.999)

    def patches(self, series: Tensor) -> Tensor:
        """The patch around every frame: (2, B, T_c) to (2, B * T_c, patch)."""
        ends = self.patch // 2
        return functional.pad(series, (ends, ends), mode="replicate").unfold(2, self.patch, 1).flatten(1, 2)

    def generate(self, series: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output of each generator, (2, B, T_c), and the features of every head, (2, B, T_c, hidden)."""
        hidden = self.generators.hidden(self.patches(series))
        generated = self.generators.layers[-1](hidden[-1]).view(series.shape)
        features = [head(x).unflatten(1, series.shape[1:]) for head, x in zip(self.heads, hidden, strict=True)]
        return generated, features

    def losses(self, series: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the figures of series (2, B, T_c), audio first, then visual."""
        generated, keys = self.generate(series)
        # From here on, the first of the two was generated from video and is judged as audio.
        generated = generated.flip(0)
        queries = keys if self.query == "real" else self.generate(generated)[1]
        nce = sum(patch_nce(q.flip(0), k, self.temperature) for q, k in zip(queries, keys, strict=True)) / len(keys)

        fixed = {name: parameter.detach() for name, parameter in self.auxiliary.named_parameters()}
        errors = (functional_call(self.auxiliary, fixed, (generated,)) - 1.0) ** 2
        gan = errors.mean()
        fake, real = self.auxiliary(generated.detach()), self.auxiliary(series.detach())
        discriminator = 0.5 * ((fake**2).mean() + ((real - 1.0) ** 2).mean())
        loss = 2.0 * self.weight * (nce + gan) + 2.0 * discriminator
        figures = {"nce": nce, "gan": gan, "discriminator": discriminator}
        # The first keys are of audio, and what is compared with them is on the side of video.
        with torch.no_grad():
            for number, direction in enumerate(("a_to_v", "v_to_a")):
                pairs = [(q.flip(0)[number], k[number]) for q, k in zip(queries, keys, strict=True)]
                figures[f"nce_{direction}"] = sum(patch_nce(*pair, self.temperature) for pair in pairs) / len(pairs)
        figures["gan_v_to_a"], figures["gan_a_to_v"] = errors.detach().flatten(1).mean(dim=1)
        return loss, figures
