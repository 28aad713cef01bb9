"""The embeddings of data directories: the share of one job, and the shares of all jobs put together."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avsv.data.clips import WholeUtterances, whole_audio_list
from avsv.data.lists import read_utterances
from avsv.data.loading import load_batches
from avsv.embed.device import job_device
from avsv.embed.extract import embed_batches
from avsv.embed.parts import PartWriter, merge_parts
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.model.config import load_config
from avsv.model.saved import TrainedEmbedder

# The lists that a modality has before and after its features are made.
_LISTS = {"A": ("wav.scp", "feats.scp", "audio.scp"), "V": ("video.scp", "faces.scp")}


def choose_modes(folder: Path, wanted: Sequence[str]) -> list[str]:
    """The modes to embed in: the wanted ones, or all modes of the system in a folder.

    Raises:
        DataError: the system does not have one of them.
    """
    known = load_config(folder / "config.yaml").modalities
    for mode in wanted:
        if mode not in known:
            raise DataError(f"--modes: {mode}: the system {folder} embeds in {', '.join(known)}")
    return list(wanted or known)


def possible_modes(directory: Path, modes: Sequence[str]) -> list[str]:
    """Those of some modes whose modalities a data directory has; it may lack one as a whole.

    Raises:
        DataError: it has none of them.
    """
    there = {letter for letter, names in _LISTS.items() if any((directory / name).exists() for name in names)}
    possible = [mode for mode in modes if there.issuperset(mode)]
    if not possible:
        raise DataError(f"{directory}: {_lacking(modes, possible)} cannot be embedded: use a system of what it has")
    return possible


def _lacking(modes: Sequence[str], possible: Sequence[str]) -> str:
    """Why some of the modes are not possible, in words."""
    there = set("".join(possible))
    lists = [names[0] for letter, names in _LISTS.items() if letter in "".join(modes) and letter not in there]
    left_out = [mode for mode in modes if mode not in possible]
    return f"no {' and no '.join(lists)}: {' and '.join(left_out)}"


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
        modes: in which to embed, see :func:`choose_modes`; those that a directory has no lists for are left out, and
            lists of a modality that is in none of them are not read.
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


def merge_shares(parts: Path, jobs: int, modes: Sequence[str], out: Path, directories: Sequence[Path]) -> None:
    """Write ``OUT/SET.MODE.{ark,scp}`` per set and mode, and in ``SET.MODE.missing`` the utterances without one.

    Args:
        parts: folder that :func:`embed_share` wrote to.
        jobs: number of shares.
        modes: in which the utterances were embedded.
        out: folder to write to.
        directories: data directories.

    Raises:
        DataError: as :func:`avsv.embed.parts.merge_parts`.
    """
    for directory in directories:
        utterances = read_list(directory / "utt2spk", fields=2)
        possible = possible_modes(directory, modes)
        if len(possible) < len(modes):
            print(f"{directory.name}: {_lacking(modes, possible)} left out")
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
