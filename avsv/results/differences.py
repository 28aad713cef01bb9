"""Differences between systems on the same trials: differences.csv."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.results.rates import Run
from avsv.results.scores import read_trial_scores, score_files, speaker_numbers
from avsv.scoring.bootstrap import difference_of_draws, resampled_eers
from avsv.scoring.metrics import eer
from avsv.scoring.trials import TrialList, TrialSet

STAGE = "asnorm"


class Comparison(NamedTuple):
    """One line of differences.csv: the equal error rates of two systems in percent, and a minus b with uncertainty.

    ``mode`` is the mode of both, or the modes of a and b separated by a slash.
    """

    corpus: str
    preset: str
    trials: str
    mode: str
    stage: str
    system_a: str
    system_b: str
    eer_a: float
    eer_b: float
    difference: float
    low: float
    high: float
    p: float
    seed: int


def read_members(exp: Path) -> dict[str, list[tuple[str, str]]]:
    """The ensembles and gates of a run with the systems and modes of their members.

    They are in the files ``ensembles`` and ``gates``, in lines ``NAME SYSTEM/MODE ...``.
    """
    ensembles = {}
    for path in (exp / "ensembles", exp / "gates"):
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            name, *members = line.split()
            ensembles[name] = [(system, mode) for system, _, mode in (member.rpartition("/") for member in members)]
    return ensembles


def compare(
    exp: Path,
    systems: Sequence[str],
    ensembles: Mapping[str, Sequence[tuple[str, str]]],
    trial_sets: Sequence[TrialSet],
    run: Run,
) -> list[Comparison]:
    """Compare all pairs of systems in their widest modes, and ensembles with their members in the members' modes.

    Normalized scores are compared on the trials that all of these systems have scored; systems without such scores are
    omitted.

    Args:
        exp: folder of the systems.
        systems: systems and ensembles, in the order of the table.
        ensembles: members of each ensemble.
        trial_sets: the lists to compare on.
        run: the properties that all rows share.

    Raises:
        DataError: scores belong to other trials or are not finite, or a class of trials is missing.
    """
    rows = []
    for trial_set in trial_sets:
        speakers = speaker_numbers(trial_set)
        for trials in trial_set.lists:
            widest = {}
            for system in systems:
                modes = [path.stem for path in score_files(exp / system / "scores" / trials.name)]
                if modes and (exp / system / "scores" / trials.name / f"{modes[0]}.{STAGE}").is_file():
                    widest[system] = modes[0]
            pairs = list(combinations(widest.items(), 2))
            for ensemble, members in ensembles.items():
                if ensemble in widest:
                    other = [m for m in members if m[0] in widest and widest[m[0]] != m[1]]
                    pairs += [((ensemble, widest[ensemble]), member) for member in other]
            rows += _compare_pairs(exp, trials, speakers, pairs, run)
    return rows


Entry = tuple[str, str]  # system and mode


def _compare_pairs(
    exp: Path, trials: TrialList, speakers: NDArray, pairs: Sequence[tuple[Entry, Entry]], run: Run
) -> list[Comparison]:
    entries = list(dict.fromkeys(entry for pair in pairs for entry in pair))
    paths = {(s, mode): exp / s / "scores" / trials.name / f"{mode}.{STAGE}" for s, mode in entries}
    common = None
    for path in paths.values():
        places = read_trial_scores(path, trials).places
        common = places if common is None or np.array_equal(common, places) else np.intersect1d(common, places)
    rates, draws = {}, {}
    for entry, path in paths.items():
        scores = read_trial_scores(path, trials)
        by_place = np.full(len(trials.enroll), np.nan)
        by_place[scores.places] = scores.values
        is_target = trials.trials.is_target[common]
        sides = [speakers[side[common]] for side in (trials.enroll, trials.test)]
        try:
            rates[entry] = eer(by_place[common], is_target)
            draws[entry] = resampled_eers(by_place[common], is_target, *sides, run.resamples, run.seed)
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
    size = len(np.union1d(*sides)) if entries else 0
    rows = []
    for a, b in pairs:
        result = difference_of_draws(rates[a] - rates[b], draws[a] - draws[b], size)
        mode = a[1] if a[1] == b[1] else f"{a[1]}/{b[1]}"
        figures = [100 * x for x in (rates[a], rates[b], *result[:3])]
        names = run.corpus, run.preset, trials.name, mode, STAGE, a[0], b[0]
        rows.append(Comparison(*names, *figures, result.p, run.seed))
    return rows
