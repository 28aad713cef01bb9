"""Embed whole utterances with a trained system: one job's share of the batches, or --merge of all jobs' shares."""

import argparse
import time
from pathlib import Path

from avsv.bin.command import run_command
from avsv.embed.parts import PartWriter, merge_parts
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.io.names import check_name
from avsv.model.config import load_config


def choose_modes(folder: Path, wanted: list[str]) -> list[str]:
    """The modes to embed in: those wanted, or all that the system of a folder has.

    Raises:
        DataError: the system does not have one of them.
    """
    known = load_config(folder / "config.yaml").modalities
    for mode in wanted:
        if mode not in known:
            raise DataError(f"--modes: {mode}: the system {folder} embeds in {', '.join(known)}")
    return wanted or list(known)


def merge(parts: Path, jobs: int, modes: list[str], out: Path, directories: list[Path]) -> None:
    """Write ``OUT/SET.MODE.{ark,scp}`` for every set and mode; list in ``SET.MODE.missing`` who has no embedding."""
    for directory in directories:
        utterances = read_list(directory / "utt2spk", fields=2)
        # Scoring takes all modes that it finds: those of an earlier extraction would be of other weights.
        for mode in {"A", "V", "AV"} - set(modes):
            for suffix in ("scp", "ark", "missing"):
                (out / f"{directory.name}.{mode}.{suffix}").unlink(missing_ok=True)
        for mode in modes:
            name = f"{directory.name}.{mode}"
            made = merge_parts(parts, jobs, name, out / name)
            missing = sorted(utterances.keys() - set(made))
            (out / f"{name}.missing").unlink(missing_ok=True)
            if missing:
                write_text(out / f"{name}.missing", "".join(f"{key}\n" for key in missing))
                print(
                    f"{name}: {len(missing)} of {len(utterances)} utterances lack a modality: see {out}/{name}.missing"
                )


def extract(
    folder: Path,
    modes: list[str],
    directories: list[Path],
    parts: Path,
    job: int,
    jobs: int,
    use_gpu: bool,
    num_workers: int,
    progress: Path | None,
) -> None:
    """Embed every ``jobs``-th batch of each data directory, beginning with number ``job``."""
    import numpy as np
    import torch

    from avsv.data.clips import WholeUtterances, whole_audio_list
    from avsv.data.lists import read_utterances
    from avsv.data.loading import load_batches
    from avsv.embed.extract import embed_batches
    from avsv.model.saved import TrainedEmbedder

    device = torch.device("cpu")
    if use_gpu:
        if not torch.cuda.is_available():
            raise DataError("no GPU is visible: use --ngpu 0")
        device = torch.device("cuda", (job - 1) % torch.cuda.device_count())
    else:
        # Jobs run beside each other, and a sum over other threads has other last bits.
        torch.set_num_threads(1)
    system = TrainedEmbedder.load(folder, device)
    datasets = []
    for directory in directories:
        audio_list = whole_audio_list(system.config, system.inputs)
        table = read_utterances(directory, audio_list, system.inputs.video is not None)
        system.check_data(table)
        datasets.append(WholeUtterances(table, np.full(len(table), -1), system.config, system.inputs))

    total = sum(len(range(job - 1, len(dataset), jobs)) for dataset in datasets)
    done, shown = 0, float("-inf")
    with PartWriter(parts, job) as part:
        for directory, dataset in zip(directories, datasets, strict=True):
            batches = load_batches(dataset, range(job - 1, len(dataset), jobs), num_workers, use_gpu)
            for embedded in embed_batches(system.embedder, batches, modes, device):
                for mode, (keys, vectors) in embedded.items():
                    part.write(f"{directory.name}.{mode}", keys, vectors)
                done += 1
                if progress is not None and (time.monotonic() - shown > 1 or done == total):
                    shown = time.monotonic()
                    write_text(progress, f"{done} {total}\n")
    print(f"{done} batches of {len(directories)} data directories embedded in {', '.join(modes)}")


def main() -> None:
    """Parse the arguments and work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", type=Path, help="folder of the trained system")
    parser.add_argument("out", type=Path, help="receives SET.MODE.ark and SET.MODE.scp")
    parser.add_argument("data", type=Path, nargs="+", help="data directories")
    parser.add_argument("--modes", default="", help="modes in which to embed, of A, V and AV (all of the system)")
    parser.add_argument("--parts", type=Path, required=True, metavar="DIR", help="where jobs put their shares")
    parser.add_argument("--job", type=int, default=1, help="which share of the batches (1)")
    parser.add_argument("--num-jobs", type=int, default=1, help="number of shares (1)")
    parser.add_argument("--merge", action="store_true", help="put the shares together")
    parser.add_argument("--gpu", action="store_true", help="compute on a GPU")
    parser.add_argument("--num-workers", type=int, default=0, help="loader processes (0)")
    parser.add_argument("--progress", type=Path, metavar="FILE", help='file to keep at "DONE TOTAL"')
    args = parser.parse_args()

    modes = choose_modes(args.system, args.modes.split())
    names = [directory.name for directory in args.data]
    for name in names:
        check_name(name, "the data directory's name")
        if names.count(name) > 1:
            raise DataError(f"two data directories are named '{name}', which would give files of one name: rename one")
    if args.merge:
        merge(args.parts, args.num_jobs, modes, args.out, args.data)
    else:
        workers = args.num_workers
        extract(args.system, modes, args.data, args.parts, args.job, args.num_jobs, args.gpu, workers, args.progress)


if __name__ == "__main__":
    run_command(main)
