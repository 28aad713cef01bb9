"""Statistics of log-mel energies over the training utterances."""

from dataclasses import replace

import numpy as np

from avsv.config.sections import EmbedConfig
from avsv.data.clips import TrainingClips, WholeUtterances
from avsv.data.loading import load_batches
from avsv.nnet.audio.mobilenetv2 import RunningMoments
from avsv.nnet.backbone import Backbone
from avsv.seeding import generator_for

# The error of a mean over this many utterances is negligible for a network.
MAX_UTTERANCES = 20_000


def fit_log_mel(network: Backbone | None, clips: TrainingClips, seed: int, num_workers: int) -> None:
    """Set the mean and standard deviation of each log-mel bin over all training frames in an audio network.

    The length of a training clip is set too. From a training set of more than 20,000 utterances, 20,000 are drawn.

    Source: Claborne et al. 2023, appendix B-C2.

    Args:
        network: the audio network, see :meth:`avsv.nnet.backbone.Backbone.set_log_mel_statistics`; a network with other
            inputs is not changed.
        clips: the training clips.
        seed: seed of the draw.
        num_workers: loader processes.
    """
    if clips.inputs.takes != "log_mel":
        return
    heard = np.flatnonzero(clips.table.audio_frames > 0)
    if len(heard) > MAX_UTTERANCES:
        heard = np.sort(generator_for(seed, "log_mel").choice(heard, MAX_UTTERANCES, replace=False))
    whole = WholeUtterances(clips.table, clips.labels, EmbedConfig(batch_size=1), replace(clips.inputs, video=None))
    chosen = set(heard.tolist())
    numbers = [number for number, batch in enumerate(whole.batches) if int(batch[0]) in chosen]
    moments = RunningMoments(clips.inputs.num_bins)
    for batch in load_batches(whole, numbers, num_workers, False):
        moments.update(batch.audio)
    network.set_log_mel_statistics(moments.mean, moments.std, clips.audio_length)
