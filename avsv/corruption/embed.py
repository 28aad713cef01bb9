"""Embeddings of corrupted utterances: only what a corruption touches is computed again."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avsv.config.sections import EmbedConfig
from avsv.corruption.clips import corrupted_utterances
from avsv.corruption.kinds import Corruption
from avsv.data.clips import WholeUtterances, whole_audio_list
from avsv.data.inputs import Inputs
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.errors import DataError
from avsv.model.loaded import Loaded
from avsv.model.system import join_speeds
from avsv.scoring.trials import Embeddings
from avsv.video.config import FaceFormat

_ROWS = 1024  # utterances that are fused at a time
_NETWORKS = {"A": "audio", "V": "visual"}
_FIELDS = {"A": ("audio", "audio_mask"), "V": ("video", "video_mask")}


# Per modality the outputs of its network for the utterances of a list: not fused, not scaled to length 1. Of a voice at
# several speeds they stand end to end.
Side = dict[str, Embeddings]


def embed_sides(
    systems: Sequence[Loaded],
    directory: Path,
    utterances: Sequence[str],
    letters: str,
    corruption: Corruption | None,
    only: Collection[str] | None = None,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
) -> dict[str, Side]:
    """The outputs of the networks of some modalities for utterances, corrupted or (None) from the stored features.

    What is read and corrupted is shared by all systems that take the same.

    Args:
        systems: those without any of the modalities are left out.
        directory: data directory.
        utterances: U ids, the rows of the result.
        letters: A, V or AV.
        corruption: what happens to the utterances.
        only: compute these of them; None for all.
        device: where the systems are.
        num_workers: loader processes.

    Returns:
        Per system's name, per modality (U, D), of a voice (U, speeds * D), and which rows there are.

    Raises:
        DataError: as :func:`avsv.data.lists.read_utterances`; an embedding is not finite.
    """
    groups: dict[tuple[str, Inputs, EmbedConfig], list[Loaded]] = {}
    for system in systems:
        mine = "".join(letter for letter in letters if letter in system.letters)
        if mine:
            groups.setdefault((mine, system.inputs_of(mine), system.embed), []).append(system)
    row_of = {key: row for row, key in enumerate(utterances)}
    sides: dict[str, Side] = {}
    for (mine, inputs, embed), members in groups.items():
        _check_faces(directory, inputs, members[0].name)
        audio = whole_audio_list(embed, inputs) if corruption is None else inputs.audio and "audio.scp"
        table = read_utterances(
            directory, audio, inputs.video is not None, only=row_of.keys() if only is None else only
        )
        if corruption is None:
            dataset = WholeUtterances(table, np.full(len(table), -1), embed, inputs)
        else:
            dataset = corrupted_utterances(table, embed, inputs, corruption)
        for system in members:
            sides[system.name] = {}
            for letter in mine:
                columns = _network(system, letter).embedding_dim * _speeds(system, letter)
                matrix = np.zeros((len(utterances), columns), np.float32)
                sides[system.name][letter] = Embeddings(matrix, np.zeros(len(utterances), bool))
        pin = torch.device(device).type == "cuda"
        for batch in load_batches(dataset, range(len(dataset)), num_workers, pin):
            rows = np.array([row_of[key] for key in batch.keys])
            batch = batch.prepare(device)
            for system in members:
                for letter in mine:
                    if getattr(batch, _FIELDS[letter][0]) is None:
                        continue
                    views = [batch, *batch.at_other_speeds()][: _speeds(system, letter)]
                    with torch.inference_mode():
                        outputs = [
                            _network(system, letter)(*(getattr(view, field) for field in _FIELDS[letter]))
                            for view in views
                        ]
                    found = torch.cat(outputs, dim=1).float().cpu().numpy()
                    if not np.isfinite(found).all():
                        key = batch.keys[int(np.isfinite(found).all(axis=1).argmin())]
                        raise DataError(f"{key}: its {letter} embedding by {system.name} is not finite: {corruption}")
                    sides[system.name][letter].matrix[rows] = found
                    sides[system.name][letter].present[rows] = True
    return sides


def modes_of_side(
    system: Loaded, side: Side, complete: NDArray[np.bool_] | None = None, device: torch.device | str = "cpu"
) -> dict[str, Embeddings]:
    """Embeddings of length 1 in all modes of a system, from the outputs of its networks.

    Args:
        system: the system.
        side: per modality.
        complete: (U,) utterances that the AV mode embeds, from whatever ``side`` has of them; None for those of which
            it has both.
        device: where the system is.
    """
    speeds = _speeds(system, "A")
    if system.network.fusion is None:
        (letter,) = system.letters
        parts = torch.from_numpy(side[letter].matrix).chunk(_speeds(system, letter), dim=1)
        return {letter: _scaled(join_speeds(parts).numpy(), side[letter].present)}
    have = np.stack([side["A"].present, side["V"].present], axis=1)
    allowed = {"AV": have, "A": have & [True, False], "V": have & [False, True]}
    modes = {}
    for mode, present in allowed.items():
        rows = present.any(axis=1)
        if mode == "AV":
            rows = rows & complete if complete is not None else present.all(axis=1)
        matrix = np.zeros((len(have), speeds * system.network.embedding_dim), np.float32)
        places = np.flatnonzero(rows)
        for start in range(0, len(places), _ROWS):
            part = places[start : start + _ROWS]
            audio, visual = (
                np.where(present[part, column, None], side[letter].matrix[part], 0)
                for column, letter in enumerate("AV")
            )
            audio, visual, there = (torch.from_numpy(array).to(device) for array in (audio, visual, present[part]))
            with torch.inference_mode():
                fused = [system.network.fusion(voice, visual, there) for voice in audio.chunk(speeds, dim=1)]
                matrix[part] = join_speeds(fused).float().cpu().numpy()
        modes[mode] = _scaled(matrix, rows)
    return modes


def _speeds(system: Loaded, letter: str) -> int:
    """At how many speeds one of its networks takes an utterance."""
    return system.network.speeds if letter == "A" else 1


def _network(system: Loaded, letter: str) -> torch.nn.Module:
    return getattr(system.network, _NETWORKS[letter])


def _scaled(matrix: NDArray, present: NDArray[np.bool_]) -> Embeddings:
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    return Embeddings((matrix / np.maximum(norms, 1e-12)).astype(np.float32), present)


def _check_faces(directory: Path, inputs: Inputs, name: str) -> None:
    if inputs.video is not None and (there := FaceFormat.read(directory / "faces.conf")) != inputs.video:
        raise DataError(f"{directory}/faces.conf: {there}, but {name} was trained on {inputs.video}: remake them")
