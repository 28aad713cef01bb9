"""A trained system as one file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avsv.audio.config import FbankConfig
from avsv.config.sections import EmbedConfig
from avsv.config.strict import read_dataclass
from avsv.data.clips import whole_audio_list
from avsv.data.inputs import FEATURE_LISTS, Inputs
from avsv.data.lists import UtteranceTable
from avsv.data.stored import check_fbank
from avsv.errors import DataError
from avsv.io.torch_file import load_file, save_atomically
from avsv.model.build import WithoutValues, build_network, check_exactly, load_exactly, part_of
from avsv.model.config import SystemConfig, parse_config
from avsv.model.embedder import Embedder
from avsv.model.inputs import inputs_of
from avsv.model.trainable import TrainableSystem
from avsv.video.config import FaceFormat

_FIELDS = ("config", "embedder", "objective", "classes", "audio", "video")


@dataclass
class TrainedSystem:
    """A system with its weights and the form of its inputs.

    Args:
        config: configuration with which it was built and trained.
        embedder: the ``state_dict`` of its :class:`avsv.model.embedder.Embedder`, on the CPU.
        objective: the ``state_dict`` of its :class:`avsv.model.objective.Objective`, which embedding does not need;
            empty for a system that keeps published weights.
        classes: the training identities in the order of their labels; empty for such a system.
        audio: form of the features; None for a system without audio.
        video: form of the face frames; None for a system without video.
    """

    config: SystemConfig
    embedder: dict[str, Tensor]
    objective: dict[str, Tensor]
    classes: list[str]
    audio: FbankConfig | None
    video: FaceFormat | None

    @classmethod
    def of(
        cls,
        system: TrainableSystem,
        config: SystemConfig,
        classes: list[str],
        audio: FbankConfig | None,
        video: FaceFormat | None,
    ) -> "TrainedSystem":
        """Make a trained system with copies of the current weights."""
        return cls(config, _copy(system.embedder), _copy(system.objective), classes, audio, video)

    def save(self, path: str | Path) -> None:
        """Write the file atomically; equal content gives equal bytes."""
        content = {
            "config": self.config.to_mapping(),
            "embedder": self.embedder,
            "objective": self.objective,
            "classes": self.classes,
            "audio": self.audio.to_dict() if self.audio else None,
            "video": _settings(self.video),
        }
        save_atomically(path, content)

    @classmethod
    def load(cls, path: str | Path) -> "TrainedSystem":
        """Read the file. Raises DataError: no such file, not readable, or not the file of a trained system."""
        content = load_file(path)
        if not isinstance(content, dict) or set(content) != set(_FIELDS):
            raise DataError(f"{path}: not the file of a trained system")
        config = parse_config(content["config"], str(path))
        classes = content["classes"]
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise DataError(f"{path}: classes: expected the names of the training speakers")
        for part, network in (("audio", config.audio), ("video", config.visual)):
            if (network is None) != (content[part] is None):
                raise DataError(f"{path}: {part}: does not belong to this configuration")
        return cls(
            config,
            _checked_state(path, "embedder", content["embedder"]),
            _checked_state(path, "objective", content["objective"]),
            classes,
            None if config.audio is None else read_dataclass(FbankConfig, content["audio"], f"{path}: audio"),
            None if config.visual is None else FaceFormat.from_settings(content["video"], f"{path}: video"),
        )

    def build(self, device: torch.device | str = "cpu") -> Embedder:
        """Build the embedder with its trained weights, in evaluation mode."""
        # On the meta device nothing is allocated: settings of another size than the weights take no memory.
        with torch.device("meta"), WithoutValues():
            check_exactly(Embedder(self.config), self.embedder, "the system")
        embedder = Embedder(self.config)
        load_exactly(embedder, self.embedder, "the system")
        return embedder.to(device).eval()

    def class_weights(self) -> Tensor | None:
        """The vectors (classes, embedding_dim) of the classes, in order; None if there is no loss or it has none."""
        if not self.config.trained:
            return None
        # On the meta device, nothing is allocated or drawn.
        with torch.device("meta"):
            size = Embedder(self.config).embedding_dim
            classifier = build_network(self.config.loss.classifier, size, len(self.classes))
        state = part_of(self.objective, "classifiers.main")
        check_exactly(classifier, state, "the classifier")
        classifier.load_state_dict(state, assign=True)
        return None if classifier.class_weights is None else classifier.class_weights.detach()


def _settings(video: FaceFormat | None) -> dict[str, Any] | None:
    """The settings of face crops without the folder of the detector's weights: equal crops, equal files."""
    if video is None:
        return None
    return {name: value for name, value in video.settings().items() if name != "detector_weights"}


def _checked_state(path: str | Path, name: str, state: object) -> dict[str, Tensor]:
    """A ``state_dict`` of ordinary tensors. Raises DataError for anything else."""
    if not isinstance(state, dict):
        raise DataError(f"{path}: {name}: expected names of weights and tensors")
    for key, value in state.items():
        usual = isinstance(key, str) and isinstance(value, Tensor) and value.layout == torch.strided
        if not usual or value.device.type != "cpu" or value.is_quantized or value.is_complex():
            raise DataError(f"{path}: {name}: {key}: not a tensor of weights: train this system again")
    return dict(state)


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


@dataclass(frozen=True)
class TrainedEmbedder:
    """The part of a trained system that embedding needs.

    Args:
        name: name of the system.
        embedder: the embedder in evaluation mode.
        inputs: form of its inputs.
        config: options for embedding whole utterances.
    """

    name: str
    embedder: Embedder
    inputs: Inputs
    config: EmbedConfig

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "TrainedEmbedder":
        """Read ``final.pt`` in the folder of a system. Raises DataError: see :meth:`TrainedSystem.load`."""
        trained = TrainedSystem.load(folder / "final.pt")
        inputs = inputs_of(trained.config, trained.audio, trained.video)
        try:
            embedder = trained.build(device)
        except DataError as error:
            raise DataError(f"{folder}/final.pt: {error}") from None
        return cls(folder.name, embedder, inputs, trained.config.embed)

    def check_data(self, table: UtteranceTable, letters: str = "AV", waveforms: bool = False) -> None:
        """Raise DataError where a data directory's features or face crops were made with other settings than its own.

        Args:
            table: the utterances that are read.
            letters: modalities that are read of them.
            waveforms: their audio is read as waveforms, whatever the network takes.
        """
        directory = table.directory
        if "V" in letters and self.inputs.video is not None:
            difference = FaceFormat.read(directory / "faces.conf").difference(self.inputs.video)
            if difference:
                raise DataError(
                    f"{directory}/faces.conf: {difference} as in the training of {self.name}: make the face crops again"
                    " with steps/make_face_crops.sh --config"
                )
        features = whole_audio_list(self.config, self.inputs) == FEATURE_LISTS["fbank"]
        if "A" in letters and features and not waveforms:
            check_fbank(table, self.inputs.audio, f"in the training of {self.name}")
