"""Compute cosine scores of all trial lists of data directories, in all modes of a system."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.scoring.scorer import (
    cosine_scorer,
    modes_of,
    read_means,
    read_modalities,
    read_trial_sets,
    report_written,
    write_set_scores,
)


def main() -> None:
    """Compute scores, and print one line per score file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modes", default="", help="evaluation modes; default: all for which there are embeddings")
    parser.add_argument("--max-lost", type=float, default=0.0, help="largest share of trials without scores")
    parser.add_argument("--subtract-mean", type=Path, help="data directory whose mean embedding is subtracted from all")
    parser.add_argument("embeddings", type=Path, help="folder with SET.MODALITY.scp")
    parser.add_argument("scores", type=Path, help="folder for LIST/MODE.cos")
    parser.add_argument("data", nargs="+", help="data directories with trial lists")
    args = parser.parse_args()

    sets = read_trial_sets(args.data)
    names = [trial_set.name for trial_set in sets]
    names += [args.subtract_mean.name] if args.subtract_mean else []
    modes = modes_of(args.embeddings, names, args.modes.split())
    means = read_means(args.embeddings, args.subtract_mean, modes)
    for trial_set in sets:
        embeddings = read_modalities(args.embeddings, trial_set, modes, means)
        scorer = cosine_scorer(embeddings)
        report_written(write_set_scores(args.scores, "cos", trial_set, modes, embeddings, scorer, args.max_lost))


if __name__ == "__main__":
    run_command(main)
