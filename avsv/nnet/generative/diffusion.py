"""Diffusion supervision: a bridge between the temporal weights of both modalities through a common latent space."""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.generative.cycle import cosine_distances
from avsv.nnet.generative.pairs import PairedLinear
from avsv.nnet.generative.supervision import GenerativeSupervision, Learner, check_size, check_weight

STEPS = 1000


def log_signal() -> Tensor:
    """ln of abar_t for t = 0 to 1000: the share of the signal power after t steps of DDPM's linear noise schedule.

    Source: Ho et al. 2020, arXiv:2006.11239, section 4 (betas from 0.0001 to 0.02).

    Example:
        >>> f"{log_signal()[-1].exp().item():.4e}"
        '4.0358e-05'
    """
    betas = torch.linspace(1e-4, 2e-2, STEPS, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas).cumsum(0)])


def noise_to_signal(times: Tensor) -> Tensor:
    """sigma = sqrt((1 - abar) / abar) at times from 0 to 1000, which may be fractions.

    Example:
        >>> [round(x, 2) for x in noise_to_signal(torch.tensor([0.0, 674.7, 1000.0])).tolist()]
        [0.0, 10.0, 157.41]
    """
    table = log_signal()
    below = times.long().clamp(max=STEPS - 1)
    between = torch.lerp(table[below], table[below + 1], times.double() - below)
    return torch.expm1(0.0 - between).sqrt()


def solver_times(steps: int, sigma_max: float | None) -> Tensor:
    """The steps + 1 times of a solver, spaced as squares, from 0 to the time of ``sigma_max`` (None: 1000).

    Example:
        >>> [round(x, 1) for x in solver_times(4, 10.0).tolist()]
        [0.0, 42.2, 168.7, 379.5, 674.7]
    """
    last = float(STEPS)
    if sigma_max is not None:
        table = log_signal()
        target = -math.log1p(sigma_max**2)
        above = int((table > target).sum())
        last = above - 1 + float((table[above - 1] - target) / (table[above - 1] - table[above]))
    return last * torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64) ** 2


def solve_flow(
    predict: Callable[[Tensor, int], Tensor], inputs: Tensor, sigmas: Sequence[float], *, heun: bool, reverse: bool
) -> Tensor:
    """Solve the probability flow equation of DDIM between data and noise.

    In the coordinates y = x / sqrt(abar) it is dy / dsigma = epsilon(x, t). Euler's method in these coordinates is the
    update of DDIM with eta = 0; Heun's method is of second order and needs two predictions per step.

    Source: Song et al. 2021 (DDIM), arXiv:2010.02502, equations 12-14; Sun et al. 2023, equations 13-14.

    Args:
        predict: function from (x, k) to the noise epsilon in x at sigma number k.
        inputs: x at the first sigma, or at the last one if ``reverse``.
        sigmas: sigmas in increasing order.
        heun: use Heun's method instead of Euler's.
        reverse: solve from noise to data.

    Returns:
        x at the other end.

    Example (constant noise gives a straight path):
        >>> latent = solve_flow(lambda x, k: torch.ones(1), torch.zeros(1), [0.0, 0.5, 1.0], heun=True, reverse=False)
        >>> round(latent.item(), 6)
        0.707107
    """
    scales = [1.0 / math.sqrt(1.0 + sigma**2) for sigma in sigmas]
    order = range(len(sigmas) - 1, -1, -1) if reverse else range(len(sigmas))
    state = inputs / scales[order[0]]
    for here, ahead in itertools.pairwise(order):
        step = sigmas[ahead] - sigmas[here]
        slope = predict(scales[here] * state, here)
        if heun:
            reached = torch.add(state, slope, alpha=step)
            slope = (slope + predict(scales[ahead] * reached, ahead)) / 2
        state = torch.add(state, slope, alpha=step)
    return state * scales[order[-1]]


