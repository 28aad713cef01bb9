"""The part of a system that computes embeddings: the networks and their fusion."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avsv.audio.speed import SPEEDS
from avsv.data.batch import Batch
from avsv.errors import DataError
from avsv.model.build import build_network
from avsv.model.config import SystemConfig
from avsv.nnet.backbone import Backbone
from avsv.nnet.fusion.base import Fusion

# The networks by the letter of their modality.
NETWORKS = {"A": "audio", "V": "visual"}
# Their inputs in a batch.
INPUTS = {"A": "audio", "V": "video"}


class Weights(NamedTuple):
    """Temporal weights (B, T') of a pooling and their mask; see :class:`avsv.nnet.pooling.Pooling`."""

    values: Tensor
    mask: Tensor


class Outputs(NamedTuple):
    """The outputs of an embedder for a training batch.

    Attributes:
        embedding: (B, embedding_dim), the system's embedding.
        networks: maps 'audio' and 'visual' to the outputs (B, D) of the networks; zeros if the modality is missing.
        views: two (B, embedding_dim) of a fusion whose views are classified; see :class:`avsv.nnet.fusion.base.Fusion`.
        weights: maps 'audio' and 'visual' to the temporal weights of their poolings, if requested.
        single: maps 'audio' and 'visual' to the system's embeddings (N, embedding_dim) of one modality alone, of the
            utterances that have it, if requested.
    """

    embedding: Tensor
    networks: dict[str, Tensor]
    views: tuple[Tensor, Tensor] | None
    weights: dict[str, Weights]
    single: dict[str, Tensor]


class Embedder(nn.Module):
    """An audio network, a visual network, or both with their fusion.

    Weights are named ``audio.*``, ``visual.*`` and ``fusion.*``. Embeddings are computed in two steps: :meth:`encode`
    runs the network of a modality, and :meth:`fuse` combines the modalities of a mode.

    Args:
        config: the configuration; initial weights are drawn from torch's current seed.

    Raises:
        DataError: a network does not accept its options.

    Example:
        >>> from avsv.model.config import parse_config
        >>> config = parse_config({
        ...     "audio": {"name": "ecapa_tdnn", "channels": 16, "aggregate_channels": 32},
        ...     "loss": {"classifier": {"name": "aam_softmax"}},
        ...     "train": {"epochs": 1, "batch_size": 2, "optimizer": {"name": "sgd"}, "schedule": {"name": "constant"}},
        ... }, "example")
        >>> embedder = Embedder(config)
        >>> batch = Batch(["a", "b"], torch.tensor([0, 1]), torch.randn(2, 50, 80), torch.ones(2, 50).bool())
        >>> embedder.modes, embedder.embed(batch, ["A"])["A"].shape
        (('A',), torch.Size([2, 192]))
    """

    def __init__(self, config: SystemConfig) -> None:
        super().__init__()
        self.modes = config.modalities
        self.audio: Backbone | None = build_network(config.audio)
        self.visual: Backbone | None = build_network(config.visual)
        self.fusion: Fusion | None = None
        if config.fusion is not None:
            self.fusion = build_network(config.fusion, self.audio.embedding_dim, self.visual.embedding_dim)
        self.embedding_dim: int = (self.fusion or self.audio or self.visual).embedding_dim
        self.speeds = len(SPEEDS) if config.embed.speeds else 1

    @property
    def letters(self) -> str:
        """The modalities for which there are networks: A, V or AV."""
        return "".join(letter for letter in NETWORKS if self.network(letter) is not None)

    def network(self, letter: str) -> Backbone | None:
        """The network of a modality, A or V; None if the system does not have it."""
        return self.audio if letter == "A" else self.visual

    def speeds_of(self, letter: str) -> int:
        """The number of speeds at which the network of a modality embeds an utterance."""
        return self.speeds if letter == "A" else 1

    def forward(self, batch: Batch, with_weights: bool = False, with_single: bool = False) -> Outputs:
        """Compute the outputs for a training batch from all modalities of each utterance, at the recorded speed.

        Args:
            batch: see :class:`avsv.data.batch.Batch`.
            with_weights: also return the temporal weights of the poolings.
            with_single: also return the fused embeddings of one modality alone.

        Raises:
            DataError: an utterance has neither modality.
        """
        whole = all(INPUTS[letter] in batch.complete for letter in self.letters)
        present = None if whole else self.present(batch, self.modes[0])
        networks, weights = {}, {}
        for letter in self.letters:
            rows = None if whole else present[:, "AV".index(letter)]
            networks[NETWORKS[letter]], found = self._run(batch, letter, rows, with_weights)
            if found is not None:
                weights[NETWORKS[letter]] = found
        fused = self._fuse(networks.get("audio"), networks.get("visual"), present)
        views = None if self.fusion is None else self.fusion.views(networks["audio"], networks["visual"])
        single = self._single(networks, batch) if with_single else {}
        return Outputs(fused, networks, views, weights, single)

    def embed(self, batch: Batch, modes: Sequence[str]) -> dict[str, Tensor]:
        """Compute embeddings in several modes, running every network only once.

        Args:
            batch: must contain the modalities that the modes need.
            modes: some of :attr:`modes`. In an audio-visual system all modes share one space: A and V embed as if the
                other modality were missing; AV uses all modalities that an utterance has.

        Returns:
            The embeddings of each mode, as returned by :meth:`fuse`.

        Raises:
            DataError: an utterance has no modality that the mode uses.
            ValueError: the system does not have this mode.
        """
        present = {mode: self.present(batch, mode) for mode in modes}
        wanted = torch.stack(list(present.values())).any(dim=0)
        encoded = {letter: self.encode(batch, letter, wanted[:, "AV".index(letter)]) for letter in self.letters}
        return {mode: self.fuse(encoded, rows) for mode, rows in present.items()}

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """What shows how the poolings and the fusion work on a batch: scalars by name, of the parts that have any.

        Those of the poolings start with ``audio_`` or ``visual_``, those of the fusion with ``fusion_``; see
        :meth:`avsv.nnet.pooling.Pooling.figures` and :meth:`avsv.nnet.fusion.base.Fusion.figures`.

        Raises:
            DataError: an utterance has neither modality.
        """
        present = self.present(batch, self.modes[0])
        found = {}
        for letter in self.letters:
            rows = present[:, "AV".index(letter)]
            inputs, mask = (batch.audio, batch.audio_mask) if letter == "A" else (batch.video, batch.video_mask)
            if rows.any():
                of_network = self.network(letter).figures(inputs[rows], mask[rows])
                found.update({f"{NETWORKS[letter]}_{name}": value for name, value in of_network.items()})
        if self.fusion is not None:
            outputs = [self._run(batch, letter, present[:, "AV".index(letter)])[0] for letter in self.letters]
            of_fusion = self.fusion.figures(*outputs, present)
            found.update({f"fusion_{name}": value for name, value in of_fusion.items()})
        return found

    def present(self, batch: Batch, mode: str) -> Tensor:
        """Which utterances have audio and video that a mode uses: (B, 2) boolean.

        Raises:
            DataError: an utterance has no modality that the mode uses.
            ValueError: the system does not have this mode.
        """
        if mode not in self.modes:
            raise ValueError(f"mode {mode}: this system embeds in {', '.join(self.modes)}")
        columns = []
        for letter, mask in (("A", batch.audio_mask), ("V", batch.video_mask)):
            if letter in mode and mask is not None:
                columns.append(mask.any(dim=1))
            else:
                columns.append(torch.zeros(len(batch), dtype=torch.bool, device=batch.label.device))
        present = torch.stack(columns, dim=1)
        nothing = ~present.any(dim=1)
        if nothing.any():
            keys = [key for key, lacks in zip(batch.keys, nothing.tolist(), strict=True) if lacks]
            wanted = {"A": "audio", "V": "video", "AV": "audio and no video"}[mode]
            raise DataError(f"{keys[0]}: the utterance has no {wanted}: remove it from the list (mode {mode})")
        return present

    def encode(self, batch: Batch, letter: str, rows: Tensor) -> Tensor:
        """Compute the outputs of the network of one modality at all its speeds: (S, B, D).

        Args:
            batch: see :class:`avsv.data.batch.Batch`.
            letter: A or V; video is embedded at one speed only.
            rows: (B,) boolean, the utterances that have this modality; the others get zeros.
        """
        views = [batch]
        if letter == "A" and self.speeds > 1:
            # Without audio, an utterance is the same at all speeds.
            views = [batch] * self.speeds if batch.audio is None else [batch, *batch.at_other_speeds()]
        return torch.stack([self._run(view, letter, rows)[0] for view in views])

    def fuse(self, encoded: Mapping[str, Tensor], present: Tensor) -> Tensor:
        """Combine the present modalities of each utterance to one embedding: (B, speeds * embedding_dim).

        With several speeds, the embeddings at each speed are scaled to the same length and concatenated, so that a
        cosine is the mean of the cosines at equal speeds. The video is the same at all speeds.

        Args:
            encoded: the results of :meth:`encode` by the letter of the modality; values of modalities that are not
                present are ignored.
            present: (B, 2) boolean, whether there is audio and whether there is video.
        """
        speeds = max(len(outputs) for outputs in encoded.values())
        nothing = [None] * speeds
        audio, visual = (
            encoded[letter].expand(speeds, -1, -1) if letter in encoded else nothing for letter in NETWORKS
        )
        return join_speeds([self._fuse(*pair, present) for pair in zip(audio, visual, strict=True)])

    def _single(self, networks: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The fused embeddings (N, embedding_dim) of one modality alone, of the utterances of a batch that have it."""
        single = {}
        for letter, name in NETWORKS.items():
            rows = batch.there(INPUTS[letter])
            if rows is not None:
                audio, visual = (networks[other][rows] for other in NETWORKS.values())
                present = torch.zeros(len(audio), 2, dtype=torch.bool, device=audio.device)
                present[:, "AV".index(letter)] = True
                single[name] = self._fuse(audio, visual, present)
        return single

    def _fuse(self, audio: Tensor | None, visual: Tensor | None, present: Tensor | None) -> Tensor:
        """The embedding (B, embedding_dim) at one speed; with None, both modalities are present everywhere."""
        if self.fusion is None:
            return visual if audio is None else audio
        if present is None:
            return self.fusion(audio, visual)
        audio, visual = audio.masked_fill(~present[:, :1], 0), visual.masked_fill(~present[:, 1:], 0)
        return self.fusion(audio, visual, present)

    def _run(
        self, batch: Batch, letter: str, rows: Tensor | None, with_weights: bool = False
    ) -> tuple[Tensor, Weights | None]:
        """The outputs (B, D) of a network, zeros where it is not run, and the temporal weights of its pooling.

        Without ``rows``, it is run for all utterances, whose inputs are complete.
        """
        network = self.network(letter)
        inputs, mask = (batch.audio, batch.audio_mask) if letter == "A" else (batch.video, batch.video_mask)
        worth = batch.audio_worth if letter == "A" else batch.video_worth
        if rows is None:
            return _outputs(network, inputs, None, worth, with_weights)
        if not rows.any():
            return torch.zeros(len(batch), network.embedding_dim, device=batch.label.device), None
        if rows.all():
            return _outputs(network, inputs, mask, worth, with_weights)
        # Batch normalization cannot compute statistics of one utterance: it uses its running statistics.
        alone = network.training and int(rows.sum()) == 1
        if alone:
            network.eval()
        found, weights = _outputs(
            network, inputs[rows], mask[rows], worth if worth is None else worth[rows], with_weights
        )
        if alone:
            network.train()
        if weights is not None:
            weights = Weights(*(_scattered(part, rows) for part in weights))
        return _scattered(found, rows), weights


def _outputs(
    network: Backbone, inputs: Tensor, mask: Tensor | None, worth: Tensor | None, with_weights: bool
) -> tuple[Tensor, Weights | None]:
    if not with_weights:
        if not network.pool.needs_worth:
            return network(inputs, mask), None
        if worth is None:
            raise DataError(
                "the pooling needs the true worth of every moment, which only utterances of a made corpus have:"
                " choose another system"
            )
        return network(inputs, mask, worth), None
    embeddings, weights, weights_mask = network.forward_with_weights(inputs, mask)
    if weights_mask is None:
        weights_mask = torch.ones_like(weights, dtype=torch.bool)
    return embeddings, Weights(weights, weights_mask)


def _scattered(values: Tensor, rows: Tensor) -> Tensor:
    """Values (N, ...) at the N True positions of ``rows`` (B,), zeros elsewhere: (B, ...)."""
    result = values.new_zeros(len(rows), *values.shape[1:])
    result[rows] = values
    return result


def join_speeds(embeddings: Sequence[Tensor]) -> Tensor:
    """Scale the embeddings (B, D) of the same utterances at S speeds to the same length and concatenate: (B, S * D).

    The length of the result is the mean length of the embeddings; embeddings at one speed are returned unchanged.

    Example:
        >>> join_speeds([torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 1.0]])]).mul(2**0.5)
        tensor([[1.8000, 2.4000, 0.0000, 3.0000]])
    """
    if len(embeddings) == 1:
        return embeddings[0]
    lengths = torch.stack([one.norm(dim=1, keepdim=True) for one in embeddings]).mean(dim=0)
    parts = [nn.functional.normalize(one, dim=1) for one in embeddings]
    return torch.cat(parts, dim=1) * lengths / len(embeddings) ** 0.5
