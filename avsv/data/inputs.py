"""The form of stored data, and of the inputs that the networks of a system expect."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from avsv.audio.config import FbankConfig
from avsv.video.config import FaceFormat

FEATURE_LISTS = {"fbank": "feats.scp", "waveform": "audio.scp", "log_mel": "audio.scp"}


@dataclass(frozen=True)
class Inputs:
    """The form of the stored audio and faces, and of the inputs of the networks.

    Args:
        audio: configuration of Fbank features; its sample rate and frame shift apply to waveforms too. None: no audio.
        video: form of the stored face frames; None for a system without video.
        takes: input of the audio network: Fbank features, the waveform, or log-mel energies.
        bins: columns of these features; None for the stored ones.
        image: (channels, height, width) of the input of the visual network; None for the stored form.
        worth: the modalities of which networks need the true worth: "", A, V or AV.
    """

    audio: FbankConfig | None = None
    video: FaceFormat | None = None
    takes: Literal["fbank", "waveform", "log_mel"] = "fbank"
    bins: int | None = None
    image: tuple[int, int, int] | None = None
    worth: str = ""

    @property
    def audio_list(self) -> str | None:
        """The list from which whole utterances are read; None for a system without audio."""
        return FEATURE_LISTS[self.takes] if self.audio is not None else None

    @property
    def num_bins(self) -> int:
        """The number of columns of the features."""
        return self.bins or self.audio.num_mel_bins

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the frames that the network receives."""
        return self.image or (self.video.channels, self.video.height, self.video.width)

    def only(self, letters: str) -> "Inputs":
        """The inputs of some modalities only: A, V or AV."""
        inputs = replace(self, worth="".join(letter for letter in self.worth if letter in letters))
        inputs = inputs if "A" in letters else replace(inputs, audio=None, takes="fbank", bins=None)
        return inputs if "V" in letters else replace(inputs, video=None, image=None)

    def show(self, frames: np.ndarray) -> np.ndarray:
        """Convert stored frames (T, C, H, W) of bytes to the input of the network: channels and size.

        Example:
            >>> inputs = Inputs(video=FaceFormat(channels=3, height=64, width=64, fps=25), image=(1, 32, 32))
            >>> inputs.show(np.full((2, 3, 64, 64), 7, np.uint8)).shape
            (2, 1, 32, 32)
        """
        channels, height, width = self.image_shape
        if frames.shape[1:] == (channels, height, width):
            return frames
        if frames.shape[1] == 3 and channels == 1:
            # ITU-R BT.601, as in the gray crops of make_face_crops.
            frames = np.rint(frames.transpose(0, 2, 3, 1) @ np.float32([0.299, 0.587, 0.114])).astype(np.uint8)[:, None]
        if frames.shape[2:] != (height, width):
            import cv2

            shrinks = height <= frames.shape[2] and width <= frames.shape[3]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            scaled = [cv2.resize(frame.transpose(1, 2, 0), (width, height), interpolation=how) for frame in frames]
            frames = np.stack(scaled).reshape(len(frames), height, width, -1).transpose(0, 3, 1, 2)
        return frames if frames.shape[1] == channels else np.repeat(frames, channels, axis=1)
