"""The utterances that voice and face systems most often get wrong: hard.csv and hard.png."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from avsv.analysis.hard import error_shares, find_outliers, hardest
from avsv.bin.command import run_command
from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import read_scores
from avsv.io.names import system_name
from avsv.results.plots import hard_plot
from avsv.results.scores import score_files
from avsv.scoring.metrics import eer
from avsv.scoring.trials import TrialSet, places_in, read_embeddings, read_trial_set

COUNT = 20
MAX_FUSED = 4  # fused systems shown beside voice and face
PERPLEXITY = 5.0


class _Scored(NamedTuple):
    """A system on a list: the equal error rate in its widest mode, and the share of errors per utterance."""

    system: str
    mode: str
    rate: float
    shares: NDArray[np.float64]


def main() -> None:
    """Choose voice and face systems and fused ones, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the projection")
    parser.add_argument("exp", type=Path, help="folder of the systems")
    parser.add_argument("data", type=Path, help="data directory; of its trial lists the first counts")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("systems", nargs="+", type=system_name, help="their names")
    args = parser.parse_args()
    trial_set = read_trial_set(args.data)
    scored = sorted((read_scored(args.exp, system, trial_set) for system in args.systems), key=lambda x: x.rate)
    singles = [next((x for x in scored if x.mode == mode), None) for mode in ("AxA", "VxV")]
    if None in singles:
        print("no hard samples: they are those of a system of the voice and one of the face")
        return
    fused = [x for x in scored if x.mode == "AVxAV"][:MAX_FUSED]
    write_hard(args.exp, args.out, trial_set, singles, fused, args.seed)


def read_scored(exp: Path, system: str, trial_set: TrialSet) -> _Scored:
    """A system on the first list, by its normalized scores where there are any."""
    trials = trial_set.lists[0]
    files = score_files(exp / system / "scores" / trials.name)
    widest = {path.suffix: path for path in files if path.stem == files[0].stem}
    path = widest.get(".asnorm", widest.get(".cos"))
    if path is None:
        raise DataError(f"{exp}/{system}/scores/{trials.name}: no scores: run steps/score_cosine.sh first")
    scores = read_scores(path)
    places = places_in(path, scores, trials.trials)
    is_target = trials.trials.is_target[places]
    sides = trials.enroll[places], trials.test[places]
    shares = error_shares(scores.score, is_target, *sides, len(trial_set.utterances))
    return _Scored(system, path.stem, eer(scores.score, is_target), shares)


def write_hard(
    exp: Path, out: Path, trial_set: TrialSet, singles: list[_Scored], fused: list[_Scored], seed: int
) -> None:
    """Write what the chosen systems make of the utterances that are hardest for the voice and the face."""
    spaces = {}
    for system, mode, *_ in (*singles, *fused):
        scp = exp / system / "embeddings" / f"{trial_set.name}.{mode.split('x')[0]}.scp"
        spaces[system] = read_embeddings(scp, trial_set.utterances)[1]
    complete = np.logical_and.reduce([space.present for space in spaces.values()])
    rows = hardest([np.where(complete, scored.shares, np.nan) for scored in singles], COUNT)
    identities = trial_set.speakers
    panels = {}
    for system, space in spaces.items():
        there = np.flatnonzero(space.present)
        found = find_outliers(space.matrix[there], identities[there], np.searchsorted(there, rows))
        panels[system] = project(found.vectors, seed), found.outlier, found.identities
    out.mkdir(parents=True, exist_ok=True)
    hard_plot(out / "hard.png", panels, identities[rows])
    header = ["utterance", "identity", *(f"{x.system} errors" for x in singles), *(f"{x} outlier" for x in panels)]
    lines = [",".join(header)]
    for place, row in enumerate(rows):
        errors = [f"{scored.shares[row]:.4f}" for scored in singles]
        outliers = [str(int(outlier[place])) for _, outlier, _ in panels.values()]
        lines.append(",".join([trial_set.utterances[row], identities[row], *errors, *outliers]))
    write_text(out / "hard.csv", "\n".join(lines) + "\n")
    counts = ", ".join(f"{system} {outlier.sum()}" for system, (_, outlier, _) in panels.items())
    print(f"{len(rows)} hard samples, outliers among them: {counts}")


def project(vectors: NDArray, seed: int) -> NDArray:
    """t-SNE of a few vectors (N, D) to (N, 2), from a start in the plane of the principal components."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    # The order in which threads add up changes the picture, and so few points are no work for them.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


if __name__ == "__main__":
    run_command(main)
