"""Merging the embeddings of several jobs. This module does not import torch."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from avsv.embed.modes import lacking_modes, possible_modes
from avsv.errors import DataError
from avsv.io.ark import ArkWriter, append_vectors
from avsv.io.atomic import write_text
from avsv.io.lists import read_list

_BLOCK = 16384  # vectors in memory when parts are merged


def part_path(folder: str | Path, job: int) -> Path:
    """The list of the outputs of a job (counted from 1); it appears when the job is complete."""
    return Path(folder) / f"part.{job}"


class PartWriter:
    """Writes the embeddings of one job incrementally: ``part.JOB.NAME.keys`` and ``.vectors`` for each name.

    Args:
        folder: folder of the parts.
        job: number of the job, counted from 1.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with PartWriter(folder, 1) as part:
        ...         part.write("eval.A", ["b", "a"], np.array([[2, 2], [1, 1]]))
        ...     merge_parts(folder, 1, "eval.A", folder + "/eval.A")
        ['a', 'b']
    """

    def __init__(self, folder: str | Path, job: int) -> None:
        self._path = part_path(folder, job)
        self._files: dict[str, tuple[BinaryIO, BinaryIO]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "PartWriter":
        self._path.unlink(missing_ok=True)
        return self

    def write(self, name: str, keys: Sequence[str], vectors: np.ndarray) -> None:
        """Append (N, D) vectors and their keys under a name such as eval.AV."""
        if name not in self._files:
            paths = (Path(f"{self._path}.{name}.{kind}") for kind in ("keys", "vectors"))
            self._files[name] = tuple(self._stack.enter_context(path.open("wb")) for path in paths)
        listed, values = self._files[name]
        listed.write("".join(f"{key}\n" for key in keys).encode())
        values.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())

    def __exit__(self, kind, error, trace) -> None:
        self._stack.close()
        if error is None:
            write_text(self._path, "".join(f"{name}\n" for name in self._files))


def merge_parts(folder: str | Path, jobs: int, name: str, prefix: str | Path) -> list[str]:
    """Merge the embeddings of one name from all jobs into ``PREFIX.ark`` and ``PREFIX.scp``, sorted by key.

    Args:
        folder: folder of the parts.
        jobs: number of parts.
        name: name to merge.
        prefix: path without suffix.

    Returns:
        The keys.

    Raises:
        DataError: a part is missing, or no part has an embedding of this name.
    """
    keys: list[str] = []
    parts: list[np.ndarray] = []
    for job in range(1, jobs + 1):
        path = part_path(folder, job)
        if not path.is_file():
            raise DataError(f"{path}: no such file: run this job again")
        if name in path.read_text(encoding="utf-8").split("\n"):
            share = Path(f"{path}.{name}.keys").read_text(encoding="utf-8").split("\n")[:-1]
            keys += share
            parts.append(np.memmap(f"{path}.{name}.vectors", dtype="<f4", mode="r").reshape(len(share), -1))
    if not keys:
        raise DataError(f"{prefix}: no utterance has the modalities that {name} needs")
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
    starts = np.cumsum([0] + [len(part) for part in parts])
    with ArkWriter(prefix, "float") as writer:
        for first in range(0, len(order), _BLOCK):
            rows = order[first : first + _BLOCK]
            block = np.empty((len(rows), parts[0].shape[1]), dtype=np.float32)
            for start, end, part in zip(starts, starts[1:], parts, strict=False):
                here = (rows >= start) & (rows < end)
                block[here] = part[rows[here] - start]
            append_vectors(writer, [keys[row] for row in rows], block)
    return [keys[row] for row in order]


def merge_shares(parts: Path, jobs: int, modes: Sequence[str], out: Path, directories: Sequence[Path]) -> None:
    """Write ``OUT/SET.MODE.{ark,scp}`` per set and mode, and in ``SET.MODE.missing`` the utterances without one.

    Args:
        parts: folder that :func:`avsv.embed.directories.embed_share` wrote to.
        jobs: number of shares.
        modes: in which the utterances were embedded.
        out: folder to write to.
        directories: data directories.

    Raises:
        DataError: as :func:`merge_parts`.
    """
    for directory in directories:
        utterances = read_list(directory / "utt2spk", fields=2)
        possible = possible_modes(directory, modes)
        if len(possible) < len(modes):
            print(f"{directory.name}: {lacking_modes(modes, possible)} left out")
        # Scoring uses all modes that it finds; files of an earlier extraction would come from other weights.
        for mode in {"A", "V", "AV"} - set(possible):
            for suffix in ("scp", "ark", "missing"):
                (out / f"{directory.name}.{mode}.{suffix}").unlink(missing_ok=True)
        for mode in possible:
            name = f"{directory.name}.{mode}"
            made = merge_parts(parts, jobs, name, out / name)
            missing = sorted(utterances.keys() - set(made))
            (out / f"{name}.missing").unlink(missing_ok=True)
            if missing:
                write_text(out / f"{name}.missing", "".join(f"{key}\n" for key in missing))
                print(
                    f"{name}: {len(missing)} of {len(utterances)} utterances lack a modality: see {out}/{name}.missing"
                )
