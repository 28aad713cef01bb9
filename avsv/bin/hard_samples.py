"""The utterances for which voice and face systems make the most errors: hard.csv and hard.png."""

import argparse
from pathlib import Path

from avsv.analysis.hard import Chosen, Scored, choose, error_shares, hard_samples, hard_table
from avsv.analysis.projection import tsne
from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.names import system_name
from avsv.results.frames import frame_csv
from avsv.results.plots import hard_plot
from avsv.results.scores import preferred_scores, read_trial_scores
from avsv.scoring.metrics import eer
from avsv.scoring.trials import TrialList, TrialSet, read_embeddings, read_trial_set


def main() -> None:
    """Choose voice and face systems and fused ones, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the projection")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("data", type=Path, help="data directory with lists of trials")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("systems", nargs="+", type=system_name, help="their names")
    args = parser.parse_args()
    trial_set = read_trial_set(args.data).labeled()
    if not trial_set.lists:
        print("no hard samples: no list of trials has labels")
        return
    # As in the papers, which take VoxCeleb1-H: the list on which the voice and the face system err most.
    found = {
        trials.name: choose(read_scored(args.exp, system, trial_set, trials) for system in args.systems)
        for trials in trial_set.lists
    }
    rates = {name: sum(one.rate for one in chosen.singles) for name, chosen in found.items() if chosen}
    if not rates:
        print("no hard samples: they need a voice system and a face system")
        return
    name = max(rates, key=rates.get)
    print(f"trials {name}: ", end="")
    write_hard(args.exp, args.out, trial_set, found[name], args.seed)


def read_scored(exp: Path, system: str, trial_set: TrialSet, trials: TrialList) -> Scored:
    """The errors of a system on a list, with normalized scores if there are any."""
    path = preferred_scores(exp / system / "scores" / trials.name)
    if path is None:
        raise DataError(f"{exp}/{system}/scores/{trials.name}: no scores: run steps/score_cosine.sh first")
    values, is_target, places = read_trial_scores(path, trials)
    sides = trials.enroll[places], trials.test[places]
    shares = error_shares(values, is_target, *sides, len(trial_set.sides))
    return Scored(system, path.stem, eer(values, is_target), shares)


def write_hard(exp: Path, out: Path, trial_set: TrialSet, chosen: Chosen, seed: int) -> None:
    """Write the results of the chosen systems for the utterances that are hardest for voice and face."""
    spaces = {}
    for system, mode, *_ in (*chosen.singles, *chosen.fused):
        scp = exp / system / "embeddings" / f"{trial_set.name}.{mode.split('x')[0]}.scp"
        spaces[system] = trial_set.pool(read_embeddings(scp, trial_set.members.utterances)[1])
    identities = trial_set.speakers
    found = hard_samples(chosen.singles, spaces, identities)
    panels = {name: (tsne(of.vectors, seed), of.outlier, of.identities) for name, of in found.outliers.items()}
    out.mkdir(parents=True, exist_ok=True)
    hard_plot(out / "hard.png", panels, identities[found.rows])
    write_text(out / "hard.csv", frame_csv(hard_table(found, trial_set.sides, identities, chosen.singles)))
    counts = ", ".join(f"{system} {of.outlier.sum()}" for system, of in found.outliers.items())
    print(f"{len(found.rows)} hard samples, outliers among them: {counts}")


if __name__ == "__main__":
    run_command(main)
