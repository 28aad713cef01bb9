"""Train one system, resuming from its last checkpoint; with torchrun, in several processes."""

import argparse
import os
import sys
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError


def parse_init(text: str) -> dict[str, Path]:
    """Parse ``--init``: "audio=DIR visual=DIR", one of these, "system=DIR", or an empty text.

    Example:
        >>> parse_init("audio=exp/ecapa visual=exp/iresnet18")["visual"].name
        'iresnet18'
    """
    sources = {}
    # The name of a folder may contain blanks: only these words begin a new entry.
    for word in text.split(" "):
        role, equals, folder = word.partition("=")
        if equals and role in ("audio", "visual", "system"):
            sources[role] = folder
        elif sources:
            sources[next(reversed(sources))] += f" {word}"
        elif word:
            raise DataError(f"--init: '{word}': expected audio=DIR, visual=DIR or system=DIR")
    return {role: Path(folder) for role, folder in sources.items()}


def main() -> int | None:
    """Parse the arguments and train; return 128 + the number of the signal after SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("config", help="configuration of the system")
    parser.add_argument("train_dir", type=Path, help="data directory to train on")
    parser.add_argument("dev_dir", type=Path, help="data directory with the trials for the development EER")
    parser.add_argument("folder", help="folder for final.pt, checkpoints, train.csv and tensorboard")
    parser.add_argument(
        "--fbank-config",
        type=Path,
        default=Path("conf/fbank.yaml"),
        metavar="FILE",
        help="configuration of the features",
    )
    parser.add_argument("--noise-dir", type=Path, metavar="DIR", help="data directory of noises")
    parser.add_argument("--rir-dir", type=Path, metavar="DIR", help="data directory of room responses")
    parser.add_argument("--init", default="", help="trained systems to start from: 'audio=DIR visual=DIR'")
    parser.add_argument("--weights-dir", default="data/weights", metavar="DIR", help="folder of published weights")
    parser.add_argument("--seed", type=int, default=0, help="base seed of all random draws")
    parser.add_argument("--gpu", action="store_true", help="train on GPUs, one per process")
    parser.add_argument("--num-workers", type=int, default=0, help="loader processes of each training process")
    parser.add_argument("--progress", type=Path, metavar="FILE", help='file to update with "DONE TOTAL"')
    args = parser.parse_args()

    # These variables are read when torch is loaded. Threads that wait actively take cores from the loader: with fewer
    # cores than threads and workers, steps would take several times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from avsv.train.material import Sources
    from avsv.train.run import train_system
    from avsv.train.signals import Interrupted

    try:
        train_system(
            args.config,
            Sources(args.train_dir, args.dev_dir, args.fbank_config, args.noise_dir, args.rir_dir),
            args.folder,
            seed=args.seed,
            use_gpu=args.gpu,
            num_workers=args.num_workers,
            init=parse_init(args.init),
            weights_dir=args.weights_dir,
            progress=args.progress,
        )
    except Interrupted as stopped:
        print(f"train: {stopped}", file=sys.stderr)
        return 128 + stopped.signal
    return None


if __name__ == "__main__":
    run_command(main)
