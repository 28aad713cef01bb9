"""SimAM-ResNet: a residual network over features, with parameter-free gates on the residuals."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from avsv.nnet.audio.renaming import renamed
from avsv.nnet.audio.resnet import ResNetTrunk, check_features, frame_dim
from avsv.nnet.backbone import Backbone
from avsv.nnet.normalization import MaskedBatchNorm1d
from avsv.nnet.pooling import AttentivePooling, PoolingName, build_pooling, valid_frames


class ReLUAttentiveStatsPooling(AttentivePooling):
    """Attentive statistics pooling with ReLU and batch normalization instead of tanh in the hidden layer.

    Source: Okabe et al. 2018, arXiv:1803.10963, equations 1-6, in the form of RawNet3 in clovaai/voxceleb_trainer
    (encoder types ECA and, with ``scalar``, ASP) and of SimAM-ResNet in wespeaker, which has no context.

    Args:
        channels: number of input channels C.
        bottleneck: width R of the hidden layer of the attention.
        context: the attention also receives the mean and unbiased standard deviation of the utterance.
        scalar: one weight per frame, the same for all channels.
        variance_range: range to which variances are clamped before the square root.

    Shape:
        - frames: (B, C, T)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, 2C), the C means, then the C standard deviations

    Raises:
        ValueError: an utterance has no valid frame.

    Example (uniform attention makes it plain statistics pooling):
        >>> pool = ReLUAttentiveStatsPooling(channels=1).eval()
        >>> _ = nn.init.zeros_(pool.score.weight)
        >>> frames, mask = torch.tensor([[[1.0, 2.0, 3.0, 99.0]]]), torch.tensor([[True, True, True, False]])
        >>> [round(x, 4) for x in pool(frames, mask)[0].tolist()]
        [2.0, 0.8165]
    """

    def __init__(
        self,
        channels: int,
        bottleneck: int = 128,
        context: bool = False,
        scalar: bool = False,
        variance_range: tuple[float, float] = (1e-5, math.inf),
    ) -> None:
        super().__init__()
        self.output_dim = 2 * channels
        self.context = context
        self.variance_range = variance_range
        self.hidden = nn.Conv1d(3 * channels if context else channels, bottleneck, kernel_size=1)
        self.norm = MaskedBatchNorm1d(bottleneck)
        self.score = nn.Conv1d(bottleneck, 1 if scalar else channels, kernel_size=1)

    def logits(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        """See :meth:`avsv.nnet.pooling.AttentivePooling.logits`."""
        frames, valid = valid_frames(frames, mask)
        channels = frames.shape[1]
        weight = self.hidden.weight
        hidden = functional.conv1d(frames, weight[:, :channels], self.hidden.bias)
        if self.context:
            # The statistics are the same for all frames, so they are projected only once.
            count = valid.sum(dim=2)
            mean = frames.sum(dim=2) / count
            squares = ((frames - mean.unsqueeze(2)) ** 2).masked_fill(~valid, 0.0).sum(dim=2)
            deviation = (squares / (count - 1).clamp(min=1)).clamp(*self.variance_range).sqrt()
            statistics = torch.cat([mean, deviation], dim=1)
            hidden = hidden + functional.linear(statistics, weight[:, channels:, 0]).unsqueeze(2)
        return self.score(self.norm(torch.relu(hidden), mask))

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Tensor:
        frames, _ = valid_frames(frames, mask)
        weights = self.attention(frames, mask)
        mean = (weights * frames).sum(dim=2)
        variance = (weights * (frames - mean.unsqueeze(2)) ** 2).sum(dim=2)
        return torch.cat([mean, variance.clamp(*self.variance_range).sqrt()], dim=1)


class SimAMResNet(Backbone):
    """SimAM-ResNet speaker embeddings from filterbank features.

    Source: Qin et al. 2022, arXiv:2110.06534, as in wespeaker: residuals gated by SimAM, pooling of every channel and
    row of the last map over time, one linear layer. Its attentive pooling is :class:`ReLUAttentiveStatsPooling` without
    context; the other poolings are those of the other networks.

    Args:
        depth: 34 or 100 layers.
        feature_dim: bins F of the features.
        channels: channels of the first stage; the others have 2, 4 and 8 times as many.
        embedding_dim: size D of the embedding.
        pooling: a name of :data:`avsv.nnet.pooling.POOLINGS`, over time.
        attention_channels: width of the hidden layer of the attention (attentive poolings).
        context: the attention also receives the mean and standard deviation of the utterance (attentive poolings).

    Shape:
        - inputs: (B, T, F)
        - mask: (B, T) boolean, True for valid frames; None if all are valid
        - output: (B, D)

    Raises:
        ValueError: inputs are not (B, T, F), or an utterance has no valid frame.

    Example:
        >>> net = SimAMResNet(depth=34, channels=4, embedding_dim=32)
        >>> net.frames(torch.zeros(2, 100, 80))[0].shape, net(torch.zeros(2, 100, 80)).shape
        (torch.Size([2, 320, 13]), torch.Size([2, 32]))
    """

    def __init__(
        self,
        *,
        depth: Literal[34, 100] = 34,
        feature_dim: int = 80,
        channels: int = 64,
        embedding_dim: int = 256,
        pooling: PoolingName = "asp",
        attention_channels: int = 128,
        context: bool = False,
    ) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.embedding_dim = embedding_dim
        self.trunk = ResNetTrunk(depth, channels, simam=True)
        frame_channels = frame_dim(channels, feature_dim)
        if pooling == "asp":
            self.pool = ReLUAttentiveStatsPooling(frame_channels, attention_channels, context)
        else:
            self.pool = build_pooling(pooling, frame_channels, attention_channels, context)
        self.embed = nn.Linear(self.pool.output_dim, embedding_dim)

    def frames(self, inputs: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Frame features (B, 8 * channels * ceil(F / 8), ceil(T / 8)) and their mask."""
        check_features("SimAM-ResNet", inputs, self.feature_dim)
        maps, mask = self.trunk(inputs, mask)
        return maps.flatten(1, 2), mask

    def convert_published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Convert a state dict of WeSpeaker; see :meth:`avsv.nnet.backbone.Backbone.convert_published`."""
        attention = tuple(
            (rf"^pooling\.attention\.{number}\.", f"pool.{name}.")
            for number, name in ((0, "hidden"), (2, "norm"), (3, "score"))
        )
        rules = ((r"^front\.", ""), *self.trunk.published_names(), *attention, (r"^bottleneck\.", "embed."))
        return renamed(self, state, rules, "projection")
