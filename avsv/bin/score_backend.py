"""Scores of all trial lists of data directories by a back-end learned from training embeddings, in all modes."""

import argparse
from functools import cache, partial
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.scoring.backend import BACKENDS, Adaptation, Backend, backend_scorer, check_options, fit_backend
from avsv.scoring.scorer import (
    modes_of,
    read_means,
    read_modalities,
    read_trial_sets,
    report_written,
    write_set_scores,
)
from avsv.scoring.trials import read_embedding_blocks


def main() -> None:
    """Learn and score; print one line per back-end and per score file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="plda", help=f"one of {', '.join(BACKENDS)}")
    parser.add_argument("--lda-dim", type=int, help="dimensions that LDA keeps; default: no LDA before plda")
    parser.add_argument("--adapt", type=Path, help="data directory with embeddings to adapt plda to")
    parser.add_argument("--within-share", type=float, default=0.75, help="share of excess variance within speakers")
    parser.add_argument("--between-share", type=float, default=0.25, help="share of it between speakers")
    parser.add_argument("--modes", default="", help="evaluation modes; default: all that the embeddings allow")
    parser.add_argument("--max-lost", type=float, default=0.0, help="largest share of a list's trials without scores")
    parser.add_argument("embeddings", type=Path, help="folder with SET.MODALITY.scp")
    parser.add_argument("scores", type=Path, help="folder for LIST/MODE.BACKEND")
    parser.add_argument("training", type=Path, help="data directory to learn from")
    parser.add_argument("data", nargs="+", help="data directories with trial lists")
    args = parser.parse_args()
    check_options(args.backend, args.lda_dim, args.adapt is not None)
    for name, share in (("--within-share", args.within_share), ("--between-share", args.between_share)):
        if not 0 <= share < float("inf"):
            raise DataError(f"{name} {share}: must be a number from 0 up")

    sets = read_trial_sets(args.data)
    utt2spk = read_list(args.training / "utt2spk", fields=2)
    others = [args.training] if args.adapt is None else [args.training, args.adapt]
    names = [trial_set.name for trial_set in sets] + [folder.name for folder in others]
    modes = modes_of(args.embeddings, names, args.modes.split())
    # The mean of their own data is subtracted from all embeddings; trials are from the domain of the adaptation data.
    own, of_trials = (read_means(args.embeddings, folder, modes) for folder in (others[0], others[-1]))

    def blocks(folder: Path, means: dict, modality: str):
        return read_embedding_blocks(args.embeddings / f"{folder.name}.{modality}.scp", means[modality])

    adaptation = None
    if args.adapt is not None:
        adaptation = Adaptation(partial(blocks, args.adapt, of_trials), args.within_share, args.between_share)

    @cache
    def learned(modalities: tuple[str, ...]) -> Backend:
        training = partial(blocks, args.training, own)
        backend, statistics = fit_backend(
            args.backend, modalities, training, utt2spk, str(args.training), args.lda_dim, adaptation
        )
        print(
            f"{args.backend} of {' and '.join(modalities)}: {len(statistics.counts)} speakers, {statistics.size}"
            f" embeddings of {args.training}, {args.lda_dim or statistics.dim} dimensions"
        )
        return backend

    def backend_of(enroll: str, test: str) -> Backend:
        return learned(tuple(sorted({enroll, test})))

    for trial_set in sets:
        embeddings = read_modalities(args.embeddings, trial_set, modes, of_trials)
        scorer = backend_scorer(backend_of, embeddings)
        written = write_set_scores(args.scores, args.backend, trial_set, modes, embeddings, scorer, args.max_lost)
        report_written(written)


if __name__ == "__main__":
    run_command(main)
