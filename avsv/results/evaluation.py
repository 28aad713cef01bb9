"""Error rates of score files of any toolkit on one list of trials, with intervals and paired differences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.scoring.bootstrap import difference_of_draws, resampled_eers, speaker_bootstrap
from avsv.scoring.metrics import actual_dcf, cllr, eer, min_cllr, min_dcf
from avsv.scoring.score_file import LabeledTrials, ScoredTrials


class Evaluation(NamedTuple):
    """Figures of one score file; rates in percent.

    Attributes:
        name: name of the score file.
        n_target, n_nontarget: scored trials of the list.
        eer, eer_low, eer_high: equal error rate and its 95 % interval by resampling speakers; None without speakers.
        min_dcf: minimum normalized detection cost for each of the target priors, in order.
        actual_dcf: the cost at the threshold that the prior determines for log-likelihood ratios.
        cllr, min_cllr: cost of log-likelihood ratios in bits, and the smallest cost that an increasing map can reach.
    """

    name: str
    n_target: int
    n_nontarget: int
    eer: float
    eer_low: float | None
    eer_high: float | None
    min_dcf: tuple[float, ...]
    actual_dcf: tuple[float, ...]
    cllr: float
    min_cllr: float


class PairedDifference(NamedTuple):
    """The EER of a minus that of b in percent on the trials that both have scored, its 95 % interval and p-value."""

    a: str
    b: str
    trials: int
    difference: float
    low: float
    high: float
    p: float


class Speakers(NamedTuple):
    """Speakers of both sides (N,) of the trials, numbered in the order of their names, and their source."""

    enroll: NDArray[np.int64]
    test: NDArray[np.int64]
    source: str


def scores_of_trials(path: str | Path, scored: ScoredTrials, trials: LabeledTrials) -> NDArray[np.float64]:
    """The scores (N,) of a list of trials from a score file in any order; NaN for a trial without a score.

    Raises:
        DataError: a pair has several scores, a label differs from that in the list, or no trial of the list is scored.
    """
    wanted, found = _pair_numbers(trials, scored)
    if np.array_equal(wanted, found):
        return scored.score
    table = pd.DataFrame({"pair": found, "score": scored.score}).drop_duplicates()
    if (repeated := table.duplicated("pair")).any():
        row = table.index[repeated][0]
        pair = f"{scored.enroll[row]} {scored.test[row]}"
        raise DataError(f"{path}:{row + 1}: '{pair}' has another score than on an earlier line: remove all but one")
    scores = table.set_index("pair")["score"].reindex(wanted).to_numpy()
    if np.isnan(scores).all():
        raise DataError(
            f"{path}: contains no trial of the list: it starts with '{scored.enroll[0]} {scored.test[0]}', the list"
            f" with '{trials.enroll[0]} {trials.test[0]}': the ids must be the same"
        )
    return scores


def _pair_numbers(trials: LabeledTrials, scored: ScoredTrials) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for each trial of a list and of a score file; equal pairs of ids have equal numbers."""
    ids = np.concatenate([trials.enroll, trials.test, scored.enroll, scored.test])
    codes, names = pd.factorize(ids)
    ends = np.cumsum([len(trials.enroll), len(trials.test), len(scored.enroll)])
    sides = np.split(codes.astype(np.int64), ends)
    return sides[0] * len(names) + sides[1], sides[2] * len(names) + sides[3]


def check_labels(path: str | Path, scored: ScoredTrials, trials: LabeledTrials) -> None:
    """Raise DataError if labels of a score file differ from those of the trial list."""
    if scored.is_target is None:
        return
    wanted, found = _pair_numbers(trials, scored)
    listed = pd.Series(trials.is_target, index=wanted)
    listed = listed[~listed.index.duplicated()].reindex(found)
    wrong = listed.notna().to_numpy() & (listed.to_numpy() != scored.is_target)
    if wrong.any():
        row = int(wrong.argmax())
        pair = f"{scored.enroll[row]} {scored.test[row]}"
        raise DataError(
            f"{path}:{row + 1}: '{pair}' has another label than in the trial list ({wrong.sum()} trials in total)"
        )


