"""Angles of every identity in the spaces of several systems: identities.csv and identities.png."""

import argparse
from pathlib import Path

from avsv.analysis.identities import identity_boxes
from avsv.analysis.rows import IdentityBox
from avsv.analysis.spaces import read_spaces
from avsv.bin.command import run_command
from avsv.io.atomic import write_text
from avsv.io.lists import read_list
from avsv.io.names import system_name
from avsv.results.frames import to_csv
from avsv.results.plots import identities_plot


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of the identities that are drawn")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("data", type=Path, help="data directory")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("systems", nargs="+", type=system_name, help="their names")
    args = parser.parse_args()
    utt2spk = read_list(args.data / "utt2spk", fields=2)
    boxes = []
    for system in args.systems:
        boxes += identity_boxes(system, read_spaces(args.exp / system, args.data.name, utt2spk))
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "identities.csv", to_csv(boxes, IdentityBox))
    identities_plot(args.out / "identities.png", boxes, args.seed)
    print(f"angles of {len({box.identity for box in boxes})} identities in the spaces of {len(args.systems)} systems")


if __name__ == "__main__":
    run_command(main)
