"""Class weights that start from the mean embeddings of the training speakers."""

from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from avsv.audio.speed import SPEEDS
from avsv.data.clips import TrainingClips, WholeUtterances, whole_audio_list
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.embed.extract import embed_batches
from avsv.model.config import SystemConfig
from avsv.model.trainable import TrainableSystem

# The mean over more utterances of a speaker is hardly any better, and costs time before the first step.
MAX_UTTERANCES = 10


def start_at_means(system: TrainableSystem, config: SystemConfig, clips: TrainingClips, num_workers: int) -> None:
    """Give the weight vectors of the main classifier the directions of the speakers' mean embeddings.

    When a trained system meets new speakers, its embeddings already distinguish them. With random class weights the
    first steps would pull the networks towards noise. With ``data.speed_perturb`` a speaker at another speed is a class
    of its own, with its own mean. A classifier without class weights, and speakers without an utterance that has all
    modalities, stay as they are.

    Args:
        system: changed in place; its networks have trained weights.
        config: of the system.
        clips: the training clips.
        num_workers: loader processes.
    """
    weights = system.objective.main.class_weights
    if weights is None:
        return
    means = torch.from_numpy(_sums_of_directions(system, config, clips, len(weights), num_workers)).to(weights)
    lengths = means.norm(dim=1, keepdim=True)
    found = lengths.squeeze(1) > 0
    with torch.no_grad():
        # As long as the random vectors on average: the scores of a plain softmax depend on the length.
        weights[found] = means[found] / lengths[found] * weights.norm(dim=1).mean()


def _sums_of_directions(
    system: TrainableSystem, config: SystemConfig, clips: TrainingClips, num_classes: int, num_workers: int
) -> np.ndarray:
    """(classes, embedding_dim): the sum of embeddings of length 1 of up to MAX_UTTERANCES whole utterances of each."""
    embedder, device = system.embedder, next(system.parameters()).device
    speeds = len(SPEEDS) if config.data.speed_perturb else 1
    embed = replace(config.embed, speeds=speeds > 1)
    label_of, taken = {}, Counter()
    for key, label in zip(clips.table.keys, clips.labels.tolist(), strict=True):
        taken[label] += 1
        if taken[label] <= MAX_UTTERANCES:
            label_of[key] = label
    inputs, directory = clips.inputs, clips.table.directory
    table = read_utterances(directory, whole_audio_list(embed, inputs), inputs.video is not None, only=set(label_of))
    whole = WholeUtterances(table, np.array([label_of[key] for key in table.keys], dtype=np.int32), embed, inputs)
    sums = np.zeros((num_classes, embedder.embedding_dim))
    was_training, had_speeds = embedder.training, embedder.speeds
    embedder.speeds = speeds
    batches = load_batches(whole, range(len(whole)), num_workers, False)
    for embedded in embed_batches(embedder, batches, [config.modalities[0]], device):
        for keys, vectors in embedded.values():
            parts = vectors.reshape(len(keys), speeds, -1)
            parts = parts / np.maximum(np.linalg.norm(parts, axis=2, keepdims=True), 1e-12)
            for key, at_speeds in zip(keys, parts, strict=True):
                # The classes are all speakers at the recorded speed, then all at the second, then at the third.
                sums[label_of[key] :: num_classes // speeds] += at_speeds
    embedder.speeds = had_speeds
    embedder.train(was_training)
    return sums