def find_speakers(trials: LabeledTrials, utt2spk: Mapping[str, str] | None, source: str = "") -> Speakers | None:
    """The speakers of both sides of all trials.

    Args:
        trials: the list.
        utt2spk: speaker of each utterance; sides of trials can also be speakers. If None, the speaker is the part of an
            id before the first ``/``, ``-`` or ``_``, whichever first agrees with the labels of all trials.
        source: name of ``utt2spk`` in messages.

    Returns:
        The speakers; None if no such part agrees with the labels.

    Raises:
        DataError: an id is not in ``utt2spk``.

    Example:
        >>> sides = [np.array(ids, object) for ids in (["id1/x/1", "id1/x/1"], ["id1/y/1", "id2/z/1"])]
        >>> find_speakers(LabeledTrials(*sides, np.array([True, False])), None).enroll.tolist()
        [0, 0]
    """
    if utt2spk is not None:
        known = {**{speaker: speaker for speaker in utt2spk.values()}, **utt2spk}
        sides = [pd.Series(side).map(known) for side in (trials.enroll, trials.test)]
        for side, ids in zip(sides, (trials.enroll, trials.test), strict=True):
            if (unknown := side.isna()).any():
                raise DataError(f"{source}: no speaker for '{ids[int(unknown.argmax())]}', which is in the trials")
        numbers, _ = pd.factorize(np.concatenate(sides), sort=True)
        return Speakers(*np.split(numbers, 2), source)
    utterances, ids = pd.factorize(np.concatenate([trials.enroll, trials.test]))
    for separator in "/-_":
        numbers, _ = pd.factorize(np.array([name.split(separator, 1)[0] for name in ids], object), sort=True)
        enroll, test = np.split(numbers[utterances], 2)
        if np.array_equal(enroll == test, trials.is_target):
            return Speakers(enroll, test, f"the part of the ids before the first '{separator}'")
    return None


def evaluate_scores(
    name: str,
    scores: NDArray,
    trials: LabeledTrials,
    speakers: Speakers | None,
    priors: Sequence[float],
    resamples: int,
    seed: int,
) -> tuple[Evaluation, NDArray | None]:
    """Compute the figures of one score file, and its EER over draws of speakers for :func:`compare_scores`.

    Args:
        name: name of the score file.
        scores: (N,) scores of the trials of the list, NaN for missing ones.
        trials: the list.
        speakers: speakers of its sides; None for no interval.
        priors: target priors of the detection costs.
        resamples: draws of speakers.
        seed: seed of the draws.

    Raises:
        DataError: the scored trials are all targets or all non-targets.
    """
    known = ~np.isnan(scores)
    values, is_target = scores[known], trials.is_target[known]
    draws, interval = None, (None, None)
    try:
        rate = eer(values, is_target)
        if speakers is not None:
            sides = speakers.enroll[known], speakers.test[known]
            draws = resampled_eers(values, is_target, *sides, resamples, seed)
            low, high = speaker_bootstrap(values, is_target, *sides, resamples, seed, draws=draws)
            interval = 100 * low, 100 * high
        return Evaluation(
            name,
            int(is_target.sum()),
            int((~is_target).sum()),
            100 * rate,
            *interval,
            tuple(min_dcf(values, is_target, prior) for prior in priors),
            tuple(actual_dcf(values, is_target, prior) for prior in priors),
            cllr(values, is_target),
            min_cllr(values, is_target),
        ), draws
    except ValueError as error:
        raise DataError(f"{name}: {error}") from error


def compare_scores(
    names: tuple[str, str],
    scores: tuple[NDArray, NDArray],
    trials: LabeledTrials,
    speakers: Speakers,
    resamples: int,
    seed: int,
    draws: tuple[NDArray, NDArray],
) -> PairedDifference:
    """The difference between the EERs of two score files on the same trials and the same draws of speakers.

    ``draws`` are the results of :func:`evaluate_scores`, which are used if both files have the same trials; otherwise
    speakers are drawn again for the trials that both have.

    Raises:
        DataError: the files do not have trials of both kinds in common.
    """
    known = [~np.isnan(values) for values in scores]
    common = known[0] & known[1]
    is_target = trials.is_target[common]
    if is_target.all() or not is_target.any():
        what = "target and non-target trials" if common.any() else "trials"
        raise DataError(f"{names[0]} and {names[1]}: have no {what} in common: compare them in separate calls")
    sides = speakers.enroll[common], speakers.test[common]
    if not np.array_equal(*known):
        a, b = (resampled_eers(values[common], is_target, *sides, resamples, seed) for values in scores)
        draws = a, b
    rates = [eer(values[common], is_target) for values in scores]
    size = len(np.union1d(*sides))
    found = difference_of_draws(rates[0] - rates[1], draws[0] - draws[1], size)
    return PairedDifference(*names, int(common.sum()), *(100 * x for x in found[:3]), found.p)
