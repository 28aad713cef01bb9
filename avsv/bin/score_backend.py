"""Scores of all trial lists of data directories by a back-end learned from training embeddings, in all modes."""

from functools import partial
from pathlib import Path

from avsv.bin.command import run_command
from avsv.bin.scoring import Task, scoring_parser
from avsv.errors import DataError
from avsv.io.lists import read_list
from avsv.scoring.backend import BACKENDS, Adaptation, BackendLearner, backend_scorer, check_options
from avsv.scoring.scorer import read_means
from avsv.scoring.trials import read_embedding_blocks


def main() -> None:
    """Learn and score; print one line per back-end and per score file."""
    parser = scoring_parser(__doc__, "BACKEND", ("training", "data directory to learn from"))
    parser.add_argument("--backend", default="plda", help=f"one of {', '.join(BACKENDS)}")
    parser.add_argument("--lda-dim", type=int, help="dimensions that LDA keeps; default: no LDA before plda")
    parser.add_argument("--adapt", type=Path, help="data directory with embeddings to adapt plda to")
    parser.add_argument("--within-share", type=float, default=0.75, help="share of excess variance within speakers")
    parser.add_argument("--between-share", type=float, default=0.25, help="share of it between speakers")
    args = parser.parse_args()
    check_options(args.backend, args.lda_dim, args.adapt is not None)
    for name, share in (("--within-share", args.within_share), ("--between-share", args.between_share)):
        if not 0 <= share < float("inf"):
            raise DataError(f"{name} {share}: must be a number from 0 up")

    task = Task.of(args, [args.training, args.adapt])
    utt2spk = read_list(args.training / "utt2spk", fields=2)
    # The mean of their own data is subtracted from all embeddings; trials are from the domain of the adaptation data.
    own = read_means(args.embeddings, args.training, task.modes)
    of_trials = read_means(args.embeddings, args.adapt, task.modes) or own
    adaptation = None
    if args.adapt is not None:
        source = partial(read_blocks, args.embeddings, args.adapt, of_trials)
        adaptation = Adaptation(source, args.within_share, args.between_share)
    training = partial(read_blocks, args.embeddings, args.training, own)
    learner = BackendLearner(args.backend, training, utt2spk, str(args.training), args.lda_dim, adaptation)
    for trial_set in task.sets:
        embeddings = task.read(trial_set, of_trials)
        task.write(args.backend, trial_set, embeddings, backend_scorer(learner, embeddings))


def read_blocks(embeddings: Path, data: Path, means: dict, modality: str):
    """The embeddings of a data directory in one modality, as :func:`avsv.scoring.trials.read_embedding_blocks`."""
    return read_embedding_blocks(embeddings / f"{data.name}.{modality}.scp", means[modality])


if __name__ == "__main__":
    run_command(main)
