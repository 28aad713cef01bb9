"""A trained system as one file."""

from dataclasses import dataclass
from pathlib import Path

import torch

from avsv.audio.config import FbankConfig
from avsv.errors import DataError
from avsv.io.torch_file import load_file, save_atomically
from avsv.model.config import SystemConfig, parse_config
from avsv.model.system import AVSystem, build_system
from avsv.video.config import FaceFormat


@dataclass
class TrainedSystem:
    """A system with its weights, and what it must be fed with.

    Args:
        config: how it was built and trained.
        weights: its ``state_dict`` on the CPU, classifiers included.
        classes: the training speakers in the order of their labels.
        audio: what the features are; None for a system without audio.
        video: what the face frames are; None for a system without video.
    """

    config: SystemConfig
    weights: dict[str, torch.Tensor]
    classes: list[str]
    audio: FbankConfig | None
    video: FaceFormat | None

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all; equal content gives equal bytes."""
        content = {
            "config": self.config.to_mapping(),
            "weights": self.weights,
            "classes": self.classes,
            "audio": self.audio.to_dict() if self.audio else None,
            "video": vars(self.video) if self.video else None,
        }
        save_atomically(path, content)

    @classmethod
    def load(cls, path: str | Path) -> "TrainedSystem":
        """Read the file. Raises DataError: no such file, not readable, or not the file of a trained system."""
        content = load_file(path)
        if not isinstance(content, dict) or content.keys() != {"config", "weights", "classes", "audio", "video"}:
            raise DataError(f"{path}: not the file of a trained system")
        return cls(
            parse_config(content["config"], str(path)),
            content["weights"],
            content["classes"],
            FbankConfig(**content["audio"]) if content["audio"] else None,
            FaceFormat(**content["video"]) if content["video"] else None,
        )

    def build(self, device: torch.device | str = "cpu") -> AVSystem:
        """The system in evaluation mode, without its classifiers."""
        system = build_system(self.config, num_classes=None)
        system.load_weights(self.weights)
        return system.to(device).eval()
