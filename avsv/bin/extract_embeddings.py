"""Embed whole utterances with a trained system: the batches of one job, or --merge to merge the parts of all jobs."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.embed.modes import choose_modes
from avsv.embed.parts import merge_shares
from avsv.errors import DataError
from avsv.io.names import check_name


def main() -> None:
    """Parse the arguments and embed, or merge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", type=Path, help="folder of the trained system")
    parser.add_argument("out", type=Path, help="folder for SET.MODE.ark and SET.MODE.scp")
    parser.add_argument("data", type=Path, nargs="+", help="data directories")
    parser.add_argument("--modes", default="", help="modes in which to embed, of A, V and AV (default: all)")
    parser.add_argument("--parts", type=Path, required=True, metavar="DIR", help="folder for the parts of jobs")
    parser.add_argument("--job", type=int, default=1, help="number of this job (1)")
    parser.add_argument("--num-jobs", type=int, default=1, help="number of jobs (1)")
    parser.add_argument("--merge", action="store_true", help="merge the parts of all jobs")
    parser.add_argument("--gpu", action="store_true", help="compute on a GPU")
    parser.add_argument("--num-workers", type=int, default=0, help="loader processes (0)")
    parser.add_argument("--progress", type=Path, metavar="FILE", help='file to update with "DONE TOTAL"')
    args = parser.parse_args()

    modes = choose_modes(args.system, args.modes.split())
    names = [directory.name for directory in args.data]
    for name in names:
        check_name(name, "the name of the data directory")
        if names.count(name) > 1:
            raise DataError(
                f"two data directories are named '{name}', so their files would have the same name: rename one"
            )
    if args.merge:
        merge_shares(args.parts, args.num_jobs, modes, args.out, args.data)
        return
    # It imports torch.
    from avsv.embed.directories import embed_share

    embed_share(
        args.system,
        modes,
        args.data,
        args.parts,
        args.job,
        args.num_jobs,
        use_gpu=args.gpu,
        num_workers=args.num_workers,
        progress=args.progress,
    )


if __name__ == "__main__":
    run_command(main)
