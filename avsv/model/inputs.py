"""The inputs that the networks of a configuration expect."""

from avsv.audio.config import FbankConfig
from avsv.data.inputs import Inputs
from avsv.errors import DataError
from avsv.model.config import NetworkConfig, SystemConfig
from avsv.model.registry import find_class
from avsv.nnet.pooling import find_pooling
from avsv.video.config import FaceFormat


def inputs_of(config: SystemConfig, audio: FbankConfig | None, video: FaceFormat | None) -> Inputs:
    """The inputs of the networks of a configuration, made from features and faces of the given forms.

    Raises:
        DataError: the audio network takes recordings of another sample rate.
    """
    kind, bins, image = "fbank", None, None
    if config.audio is not None:
        network = find_class("audio", config.audio.name)
        kind = network.takes
        if audio is not None and network.sample_rate not in (None, audio.sample_rate):
            raise DataError(
                f"audio.name: {config.audio.name} takes recordings of {network.sample_rate} Hz, but fbank.sample_rate"
                f" is {audio.sample_rate}: change it, or choose another network"
            )
        bins = config.audio.options.get("feature_dim")
    if config.visual is not None:
        options = config.visual.options
        image = (options["image_channels"], options["image_height"], options["image_width"])
    worth = "".join(letter for letter, network in (("A", config.audio), ("V", config.visual)) if _needs_worth(network))
    return Inputs(audio if config.audio else None, video if config.visual else None, kind, bins, image, worth)


def _needs_worth(network: NetworkConfig | None) -> bool:
    name = None if network is None else network.options.get("pooling")
    return name is not None and find_pooling(name, "pooling").needs_worth
