"""Compute cosine scores of all trial lists of data directories, in all modes of a system."""

from avsv.bin.command import run_command
from avsv.bin.scoring import Task, add_subtract_mean, scoring_parser
from avsv.scoring.scorer import cosine_scorer, read_means


def main() -> None:
    """Compute scores, and print one line per score file."""
    parser = scoring_parser(__doc__, "cos")
    add_subtract_mean(parser)
    args = parser.parse_args()
    task = Task.of(args, [args.subtract_mean])
    means = read_means(args.embeddings, args.subtract_mean, task.modes)
    for trial_set in task.sets:
        embeddings = task.read(trial_set, means)
        task.write("cos", trial_set, embeddings, cosine_scorer(embeddings))


if __name__ == "__main__":
    run_command(main)