class NoisePredictors(nn.Module):
    """Two independent perceptrons with SiLU, one per modality, that predict the noise in a noisy series.

    Source: Ho et al. 2020, arXiv:2006.11239 (the task, and the sinusoidal embedding of the time).

    Args:
        frames: T_c, number of frames of a series.
        hidden: width of the hidden layers.
        layers: layers of each network, at least 2.
        time_dim: even size of the time embedding.

    Shape:
        - series: (2, N, T_c)
        - times: (2, N) in [0, 1000]
        - output: (2, N, T_c)

    Example:
        >>> net = NoisePredictors(50, 128, 4, 32)
        >>> sum(p.numel() for p in net.parameters()), net(torch.zeros(2, 3, 50), torch.zeros(2, 3)).shape
        (100196, torch.Size([2, 3, 50]))
    """

    def __init__(self, frames: int, hidden: int, layers: int, time_dim: int) -> None:
        super().__init__()
        self.time_dim = time_dim
        sizes = (frames + time_dim, *[hidden] * (layers - 1), frames)
        self.layers = nn.ModuleList(PairedLinear(*pair) for pair in itertools.pairwise(sizes))

    def embed_times(self, times: Tensor) -> Tensor:
        """The contribution (2, N, hidden) of times (2, N) to the first layer. A solver computes it only once."""
        half = self.time_dim // 2
        rates = torch.exp(-math.log(10000.0) / half * torch.arange(half, device=times.device, dtype=times.dtype))
        angles = times.unsqueeze(2) * rates
        first = self.layers[0]
        embedding = torch.cat([angles.sin(), angles.cos()], dim=2)
        return torch.baddbmm(first.bias, embedding, first.weight[:, -self.time_dim :])

    def predict(self, series: Tensor, embedded: Tensor) -> Tensor:
        """The noise in (2, N, T_c) at embedded times (2, N or 1, hidden)."""
        hidden = torch.baddbmm(embedded, series, self.layers[0].weight[:, : -self.time_dim])
        for layer in self.layers[1:]:
            hidden = layer(functional.silu(hidden))
        return hidden

    def forward(self, series: Tensor, times: Tensor) -> Tensor:
        return self.predict(series, self.embed_times(times))


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy whose parameters are buffers: they are not trained, but saved and moved with the module."""
    module = copy.deepcopy(module)
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, parameter.detach().clone())
    return module


class DiffusionSupervision(GenerativeSupervision):
    """Dual diffusion implicit bridges: the diffusion model of one modality encodes a series, that of the other decodes.

    The loss is ``weight (2 - cos(v, T_av(a)) - cos(a, T_va(v)))``, where T are the translations. Each modality has a
    noise predictor for n = w - 1, which is trained only on its own series, with its own optimizer and without a
    gradient to the pooling; translations use its exponential moving average. The pooling learns through the target of
    each cosine and, unless ``detach_ode`` is set, through the two solutions of the differential equation.

    Source: Sun et al. 2023, equations 13-15; Su et al. 2023 (DDIB), arXiv:2203.08382, algorithm 1; Song et al. 2021
    (DDIM), arXiv:2010.02502. Heun's method with 20 steps up to sigma 10 replaces the first-order steps of DDIM, of
    which hundreds are needed for a bridge that is invertible.

    Args:
        frames: T_c, number of frames of a series.
        weight: weight of the loss.
        start_epoch: before this epoch only the noise predictors are trained.
        solver: heun, or ddim for the update of DDIM.
        steps: steps of the solver; None means 20 with heun and 100 with ddim.
        sigma_max: noise-to-signal ratio up to which series are encoded; None means the end of the schedule, 157.4.
        detach_ode: no gradient through the translations.
        hidden: width of the hidden layers of the noise predictors.
        layers: number of layers of the noise predictors.
        time_dim: even size of the time embedding of the noise predictors.
        draws: noise levels per series and training step.
        predictor_lr: learning rate of the noise predictors' Adam optimizer.
        average_decay: decay of the moving average; it starts at 0.1 and rises with the number of steps to this value.
        learner: the modality that learns, or both; see :class:`GenerativeSupervision`.

    Shape:
        - audio, visual: (B, T_c)
        - output: the loss, a scalar, and detached figures; from ``start_epoch`` on they include diffusion, in [0, 4],
          and its parts diffusion_a_to_v, which compares a series made of audio with that of video, and diffusion_v_to_a

    Raises:
        ValueError: an option is out of range, there are too few frames, or series have another shape.

    Example:
        >>> supervision = DiffusionSupervision(8, hidden=16, steps=4)
        >>> supervision.epoch = 2.0
        >>> loss, figures = supervision(torch.rand(5, 8), torch.rand(5, 8))
        >>> sorted(figures)[3:7:3], supervision.translate(torch.rand(2, 5, 8)).shape
        (['diffusion', 'noise_prediction'], torch.Size([2, 5, 8]))
    """

    def __init__(
        self,
        frames: int,
        *,
        weight: float = 0.5,
        start_epoch: float = 2.0,
        solver: Literal["heun", "ddim"] = "heun",
        steps: int | None = None,
        sigma_max: float | None = 10.0,
        detach_ode: bool = False,
        hidden: int = 128,
        layers: int = 4,
        time_dim: int = 32,
        draws: int = 4,
        predictor_lr: float = 1e-3,
        average_decay: float = 0.999,
        learner: Learner = "both",
    ) -> None:
        super().__init__(frames, learner)
        if sigma_max is not None and not 0 < sigma_max <= 157:
            raise ValueError(f"sigma_max: {sigma_max}: must be in (0, 157]")
        if time_dim < 2 or time_dim % 2:
            raise ValueError(f"time_dim: {time_dim}: must be even and at least 2")
        if not 0 <= average_decay < 1:
            raise ValueError(f"average_decay: {average_decay}: must be in [0, 1)")
        check_size("hidden", hidden)
        check_size("layers", layers, 2)
        self.weight = check_weight("weight", weight)
        self.start_epoch = start_epoch
        self.heun = solver == "heun"
        self.detach_ode = detach_ode
        self.draws = check_size("draws", draws)
        self.average_decay = average_decay
        times = solver_times((20 if self.heun else 100) if steps is None else check_size("steps", steps), sigma_max)
        self.sigmas = noise_to_signal(times).tolist()
        self.register_buffer("times", times.float(), persistent=False)
        self.register_buffer("signal", log_signal().exp().float(), persistent=False)
        self.auxiliary = NoisePredictors(frames, hidden, layers, time_dim)
        self.auxiliary_lr = predictor_lr
        self.averaged = frozen_copy(self.auxiliary)
        self.register_buffer("updates", torch.zeros(()))

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the moving average with the current noise predictors."""
        rate = 1.0 - ((1.0 + self.updates) / (10.0 + self.updates)).clamp(max=self.average_decay)
        for average, current in zip(self.averaged.buffers(), self.auxiliary.parameters(), strict=True):
            average.lerp_(current, rate.to(current.dtype))
        self.updates += 1.0

    def noise_prediction(self, series: Tensor) -> Tensor:
        """The loss of the noise predictors on (2, B, T_c): mean squared error of the noise over both modalities."""
        clean = (series.detach() - 1.0).repeat(1, self.draws, 1)
        times = torch.randint(1, STEPS + 1, clean.shape[:2], device=clean.device)
        noise = torch.randn_like(clean)
        signal = self.signal.to(clean.dtype)[times].unsqueeze(2)
        noisy = signal.sqrt() * clean + (1.0 - signal).sqrt() * noise
        return functional.mse_loss(self.auxiliary(noisy, times.to(clean.dtype)), noise)

    def translate(self, series: Tensor) -> Tensor:
        """Translate (2, B, T_c), audio first: audio generated from video, then video generated from audio."""
        embedded = self.averaged.embed_times(self.times.to(series.dtype).expand(2, -1)).split(1, dim=1)

        def predict(state: Tensor, index: int) -> Tensor:
            return self.averaged.predict(state, embedded[index])

        latent = solve_flow(predict, series - 1.0, self.sigmas, heun=self.heun, reverse=False)
        return 1.0 + solve_flow(predict, latent.flip(0), self.sigmas, heun=self.heun, reverse=True)

    def losses(self, series: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the figures of series (2, B, T_c), audio first, then visual."""
        if self.training:
            self.update_average()
        loss = self.noise_prediction(series)
        figures = {"noise_prediction": loss}
        if self.epoch >= self.start_epoch:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.detach_ode):
                translated = self.translate(series)
            figures["diffusion"], of_each = cosine_distances(series, translated)
            # What is compared with the audio series is made of video.
            figures["diffusion_v_to_a"], figures["diffusion_a_to_v"] = of_each
            loss = loss + self.weight * figures["diffusion"]
        return loss, figures
