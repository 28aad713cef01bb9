"""Collation of the clips of several utterances into a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avsv.data.batch import Batch
from avsv.data.inputs import Inputs
from avsv.data.lists import UtteranceTable
from avsv.data.padding import pad

# Value of padding frames, which masks hide from networks.
_GRAY = 128


@dataclass
class Clip:
    """The data of one utterance in a batch; None for a missing modality. ``others``: its audio at other speeds."""

    audio: Tensor | None = None
    video: Tensor | None = None
    audio_worth: Tensor | None = None
    video_worth: Tensor | None = None
    others: Sequence[Tensor] = ()


def collate(
    table: UtteranceTable,
    labels: np.ndarray,
    inputs: Inputs,
    indices: Sequence[int],
    clips: Sequence[Clip],
    lengths: tuple[int, int] | None = None,
) -> Batch:
    """Make a batch of clips.

    Args:
        table: the utterances.
        labels: (N,) class of each utterance of the table.
        inputs: the modalities and their shapes.
        indices: (B,) rows in the table.
        clips: (B,) their clips.
        lengths: lengths of audio and video in the batch; None for those of the longest clips, in which case a modality
            that all clips lack is None in the batch.
    """
    fields: dict[str, Tensor] = {}
    columns = () if inputs.takes == "waveform" or inputs.audio is None else (inputs.num_bins,)
    audio_length, video_length = lengths or (
        _longest(clip.audio for clip in clips),
        _longest(clip.video for clip in clips),
    )
    silence = torch.tensor(0.0)
    if inputs.audio is not None and (lengths or audio_length):
        audio = [clip.audio for clip in clips]
        fields["audio"], fields["audio_mask"] = pad(audio, audio_length, columns, silence)
        if clips[0].others:
            speeds = list(zip(*(clip.others for clip in clips), strict=True))
            length = max(map(_longest, speeds))
            padded = [pad(views, length, columns, silence) for views in speeds]
            fields["other_speeds"], fields["other_speeds_mask"] = map(torch.stack, zip(*padded, strict=True))
    if inputs.video is not None and (lengths or video_length):
        video, gray = [clip.video for clip in clips], torch.tensor(_GRAY, dtype=torch.uint8)
        fields["video"], fields["video_mask"] = pad(video, video_length, inputs.image_shape, gray)
    for modality, letter in (("audio", "A"), ("video", "V")):
        worth = [getattr(clip, f"{modality}_worth") for clip in clips]
        if letter in inputs.worth and _longest(worth):
            fields[f"{modality}_worth"], _ = pad(worth, _longest(worth), (), torch.tensor(-1.0))
    label = torch.from_numpy(labels[list(indices)].astype(np.int64))
    return Batch([table.keys[index] for index in indices], label, **fields)


def _longest(series) -> int:
    return max(0 if steps is None else len(steps) for steps in series)
