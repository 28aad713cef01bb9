"""Embeddings of corrupted utterances: only the modalities that a corruption affects are computed again."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avsv.config.sections import EmbedConfig
from avsv.corruption.clips import corrupted_utterances
from avsv.corruption.kinds import Corruption
from avsv.data.batch import Batch
from avsv.data.clips import WholeUtterances, whole_audio_list
from avsv.data.inputs import Inputs
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.errors import DataError
from avsv.model.embedder import Embedder
from avsv.model.saved import TrainedEmbedder
from avsv.scoring.trials import Embeddings

_ROWS = 1024  # utterances that are fused at a time

# The outputs of the network of each modality for the utterances of a list, neither fused nor scaled to length 1. Those
# of a voice at several speeds are concatenated.
Side = dict[str, Embeddings]


def embed_sides(
    systems: Sequence[TrainedEmbedder],
    directory: Path,
    utterances: Sequence[str],
    letters: str,
    corruption: Corruption | None,
    only: Collection[str] | None = None,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
) -> dict[str, Side]:
    """Compute the outputs of networks for utterances, corrupted or (None) from the stored features.

    Systems with the same inputs share the reading and the corruption.

    Args:
        systems: the systems; those without any of the modalities are skipped.
        directory: data directory.
        utterances: U ids, the rows of the result.
        letters: A, V or AV.
        corruption: the corruption.
        only: compute only these utterances; None for all.
        device: device of the systems.
        num_workers: loader processes.

    Returns:
        By name of the system and modality, (U, D) outputs, or (U, speeds * D) for voices, and which rows are present.

    Raises:
        DataError: as :func:`avsv.data.lists.read_utterances`; an embedding is not finite.
    """
    groups: dict[tuple[str, Inputs, EmbedConfig], list[TrainedEmbedder]] = {}
    for system in systems:
        mine = "".join(letter for letter in letters if letter in system.embedder.letters)
        if mine:
            groups.setdefault((mine, system.inputs.only(mine), system.config), []).append(system)
    row_of = {key: row for row, key in enumerate(utterances)}
    sides: dict[str, Side] = {}
    for (mine, inputs, embed), members in groups.items():
        audio = whole_audio_list(embed, inputs) if corruption is None else inputs.audio and "audio.scp"
        table = read_utterances(
            directory, audio, inputs.video is not None, only=row_of.keys() if only is None else only
        )
        members[0].check_data(table, mine, waveforms=corruption is not None)
        if corruption is None:
            dataset = WholeUtterances(table, np.full(len(table), -1), embed, inputs)
        else:
            dataset = corrupted_utterances(table, embed, inputs, corruption)
        sides |= {system.name: _empty_side(system.embedder, mine, len(utterances)) for system in members}
        pin = torch.device(device).type == "cuda"
        for batch in load_batches(dataset, range(len(dataset)), num_workers, pin):
            rows = np.array([row_of[key] for key in batch.keys])
            batch = batch.prepare(device)
            for system in members:
                for letter, found in _encode(system, batch, mine, corruption).items():
                    sides[system.name][letter].matrix[rows] = found
                    sides[system.name][letter].present[rows] = True
    return sides


def _empty_side(embedder: Embedder, letters: str, count: int) -> Side:
    columns = {letter: embedder.network(letter).embedding_dim * embedder.speeds_of(letter) for letter in letters}
    return {
        letter: Embeddings(np.zeros((count, columns[letter]), np.float32), np.zeros(count, bool)) for letter in letters
    }


def _encode(
    system: TrainedEmbedder, batch: Batch, letters: str, corruption: Corruption | None
) -> dict[str, NDArray[np.float32]]:
    """(B, S * D) outputs for each modality of the batch."""
    result = {}
    for letter in letters:
        mask = batch.audio_mask if letter == "A" else batch.video_mask
        if mask is None:
            continue
        with torch.inference_mode():
            outputs = system.embedder.encode(batch, letter, mask.any(dim=1))
        found = torch.cat(list(outputs), dim=1).float().cpu().numpy()
        finite = np.isfinite(found).all(axis=1)
        if not finite.all():
            key = batch.keys[int(finite.argmin())]
            raise DataError(f"{key}: its {letter} embedding by {system.name} is not finite: {corruption}")
        result[letter] = found
    return result


def modes_of_side(
    system: TrainedEmbedder,
    side: Side,
    complete: NDArray[np.bool_] | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Embeddings]:
    """Embeddings of length 1 in all modes of a system, from the outputs of its networks.

    Args:
        system: the system.
        side: outputs per modality.
        complete: (U,) utterances that the AV mode embeds, with the modalities that ``side`` has; None for those that
            have both.
        device: device of the system.
    """
    embedder = system.embedder
    nothing = np.zeros(len(next(iter(side.values())).present), bool)
    have = np.stack([side[letter].present if letter in side else nothing for letter in "AV"], axis=1)
    modes = {}
    for mode in embedder.modes:
        present = have & [letter in mode for letter in "AV"]
        rows = present.any(axis=1)
        if mode == "AV":
            rows = rows & complete if complete is not None else present.all(axis=1)
        matrix = np.zeros((len(have), embedder.speeds * embedder.embedding_dim), np.float32)
        places = np.flatnonzero(rows)
        for start in range(0, len(places), _ROWS):
            part = places[start : start + _ROWS]
            encoded = {
                letter: torch.stack(
                    torch.from_numpy(found.matrix[part]).to(device).chunk(embedder.speeds_of(letter), dim=1)
                )
                for letter, found in side.items()
            }
            with torch.inference_mode():
                fused = embedder.fuse(encoded, torch.from_numpy(present[part]).to(device))
            matrix[part] = fused.float().cpu().numpy()
        norms = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
        modes[mode] = Embeddings((matrix / np.maximum(norms, 1e-12)).astype(np.float32), rows)
    return modes
