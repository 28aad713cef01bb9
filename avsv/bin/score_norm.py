"""Compute normalized scores of all trial lists of data directories, in all modes of a system."""

import argparse
from pathlib import Path

from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.lists import read_list, write_list
from avsv.scoring.norm import VARIANTS, Normalizer, find_variant, speaker_cohort
from avsv.scoring.records import Normalization, write_normalization
from avsv.scoring.scorer import (
    modalities_of,
    modes_of,
    read_means,
    read_modalities,
    read_trial_sets,
    report_written,
    write_set_scores,
)
from avsv.scoring.trials import read_embedding_blocks


def main() -> None:
    """Normalize scores, and print one line per score file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modes", default="", help="evaluation modes; default: all for which there are embeddings")
    parser.add_argument("--max-lost", type=float, default=0.0, help="largest share of trials without scores")
    parser.add_argument("--variant", default="as-norm1", help=f"{', '.join(VARIANTS)}, or MODULE:NAME of a Variant")
    parser.add_argument("--top-n", type=int, default=300, help="cohort speakers per utterance, for adaptive variants")
    parser.add_argument("--subtract-mean", type=Path, help="data directory whose mean embedding is subtracted from all")
    parser.add_argument("--num-threads", type=int, default=2)
    parser.add_argument("embeddings", type=Path, help="folder with SET.MODALITY.scp")
    parser.add_argument("scores", type=Path, help="folder for LIST/MODE.asnorm, the cohort, ...")
    parser.add_argument("cohort", type=Path, help="data directory of the cohort")
    parser.add_argument("data", nargs="+", help="data directories with trial lists")
    args = parser.parse_args()
    if args.top_n < 2:
        raise DataError(f"--top-n {args.top_n}: a standard deviation needs at least 2 cohort speakers")
    adaptive = find_variant(args.variant).adaptive

    sets = read_trial_sets(args.data)
    cohort_name = args.cohort.name
    utt2spk = read_list(args.cohort / "utt2spk", fields=2)
    names = [cohort_name, *(trial_set.name for trial_set in sets)]
    names += [args.subtract_mean.name] if args.subtract_mean else []
    modes = modes_of(args.embeddings, names, args.modes.split())
    means = read_means(args.embeddings, args.subtract_mean, modes)
    cohorts = {}
    for modality in modalities_of(modes):
        scp = args.embeddings / f"{cohort_name}.{modality}.scp"
        cohorts[modality] = speaker_cohort(*read_embedding_blocks(scp, mean=means.get(modality)), utt2spk)
    size = min(len(cohort.speakers) for cohort in cohorts.values())
    print(
        f"cohort: {size} speakers of {args.cohort}, {args.variant}"
        + (f" with the nearest {min(args.top_n, size)}" if adaptive else "")
    )
    for trial_set in sets:
        embeddings = read_modalities(args.embeddings, trial_set, modes, means)
        normalizer = Normalizer(embeddings, cohorts, args.variant, args.top_n, args.num_threads)
        report_written(
            write_set_scores(args.scores, "asnorm", trial_set, modes, embeddings, normalizer.score, args.max_lost)
        )
        for modality, (_, present) in embeddings.items():
            rows = zip(trial_set.utterances, normalizer.statistics(modality).mean, present, strict=True)
            cohort_means = {utterance: f"{value:.9g}" for utterance, value, there in rows if there}
            write_list(args.scores / f"{trial_set.name}.{modality}.cohort", cohort_means)
    write_normalization(args.scores, Normalization(args.variant, args.top_n, cohorts, means))


if __name__ == "__main__":
    run_command(main)
