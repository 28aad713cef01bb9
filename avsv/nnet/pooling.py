"""Pooling over time: frames to one vector an utterance."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.config.extension import import_class, is_outside
from avsv.config.strict import nearest
from avsv.errors import DataError


class Pooling(nn.Module, ABC):
    """Frames to one vector an utterance: the base of all poolings.

    A subclass's constructor takes the number of channels of the frames. It sets ``output_dim`` and defines
    :meth:`forward`.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for a valid frame; None means that all are
        - output: (B, output_dim)

    Example (the largest value of each channel):
        >>> class MaxPooling(Pooling):
        ...     def __init__(self, channels: int) -> None:
        ...         super().__init__()
        ...         self.output_dim = channels
        ...     def forward(self, frames, mask=None):
        ...         return frames.amax(dim=2) if mask is None else frames.masked_fill(~mask[:, None], -1e9).amax(dim=2)
        >>> MaxPooling(1)(torch.tensor([[[1.0, 3.0]]])).tolist()
        [[3.0]]
    """

    # Whether it has temporal weights, which generative supervision and the analysis of attention use.
    gives_weights: ClassVar[bool] = False

    output_dim: int

    @abstractmethod
    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """The pooled vectors. Padding must not change them."""

    def pool_with_weights(self, frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The pooled vectors (B, output_dim) and temporal weights (B, T), 0 in padding, where ``gives_weights``."""
        raise ValueError(f"{type(self).__name__} has no temporal weights")


def valid_frames(frames: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Frames in at least float32 with zeros where they are padding, and a (B, 1, T) boolean mask.

    Raises:
        ValueError: an utterance has no valid frame.
    """
    # Half precision has too few digits for a mean over time, and none left for a variance.
    frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
    if mask is None:
        return frames, frames.new_ones(frames.shape[0], 1, frames.shape[2], dtype=torch.bool)
    if not mask.any(dim=1).all():
        raise ValueError("pooling over time: an utterance has no valid frame")
    valid = mask.unsqueeze(1)
    return frames.masked_fill(~valid, 0.0), valid


def weighted_mean_std(frames: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation over time: (B, C, T), weights summing to 1 over T -> two (B, C)."""
    mean = (weights * frames).sum(dim=2)
    # The centered form: E[x^2] - E[x]^2 loses all digits in float32 when the mean is large.
    variance = (weights * (frames - mean.unsqueeze(2)) ** 2).sum(dim=2)
    return mean, variance.clamp(min=1e-7).sqrt()


class TemporalAveragePooling(Pooling):
    """Pool frames into their mean per channel (TAP).

    Args:
        channels: number of input channels C.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for a valid frame; None means that all are
        - output: (B, C)

    Raises:
        ValueError: an utterance has no valid frame.

    Example:
        >>> frames, mask = torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[True, True, False]])
        >>> TemporalAveragePooling(1)(frames, mask).tolist()
        [[2.0]]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.output_dim = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        frames, valid = valid_frames(frames, mask)
        return frames.sum(dim=2) / valid.sum(dim=2)


class TemporalStatsPooling(Pooling):
    """Pool frames into their mean and unbiased standard deviation per channel (TSTP).

    Source: Snyder et al. 2018 (x-vectors), with the conventions of wespeaker: sqrt(variance + 1e-7).

    Args:
        channels: number of input channels C.

    Shape:
        - frames: (B, C, T); of a single frame the standard deviation is sqrt(1e-7)
        - mask: (B, T) boolean, True for a valid frame; None means that all are
        - output: (B, 2C), the C means, then the C standard deviations

    Raises:
        ValueError: an utterance has no valid frame.

    Example:
        >>> frames, mask = torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[True, True, False]])
        >>> [round(x, 4) for x in TemporalStatsPooling(1)(frames, mask)[0].tolist()]
        [2.0, 1.4142]
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.output_dim = 2 * channels

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        frames, valid = valid_frames(frames, mask)
        count = valid.sum(dim=2)
        mean = frames.sum(dim=2) / count
        squares = ((frames - mean.unsqueeze(2)) ** 2).masked_fill(~valid, 0.0).sum(dim=2)
        return torch.cat([mean, (squares / (count - 1).clamp(min=1) + 1e-7).sqrt()], dim=1)


