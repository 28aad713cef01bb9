"""The embeddings of data directories: the share of one job."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsv.data.clips import WholeUtterances, whole_audio_list
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.embed.device import job_device
from avsv.embed.extract import embed_batches
from avsv.embed.modes import possible_modes
from avsv.embed.parts import PartWriter
from avsv.io.atomic import write_text
from avsv.model.saved import TrainedEmbedder


def embed_share(
    folder: Path,
    modes: Sequence[str],
    directories: Sequence[Path],
    parts: Path,
    job: int = 1,
    jobs: int = 1,
    *,
    use_gpu: bool = False,
    num_workers: int = 0,
    progress: Path | None = None,
) -> None:
    """Embed every ``jobs``-th batch of each data directory, beginning with number ``job``; print how many.

    Args:
        folder: of the trained system.
        modes: in which to embed, see :func:`avsv.embed.modes.choose_modes`; those that a directory has no lists for are
            left out, and lists of a modality that is in none of them are not read.
        directories: data directories.
        parts: folder that receives the share, see :class:`avsv.embed.parts.PartWriter`.
        job: counted from 1.
        jobs: number of shares.
        use_gpu: compute on a GPU.
        num_workers: loader processes.
        progress: file to keep at "DONE TOTAL".

    Raises:
        DataError: the system or a list cannot be read or does not fit the other; no GPU is visible; an embedding is not
            finite.
    """
    device = job_device(job, use_gpu)
    modes_of = {directory: possible_modes(directory, modes) for directory in directories}
    system = TrainedEmbedder.load(folder, device)
    datasets = []
    for directory in directories:
        letters = "".join(modes_of[directory])
        inputs = system.inputs.only(letters)
        audio_list = whole_audio_list(system.config, inputs)
        table = read_utterances(directory, audio_list, inputs.video is not None)
        system.check_data(table, letters)
        datasets.append(WholeUtterances(table, np.full(len(table), -1), system.config, inputs))

    total = sum(len(range(job - 1, len(dataset), jobs)) for dataset in datasets)
    done, shown = 0, float("-inf")
    with PartWriter(parts, job) as part:
        for directory, dataset in zip(directories, datasets, strict=True):
            batches = load_batches(dataset, range(job - 1, len(dataset), jobs), num_workers, use_gpu)
            for embedded in embed_batches(system.embedder, batches, modes_of[directory], device):
                for mode, (keys, vectors) in embedded.items():
                    part.write(f"{directory.name}.{mode}", keys, vectors)
                done += 1
                if progress is not None and (time.monotonic() - shown > 1 or done == total):
                    shown = time.monotonic()
                    write_text(progress, f"{done} {total}\n")
    print(f"{done} batches of {len(directories)} data directories embedded in {', '.join(modes)}")
