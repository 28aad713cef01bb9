"""The null representation of a missing modality against the mean embedding of that modality.

Claborne et al. (section IV-A) suppose that mean fusion learns to represent a missing modality by its mean embedding,
and leave it open for other fusions. Here it is measured for any of them: the embedding of a voice alone against the
mean of the embeddings of the same voice with the faces of others, and the reverse.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avsv.analysis.attention import mean_interval
from avsv.analysis.geometry import angles
from avsv.analysis.rows import NullRepresentation
from avsv.data.clips import WholeUtterances
from avsv.data.lists import read_utterances
from avsv.model.embedder import NETWORKS
from avsv.model.saved import TrainedEmbedder
from avsv.nnet.fusion.base import Fusion

MAX_UTTERANCES = 64  # every one is fused with every other


def null_representations(system: TrainedEmbedder, directory: Path) -> list[NullRepresentation]:
    """Measure the null representations of an audio-visual system over up to :data:`MAX_UTTERANCES` utterances.

    Returns:
        A row for each modality; none if a speaker has all of these utterances but one, or all.

    Raises:
        DataError: as :func:`avsv.data.lists.read_utterances`; data cannot be read.
    """
    inputs = system.inputs
    table = read_utterances(directory, inputs.audio_list, True)
    both = np.flatnonzero((table.audio_frames > 0) & (table.video_frames > 0))
    chosen = both[:: max(1, -(-len(both) // MAX_UTTERANCES))]
    counts = Counter(table.speakers[row] for row in chosen)
    # The spread over the utterances of others needs two of them for everybody.
    if len(chosen) - max(counts.values(), default=0) < 2:
        return []
    table = read_utterances(directory, inputs.audio_list, True, only={table.keys[row] for row in chosen})
    clips = WholeUtterances(table, np.full(len(table), -1), replace(system.config, speeds=False), inputs)
    keys, encoded = [], {letter: [] for letter in NETWORKS}
    with torch.inference_mode():
        for batch in clips.prepared():
            keys += batch.keys
            everywhere = torch.ones(len(batch), dtype=torch.bool)
            for letter, parts in encoded.items():
                parts.append(system.embedder.encode(batch, letter, everywhere)[0])
        speaker_of = dict(zip(table.keys, table.speakers, strict=True))
        outputs = [torch.cat(parts) for parts in encoded.values()]
        return compare_null(system.embedder.fusion, *outputs, [speaker_of[key] for key in keys])


def compare_null(fusion: Fusion, audio: Tensor, visual: Tensor, speakers: Sequence[str]) -> list[NullRepresentation]:
    """Compare the embeddings without a modality with those that have the modality of other speakers.

    Args:
        fusion: in evaluation mode.
        audio: (N, audio_dim) outputs of the audio network.
        visual: (N, visual_dim) outputs of the visual network for the same utterances.
        speakers: (N,) of the utterances; at least two.
    """
    names, rows = np.array(speakers), []
    for missing, present in (("audio", [False, True]), ("visual", [True, False])):
        null = fusion(audio, visual, torch.tensor(present).expand(len(audio), 2))
        distances, means = [], []
        for row, name in enumerate(names):
            others = torch.from_numpy(names != name)
            voices, faces = audio[others], visual[others]
            if missing == "audio":
                faces = visual[row].expand_as(faces)
            else:
                voices = audio[row].expand_as(voices)
            fused = fusion(voices, faces)
            mean = fused.mean(dim=0)
            spread = (fused - mean).square().sum(dim=1).mean().sqrt()
            distances.append(float((null[row] - mean).norm() / spread))
            means.append(mean)
        interval = mean_interval(np.array(distances), names)
        apart = angles(null, torch.stack(means))
        rows.append(NullRepresentation(missing, len(audio), *interval, float(apart.mean())))
    return rows
