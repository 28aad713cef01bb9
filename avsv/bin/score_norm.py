"""Compute normalized scores of all trial lists of data directories, in all modes of a system."""

from pathlib import Path

from avsv.bin.command import run_command
from avsv.bin.scoring import Task, add_subtract_mean, scoring_parser
from avsv.errors import DataError
from avsv.io.lists import read_list, write_list
from avsv.scoring.norm import VARIANTS, Normalizer, find_variant, speaker_cohort
from avsv.scoring.records import Normalization, write_normalization
from avsv.scoring.scorer import modalities_of, read_means
from avsv.scoring.trials import TrialSet, read_embedding_blocks


def main() -> None:
    """Normalize scores, and print one line per score file."""
    parser = scoring_parser(__doc__, "asnorm", ("cohort", "data directory of the cohort"))
    add_subtract_mean(parser)
    parser.add_argument("--variant", default="as-norm1", help=f"{', '.join(VARIANTS)}, or MODULE:NAME of a Variant")
    parser.add_argument("--top-n", type=int, default=300, help="cohort speakers per utterance, for adaptive variants")
    parser.add_argument("--num-threads", type=int, default=2)
    args = parser.parse_args()
    if args.top_n < 2:
        raise DataError(f"--top-n {args.top_n}: a standard deviation needs at least 2 cohort speakers")
    adaptive = find_variant(args.variant).adaptive

    task = Task.of(args, [args.cohort, args.subtract_mean])
    utt2spk = read_list(args.cohort / "utt2spk", fields=2)
    means = read_means(args.embeddings, args.subtract_mean, task.modes)
    cohorts = {}
    for modality in modalities_of(task.modes):
        scp = args.embeddings / f"{args.cohort.name}.{modality}.scp"
        cohorts[modality] = speaker_cohort(*read_embedding_blocks(scp, mean=means.get(modality)), utt2spk)
    size = min(len(cohort.speakers) for cohort in cohorts.values())
    print(
        f"cohort: {size} speakers of {args.cohort}, {args.variant}"
        + (f" with the nearest {min(args.top_n, size)}" if adaptive else "")
    )
    for trial_set in task.sets:
        embeddings = task.read(trial_set, means)
        normalizer = Normalizer(embeddings, cohorts, args.variant, args.top_n, args.num_threads)
        task.write("asnorm", trial_set, embeddings, normalizer.score, keep_order=True)
        write_cohort_means(args.scores, trial_set, normalizer)
    write_normalization(args.scores, Normalization(args.variant, args.top_n, cohorts, means))


def write_cohort_means(scores: Path, trial_set: TrialSet, normalizer: Normalizer) -> None:
    """Write ``SET.MODALITY.cohort``: the mean score of each side of trials against its nearest cohort speakers."""
    for modality, (_, present) in normalizer.embeddings.items():
        rows = zip(trial_set.sides, normalizer.statistics(modality).mean, present, strict=True)
        cohort_means = {side: f"{value:.9g}" for side, value, there in rows if there}
        write_list(scores / f"{trial_set.name}.{modality}.cohort", cohort_means)


if __name__ == "__main__":
    run_command(main)
