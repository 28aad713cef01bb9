"""A trained system that embeds, with what it takes."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avsv.config.sections import EmbedConfig
from avsv.data.inputs import Inputs
from avsv.model.inputs import inputs_of
from avsv.model.saved import TrainedSystem
from avsv.model.system import AVSystem

_NETWORKS = {"A": "audio", "V": "visual"}


@dataclass(frozen=True)
class Loaded:
    """A trained system that embeds.

    Args:
        name: of the system.
        network: in evaluation mode.
        inputs: what it takes.
        embed: how it embeds whole utterances.
    """

    name: str
    network: AVSystem
    inputs: Inputs
    embed: EmbedConfig

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "Loaded":
        """Read ``final.pt`` of a system's folder."""
        trained = TrainedSystem.load(folder / "final.pt")
        inputs = inputs_of(trained.config, trained.audio, trained.video)
        return cls(folder.name, trained.build(device), inputs, trained.config.embed)

    @property
    def letters(self) -> str:
        """The modalities that it has: A, V or AV."""
        return "".join(letter for letter in "AV" if getattr(self.network, _NETWORKS[letter]) is not None)

    def inputs_of(self, letters: str) -> Inputs:
        """What it takes of some of its modalities only."""
        inputs = self.inputs
        if "A" not in letters:
            inputs = replace(inputs, audio=None, takes="fbank", bins=None)
        return inputs if "V" in letters else replace(inputs, video=None, image=None)
