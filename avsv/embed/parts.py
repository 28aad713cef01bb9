"""Embeddings made by several jobs put together; imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from avsv.errors import DataError
from avsv.io.ark import write_vectors
from avsv.io.atomic import atomic_path

Embeddings = Mapping[str, tuple[Sequence[str], np.ndarray]]


def part_path(folder: str | Path, job: int) -> Path:
    """Where a job (from 1) puts its share."""
    return Path(folder) / f"part.{job}.npz"


def write_part(folder: str | Path, job: int, embeddings: Embeddings) -> None:
    """Write one job's share: for each name, such as eval.AV, its keys and (N, D) vectors."""
    arrays = {}
    for name, (keys, vectors) in embeddings.items():
        # Bytes, because an array of no strings has no width to read back.
        arrays[f"{name}/keys"] = np.frombuffer("\n".join(keys).encode(), dtype=np.uint8)
        arrays[f"{name}/vectors"] = np.asarray(vectors, dtype=np.float32)
    with atomic_path(part_path(folder, job)) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def merge_parts(folder: str | Path, jobs: int, name: str, prefix: str | Path) -> list[str]:
    """Merge all jobs' embeddings of one name into ``PREFIX.ark`` and ``PREFIX.scp``, sorted by key.

    Args:
        folder: where the parts are.
        jobs: number of parts.
        name: what to merge.
        prefix: path without suffix.

    Returns:
        The keys.

    Raises:
        DataError: a part is missing, or no part has an embedding of this name.
    """
    keys: list[list[str]] = []
    for job in range(1, jobs + 1):
        path = part_path(folder, job)
        if not path.is_file():
            raise DataError(f"{path}: no such file: run this job again")
        with np.load(path) as part:
            text = part[f"{name}/keys"].tobytes().decode() if f"{name}/keys" in part else ""
            keys.append(text.split("\n") if text else [])
    ordered = sorted(key for share in keys for key in share)
    if not ordered:
        raise DataError(f"{prefix}: no utterance has the modalities that {name} needs")
    row = {key: number for number, key in enumerate(ordered)}
    matrix: np.ndarray | None = None
    for job, share in enumerate(keys, 1):
        if not share:
            continue
        with np.load(part_path(folder, job)) as part:
            vectors = part[f"{name}/vectors"]
        if matrix is None:
            matrix = np.empty((len(ordered), vectors.shape[1]), dtype=np.float32)
        matrix[[row[key] for key in share]] = vectors
    write_vectors(prefix, ordered, matrix)
    return ordered
