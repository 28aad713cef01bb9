"""Pooling over time: frames to one vector per utterance."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from avsv.config.extension import import_class, is_outside
from avsv.config.strict import nearest
from avsv.errors import DataError
from avsv.nnet.convolution import FrameConv, convolve, is_by_frame


class Pooling(nn.Module, ABC):
    """Base class of poolings, which map frames to one vector per utterance.

    The constructor of a subclass takes the number of channels of the frames and sets ``output_dim``. The subclass
    defines :meth:`forward`.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
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

    # Whether the pooling has temporal weights, which generative supervision and the analysis of attention use.
    gives_weights: ClassVar[bool] = False
    # Whether the pooling has attention over time.
    attends: ClassVar[bool] = False
    # Whether forward() takes the true worth of the frames as a third argument, (B, T), not negative.
    needs_worth: ClassVar[bool] = False

    output_dim: int

    @abstractmethod
    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """The pooled vectors. Padding must not change them."""

    def pool_with_weights(self, frames: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The pooled vectors (B, output_dim) and temporal weights (B, T), 0 in padding, where ``gives_weights``."""
        raise ValueError(f"{type(self).__name__} has no temporal weights")

    def attention(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention over time that acts, where ``attends``: (B, C or 1, T), sums of 1 over T, 0 in padding."""
        raise ValueError(f"{type(self).__name__} has no attention")

    def figures(self, frames: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """What shows how it pools, scalars by name for the log of a training; none (the default) for a fixed rule."""
        return {}


def valid_frames(frames: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Frames at least in float32 with zeros in padding, and a (B, 1, T) boolean mask.

    Raises:
        ValueError: an utterance has no valid frame.
    """
    # Half precision is not accurate enough for a mean over time, and even less for a variance.
    frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
    if mask is None:
        return frames, frames.new_ones(frames.shape[0], 1, frames.shape[2], dtype=torch.bool)
    if not mask.any(dim=1).all():
        raise ValueError("pooling over time: an utterance has no valid frame")
    valid = mask.unsqueeze(1)
    return frames.masked_fill(~valid, 0.0), valid


def weighted_mean_std(
    frames: Tensor, weights: Tensor | None = None, least_variance: float = 1e-7
) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation over time.

    Args:
        frames: (B, C, T).
        weights: (B, C or 1, T), with sums of 1 over T; None for equal weights.
        least_variance: smaller variances count as this: the root of 0 has no gradient.

    Returns:
        Two tensors (B, C).
    """
    mean, variance = _Moments.apply(frames, weights) if torch.is_grad_enabled() else _moments(frames, weights)
    return mean, variance.clamp(min=least_variance).sqrt()


def _moments(frames: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    mean = frames.mean(dim=2) if weights is None else (weights * frames).sum(dim=2)
    # The centered form, because in float32 E[x^2] - E[x]^2 loses all digits if the mean is large.
    squares = (frames - mean.unsqueeze(2)).square_()
    return mean, squares.mean(dim=2) if weights is None else squares.mul_(weights).sum(dim=2)


class _Moments(torch.autograd.Function):
    """Weighted mean m and variance v of frames x with weights w, with a backward pass of few operations.

    Since the weights sum to 1, the variance does not depend on the mean that is subtracted: dm/dx = w, dm/dw = x,
    dv/dx = 2 w (x - m), dv/dw = (x - m)^2.
    """

    @staticmethod
    def forward(ctx, frames: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
        mean, variance = _moments(frames, weights)
        ctx.save_for_backward(frames, weights, mean)
        return mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, of_mean: Tensor, of_variance: Tensor) -> tuple[Tensor | None, Tensor | None]:
        frames, weights, mean = ctx.saved_tensors
        of_mean, of_variance, mean = (values.unsqueeze(2) for values in (of_mean, of_variance, mean))
        centered = frames - mean
        if weights is None:
            count = frames.shape[2]
            return torch.addcmul(of_mean / count, centered, of_variance * (2 / count)), None
        of_weights = None
        if ctx.needs_input_grad[1]:
            slope = torch.addcmul(of_mean, centered, of_variance)
            of_weights = torch.addcmul(of_mean * mean, slope, centered).sum_to_size(weights.shape)
        return torch.addcmul(of_mean, centered, 2 * of_variance).mul_(weights), of_weights


class TemporalAveragePooling(Pooling):
    """Pool frames into their mean per channel (TAP).

    Args:
        channels: number of input channels C.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
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


class OraclePooling(Pooling):
    """Pool frames into their mean per channel, weighted by their true worth: an upper bound for attention over time.

    Only a made corpus knows the worth, so this is no pooling for use. Its difference from
    :class:`TemporalAveragePooling` shows how much a corpus lets any attention gain.

    Args:
        channels: number of input channels C.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - worth: (B, T), the worth of the frames; where all are 0, their mean is taken
        - output: (B, C)

    Raises:
        ValueError: an utterance has no valid frame.

    Example:
        >>> frames, worth = torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[1.0, 1.0, 0.0]])
        >>> OraclePooling(1)(frames, None, worth).round().tolist()
        [[2.0]]
    """

    needs_worth = True
    # Share of its weight that a frame of no worth keeps.
    FLOOR = 1e-4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.output_dim = channels

    def forward(self, frames: Tensor, mask: Tensor | None = None, worth: Tensor | None = None) -> Tensor:
        frames, valid = valid_frames(frames, mask)
        weights = (worth.to(frames.dtype).unsqueeze(1) + self.FLOOR) * valid
        return (frames * weights).sum(dim=2) / weights.sum(dim=2)


class TemporalStatsPooling(Pooling):
    """Pool frames into their mean and unbiased standard deviation per channel (TSTP).

    Source: Snyder et al. 2018 (x-vectors), with the conventions of wespeaker: sqrt(variance + 1e-7).

    Args:
        channels: number of input channels C.

    Shape:
        - frames: (B, C, T); the standard deviation of a single frame is sqrt(1e-7)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
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


class AttentivePooling(Pooling, ABC):
    """Base class of poolings with attention over time: a softmax of logits."""

    attends = True

    @abstractmethod
    def logits(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention before the softmax, (B, C or 1, T); padding is not masked yet."""

    def attention(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """See :meth:`Pooling.attention`."""
        frames, _ = valid_frames(frames, mask)
        return attention_over_time(self.logits(frames, mask), mask)

    def figures(self, frames: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Those of :func:`attention_figures`."""
        frames, valid = valid_frames(frames, mask)
        logits = self.logits(frames, mask)
        return attention_figures(logits, attention_over_time(logits, mask), valid)


class SelfAttentivePooling(AttentivePooling):
    """Pool frames into their attention-weighted mean per channel, with one weight per frame for all channels (SAP).

    Source: Cai et al. 2018, arXiv:1804.05160, section 3.2: a softmax over time of the products of tanh(W x + b) with a
    learned vector.

    Args:
        channels: number of input channels C.
        bottleneck: width R of the hidden layer of the attention.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, C)

    Raises:
        ValueError: an utterance has no valid frame.

    Example (undecided attention makes it the mean):
        >>> pool = SelfAttentivePooling(channels=1)
        >>> _ = nn.init.zeros_(pool.score.weight)
        >>> pool(torch.tensor([[[1.0, 3.0, 99.0]]]), torch.tensor([[True, True, False]])).tolist()
        [[2.0]]
    """

    def __init__(self, channels: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.output_dim = channels
        self.hidden = nn.Conv1d(channels, bottleneck, kernel_size=1)
        self.score = nn.Conv1d(bottleneck, 1, kernel_size=1, bias=False)

    def logits(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """See :meth:`AttentivePooling.logits`."""
        frames, _ = valid_frames(frames, mask)
        return self.score(torch.tanh(self.hidden(frames)))

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        frames, _ = valid_frames(frames, mask)
        return (self.attention(frames, mask) * frames).sum(dim=2)


class AttentiveStatsPooling(AttentivePooling):
    """Pool frames into one vector of attention-weighted means and standard deviations per channel (ASP).

    Every channel has its own attention distribution over time; with ``context`` the attention also receives the mean
    and standard deviation of the utterance.

    Source: Okabe et al. 2018, arXiv:1803.10963, equations 1-6; the channel- and context-dependent form is that of
    Desplanques et al. 2020, arXiv:2005.07143, section 3.1.

    Args:
        channels: number of input channels C.
        bottleneck: width R of the hidden layer of the attention.
        context: the attention also receives the mean and standard deviation of the utterance.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
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

    least_variance: ClassVar[float] = 1e-7

    def __init__(self, channels: int, bottleneck: int = 128, context: bool = True) -> None:
        super().__init__()
        self.output_dim = 2 * channels
        self.context = context
        self.hidden = FrameConv(3 * channels if context else channels, bottleneck, kernel_size=1)
        self.score = FrameConv(bottleneck, channels, kernel_size=1)

    def logits(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """See :meth:`AttentivePooling.logits`."""
        frames, valid = valid_frames(frames, mask)
        channels = frames.shape[1]
        weight = self.hidden.weight
        hidden = convolve(frames, weight[:, :channels], self.hidden.bias)
        if self.context:
            # The statistics are the same for all frames, so they are projected only once.
            uniform = None if mask is None else valid.to(frames.dtype) / valid.sum(dim=2, keepdim=True)
            statistics = torch.cat(weighted_mean_std(frames, uniform, self.least_variance), dim=1)
            hidden = hidden + functional.linear(statistics, weight[:, channels:, 0]).unsqueeze(2)
        return self.score(self.activate(hidden, mask))

    def activate(self, hidden: Tensor, _mask: Tensor | None) -> Tensor:
        """The output of the hidden layer (B, bottleneck, T)."""
        return torch.tanh(hidden)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        frames, _ = valid_frames(frames, mask)
        return torch.cat(weighted_mean_std(frames, self.attention(frames, mask), self.least_variance), dim=1)


def attention_over_time(logits: Tensor, mask: Tensor | None) -> Tensor:
    """The softmax over time of logits (B, C, T), 0 where the mask (B, T) is False; None if all frames are valid."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if mask is not None:
        logits = logits.masked_fill(~mask.unsqueeze(1), float("-inf"))
    # The softmax would copy frames whose channels are adjacent in memory to the other layout.
    return logits.transpose(1, 2).softmax(dim=1).transpose(1, 2) if is_by_frame(logits) else logits.softmax(dim=2)


def attention_figures(logits: Tensor, attention: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """How decided an attention over time is: scalars by name.

    ``attention_entropy`` is the entropy of each channel's attention over its maximum, the logarithm of the number of
    frames: 1 where all frames have equal weight. ``attention_mean`` and ``attention_std`` are of the temporal attention
    over the frames of an utterance: the mean of the logits over channels, lambda in Sun et al., before any enhancement.
    The softmax ignores the mean; the deviation is what they call small. All are averaged over utterances. Utterances of
    one frame are left out.

    Args:
        logits: (B, C, T).
        attention: (B, C, T) what acts, 0 where it is padding.
        valid: (B, 1, T) boolean.

    Example (undecided between two of three frames):
        >>> logits = torch.tensor([[[1.0, 1.0, -99.0]]])
        >>> found = attention_figures(logits, logits.softmax(dim=2), torch.ones(1, 1, 3, dtype=torch.bool))
        >>> {name: round(value.item(), 4) for name, value in found.items()}
        {'attention_entropy': 0.6309, 'attention_mean': -32.3333, 'attention_std': 47.1405}
    """
    counts = valid.sum(dim=2)
    several = counts[:, 0] > 1
    if not several.any():
        return {}
    entropy = torch.special.entr(attention).sum(dim=2) / counts.clamp(min=2).log()
    salience = logits.double().mean(dim=1)
    deviations = _deviations(salience, valid[:, 0])
    means = salience.masked_fill(~valid[:, 0], 0.0).sum(dim=1) / counts[:, 0]
    stds = (deviations.square().sum(dim=1) / counts[:, 0]).sqrt()
    return {
        "attention_entropy": entropy[several].mean(),
        "attention_mean": means[several].mean(),
        "attention_std": stds[several].mean(),
    }


def _deviations(values: Tensor, valid: Tensor) -> Tensor:
    """Values (B, T) less their mean over valid frames, in double precision; 0 where they are padding."""
    values = values.double().masked_fill(~valid, 0.0)
    mean = values.sum(dim=1, keepdim=True) / valid.sum(dim=1, keepdim=True)
    return (values - mean).masked_fill(~valid, 0.0)


def enhance_logits(logits: Tensor, valid: Tensor, literal: bool = False) -> tuple[Tensor, Tensor]:
    """Weight-enhanced attention logits e' and the temporal weights w = 1 + tanh z.

    Let lambda be the mean of the logits e over channels, mu and sd the mean and population standard deviation of lambda
    over valid frames, and z = (lambda - mu) / sd. The paper defines lambda' = mu (1 + tanh z) and e' = e lambda' /
    lambda. This has a pole at lambda = 0, and for mu < 0 it reverses the order of the frames; but the sign and size of
    mu are arbitrary, because adding a constant does not change the softmax of plain attention. Therefore, by default,
    all logits of an utterance are first shifted by one constant that makes mu at least 3 sd, and lambda is at least
    0.1 mu in the denominator. If mu >= 3 sd and lambda >= 0.1 mu already hold, this is the formula of the paper.

    Source: Sun et al. 2022/2023, equations 2-4; the sum of equation 3 is interpreted as a sum over channels (its result
    has an index t), and its factor C cancels in equation 2.

    Args:
        logits: (B, C, T).
        valid: (B, 1, T) boolean, True for a valid frame.
        literal: use equations 2-4 as printed, but with |lambda| at least 1e-6 in the denominator.

    Returns:
        (B, C, T) enhanced logits, without meaning in padding, and (B, T) weights, each in [0, 2], 0 in padding; both at
        least in float32.

    Example (logits with a negative mean, whose order the literal form reverses):
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
    # The deviation of a constant is 0, where the square root and z are not differentiable.
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
        # The shifted logits times the ratio, except at the floor; the mean over channels is always the target.
        enhanced = target + ratio * (logits - salience)
    return enhanced, weights.masked_fill(~valid, 0.0).squeeze(1)


class WeightEnhancedStatsPooling(AttentiveStatsPooling):
    """Attentive statistics pooling with weight-enhanced attention: logits are enhanced before the softmax (WE-ASP).

    Source: Sun et al. 2022 and 2023, equations 1-7, applied to :class:`AttentiveStatsPooling`; see
    :func:`enhance_logits` for the two modes.

    Args:
        channels: number of input channels C.
        bottleneck: width R of the hidden layer of the attention.
        context: the attention also receives the mean and standard deviation of the utterance.
        mode: gauge (the logits of an utterance are first shifted to a safe mean) or literal (as printed in the paper).

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
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
        """The pooled vectors (B, 2C) and the temporal weights (B, T), which are lambda' / mu in the paper.

        The weights are between 0 and 2, around 1, independently of the size of the logits; they are 0 in padding.
        """
        frames, valid = valid_frames(frames, mask)
        enhanced, weights = enhance_logits(self.logits(frames, mask), valid, self.mode == "literal")
        attention = attention_over_time(enhanced, mask)
        return torch.cat(weighted_mean_std(frames, attention, self.least_variance), dim=1), weights

    def attention(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """See :meth:`Pooling.attention`."""
        frames, valid = valid_frames(frames, mask)
        enhanced, _ = enhance_logits(self.logits(frames, mask), valid, self.mode == "literal")
        return attention_over_time(enhanced, mask)

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.pool_with_weights(frames, mask)[0]

    def figures(self, frames: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Those of :func:`attention_figures` for the enhanced attention, and what the enhancement does.

        ``enhancement_moved`` is the share of a channel's attention that is at other frames after the enhancement;
        ``series_correlation`` is that over time of the exported weights with the attention's mean over channels.
        """
        frames, valid = valid_frames(frames, mask)
        logits = self.logits(frames, mask)
        enhanced, series = enhance_logits(logits, valid, self.mode == "literal")
        before, after = attention_over_time(logits, mask), attention_over_time(enhanced, mask)
        found = attention_figures(logits, after, valid)
        found["enhancement_moved"] = (after - before).abs().sum(dim=2).mean() / 2
        pairs = [_deviations(values, valid[:, 0]) for values in (series, after.mean(dim=1))]
        product = (pairs[0] * pairs[1]).sum(dim=1)
        norms = (pairs[0].square().sum(dim=1) * pairs[1].square().sum(dim=1)).sqrt()
        # Attention that is the same everywhere correlates with nothing, and two frames always with each other.
        usable = (norms > 0) & (valid.sum(dim=2)[:, 0] > 2)
        if usable.any():
            found["series_correlation"] = (product / norms)[usable].mean()
        return found


POOLINGS: dict[str, type[Pooling]] = {
    "tap": TemporalAveragePooling,
    "oracle": OraclePooling,
    "tstp": TemporalStatsPooling,
    "sap": SelfAttentivePooling,
    "asp": AttentiveStatsPooling,
    "we_asp": WeightEnhancedStatsPooling,
    "we_asp_literal": WeightEnhancedStatsPooling,
}

# The option of a backbone that names its pooling: one of POOLINGS, or a class from outside the package.
PoolingName = Annotated[str, "pooling"]


def find_pooling(name: str, where: str) -> type[Pooling]:
    """Find the class of a pooling.

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
    """Build the pooling of a backbone.

    Args:
        name: as in :func:`find_pooling`.
        channels: number of input channels.
        bottleneck: width of the hidden layer of attentive poolings.
        context: whether attentive poolings also receive the mean and standard deviation of the utterance.

    Example:
        >>> build_pooling("tap", 512, 128, True).output_dim, build_pooling("asp", 512, 128, True).output_dim
        (512, 1024)
    """
    kind = find_pooling(name, "pooling")
    if kind is WeightEnhancedStatsPooling:
        return kind(channels, bottleneck, context, "literal" if name == "we_asp_literal" else "gauge")
    if kind is AttentiveStatsPooling:
        return kind(channels, bottleneck, context)
    if kind is SelfAttentivePooling:
        return kind(channels, bottleneck)
    return kind(channels)