class AttentiveStatsPooling(Pooling):
    """Pool frames into one vector of attention-weighted means and standard deviations per channel (ASP).

    Every channel has an attention distribution of its own over time; with ``context`` the attention also sees the
    utterance's mean and standard deviation.

    Source: Okabe et al. 2018, arXiv:1803.10963, equations 1-6; the channel- and context-dependent form is Desplanques
    et al. 2020, arXiv:2005.07143, section 3.1.

    Args:
        channels: number of input channels C.
        bottleneck: width R of the attention's hidden layer.
        context: let the attention see the utterance's mean and standard deviation beside every frame.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for a valid frame; None means that all are
        - output: (B, 2C), the C means, then the C standard deviations

    Raises:
        ValueError: an utterance has no valid frame.

    Example (uniform attention makes it plain statistics pooling):
        >>> pool = AttentiveStatsPooling(channels=1, context=False)
        >>> _ = nn.init.zeros_(pool.score.weight)
        >>> frames = torch.tensor([[[1.0, 2.0, 3.0, 99.0]]])
        >>> mask = torch.tensor([[True, True, True, False]])
        >>> [round(x, 4) for x in pool(frames, mask)[0].tolist()]
        [2.0, 0.8165]
    """

    def __init__(self, channels: int, bottleneck: int = 128, context: bool = True) -> None:
        super().__init__()
        self.output_dim = 2 * channels
        self.context = context
        self.hidden = nn.Conv1d(3 * channels if context else channels, bottleneck, kernel_size=1)
        self.score = nn.Conv1d(bottleneck, channels, kernel_size=1)

    def logits(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention before its softmax, (B, C, T); padding is not masked out yet."""
        frames, valid = valid_frames(frames, mask)
        channels = frames.shape[1]
        weight = self.hidden.weight
        hidden = functional.conv1d(frames, weight[:, :channels], self.hidden.bias)
        if self.context:
            # The statistics are the same for every frame: project them once, not beside each frame.
            uniform = valid.to(frames.dtype) / valid.sum(dim=2, keepdim=True)
            statistics = torch.cat(weighted_mean_std(frames, uniform), dim=1)
            hidden = hidden + functional.linear(statistics, weight[:, channels:, 0]).unsqueeze(2)
        return self.score(torch.tanh(hidden))

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        frames, valid = valid_frames(frames, mask)
        logits = self.logits(frames, mask).to(frames.dtype).masked_fill(~valid, float("-inf"))
        return torch.cat(weighted_mean_std(frames, logits.softmax(dim=2)), dim=1)


def enhance_logits(logits: Tensor, valid: Tensor, literal: bool = False) -> tuple[Tensor, Tensor]:
    """Weight-enhanced attention logits e' and the temporal weights w = 1 + tanh z.

    With lambda the mean of the logits e over channels, mu and sd its mean and population deviation over valid frames
    and z = (lambda - mu) / sd, the paper has lambda' = mu (1 + tanh z) and e' = e lambda' / lambda. This has a pole
    where lambda passes 0, and where mu < 0 it turns the order of the frames round; yet nothing fixes the sign or size
    of mu, for the softmax of plain attention is blind to a constant. So by default all logits of an utterance are first
    shifted by one constant that makes mu at least 3 sd, and lambda counts as 0.1 mu at least in the denominator. Where
    mu >= 3 sd and lambda >= 0.1 mu anyway, this is the paper's formula.

    Source: Sun et al. 2022/2023, equations 2-4; the sum of equation 3 is read as over channels (its result has an index
    t), and its factor C cancels in equation 2.

    Args:
        logits: (B, C, T).
        valid: (B, 1, T) boolean, True for a valid frame.
        literal: equations 2-4 as printed, only with |lambda| at least 1e-6 in the denominator.

    Returns:
        (B, C, T) enhanced logits, of no meaning where they are padding, and (B, T) weights, each in [0, 2], 0 where
        they are padding; both in at least float32.

    Example (logits of negative mean: the literal form turns their order round):
        >>> logits, valid = torch.tensor([[[-3.0, -2.0, -1.0]]]), torch.ones(1, 1, 3, dtype=torch.bool)
        >>> enhanced, weights = enhance_logits(logits, valid)
        >>> [round(x, 4) for x in enhanced.flatten().tolist()], [round(x, 4) for x in weights.flatten().tolist()]
        ([0.3894, 2.4495, 4.5096], [0.159, 1.0, 1.841])
        >>> [round(x, 4) for x in enhance_logits(logits, valid, literal=True)[0].flatten().tolist()]
        [-0.3179, -2.0, -3.6821]
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    uniform = valid.to(logits.dtype) / valid.sum(dim=2, keepdim=True)
    salience = logits.mean(dim=1, keepdim=True)
    mean = (uniform * salience).sum(dim=2, keepdim=True)
    centered = (salience - mean).masked_fill(~valid, 0.0)
    # The deviation of a constant is 0, where its square root and z have no derivative.
    floor = 1e-8 if logits.dtype == torch.float64 else 1e-5
    deviation = ((uniform * centered**2).sum(dim=2, keepdim=True) + floor**2).sqrt()
    weights = 1.0 + torch.tanh(centered / deviation)
    if literal:
        denominator = torch.where(salience.abs() < 1e-6, torch.full_like(salience, 1e-6).copysign(salience), salience)
        enhanced = logits * (mean * weights / denominator)
    else:
        level = torch.maximum(mean, 3.0 * deviation)
        target = level * weights
        ratio = target / torch.maximum(level + centered, 0.1 * level)
        # The shifted logits times the ratio, but for frames at the floor; the mean over channels is always the target.
        enhanced = target + ratio * (logits - salience)
    return enhanced, weights.masked_fill(~valid, 0.0).squeeze(1)


class WeightEnhancedStatsPooling(AttentiveStatsPooling):
    """Attentive statistics pooling whose attention is spread further over time before its softmax (WE-ASP).

    Source: Sun et al. 2022 and 2023, equations 1-7, on top of :class:`AttentiveStatsPooling`; see
    :func:`enhance_logits` for the two modes.

    Args:
        channels: number of input channels C.
        bottleneck: width R of the attention's hidden layer.
        context: let the attention see the utterance's mean and standard deviation beside every frame.
        mode: gauge (the logits of an utterance are first shifted to a safe mean) or literal (as printed).

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for a valid frame; None means that all are
        - output: (B, 2C), the C means, then the C standard deviations

    Raises:
        ValueError: an utterance has no valid frame.

    Example (the attention is 0.014, 0.111, 0.874; without enhancement it would be 0.090, 0.245, 0.665):
        >>> pool = WeightEnhancedStatsPooling(channels=1, context=False)
        >>> pool.logits = lambda frames, mask: frames
        >>> pooled, weights = pool.pool_with_weights(torch.tensor([[[1.0, 2.0, 3.0]]]))
        >>> round(pooled[0, 0].item(), 4), [round(x, 4) for x in weights[0].tolist()]
        (2.8602, [0.159, 1.0, 1.841])
    """

    gives_weights = True

    def __init__(
        self,
        channels: int,
        bottleneck: int = 128,
        context: bool = True,
        mode: Literal["gauge", "literal"] = "gauge",
    ) -> None:
        super().__init__(channels, bottleneck, context)
        self.mode = mode

    def pool_with_weights(self, frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The pooled vectors (B, 2C) and the temporal weights (B, T), lambda' / mu in the paper's symbols.

        The weights lie in [0, 2] around 1, whatever the size of the logits; 0 where they are padding.
        """
        frames, valid = valid_frames(frames, mask)
        enhanced, weights = enhance_logits(self.logits(frames, mask), valid, self.mode == "literal")
        attention = enhanced.to(frames.dtype).masked_fill(~valid, float("-inf")).softmax(dim=2)
        return torch.cat(weighted_mean_std(frames, attention), dim=1), weights

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.pool_with_weights(frames, mask)[0]


POOLINGS: dict[str, type[Pooling]] = {
    "tap": TemporalAveragePooling,
    "tstp": TemporalStatsPooling,
    "asp": AttentiveStatsPooling,
    "we_asp": WeightEnhancedStatsPooling,
    "we_asp_literal": WeightEnhancedStatsPooling,
}

# The option of a backbone that names its pooling: one of POOLINGS, or a class outside the package.
PoolingName = Annotated[str, "pooling"]


def find_pooling(name: str, where: str) -> type[Pooling]:
    """The class of a pooling.

    Args:
        name: one of :data:`POOLINGS`, or ``module:Class``.
        where: start of error messages, 'FILE: dotted.key'.

    Raises:
        DataError: no such pooling.
    """
    if is_outside(name):
        return import_class(name, Pooling, where)
    if name not in POOLINGS:
        raise DataError(f"{where}: {name}: {nearest(name, POOLINGS)}")
    return POOLINGS[name]


def build_pooling(name: str, channels: int, bottleneck: int, context: bool) -> Pooling:
    """The pooling of a backbone.

    Args:
        name: as in :func:`find_pooling`.
        channels: number of input channels.
        bottleneck: width of the hidden layer of the attentive ones.
        context: whether the attentive ones see the utterance's mean and standard deviation.

    Example:
        >>> build_pooling("tap", 512, 128, True).output_dim, build_pooling("asp", 512, 128, True).output_dim
        (512, 1024)
    """
    kind = find_pooling(name, "pooling")
    if kind is WeightEnhancedStatsPooling:
        return kind(channels, bottleneck, context, "literal" if name == "we_asp_literal" else "gauge")
    if kind is AttentiveStatsPooling:
        return kind(channels, bottleneck, context)
    return kind(channels)
