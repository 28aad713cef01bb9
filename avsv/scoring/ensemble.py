"""Ensembles: the mean or a fitted sum of the normalized scores of several systems, trial by trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.config.strict import read_yaml
from avsv.errors import DataError
from avsv.io.lists import Scores
from avsv.io.names import check_system
from avsv.scoring.calibration import RIDGE, fit_logistic
from avsv.scoring.metrics import check_trials
from avsv.scoring.modes import MODES


class Member(NamedTuple):
    """A system of an ensemble and its evaluation mode; None for its widest mode."""

    system: str
    mode: str | None


class Ensemble(NamedTuple):
    """Members, and whether their weights are fitted on development trials; otherwise weights are equal."""

    members: list[Member]
    fitted: bool = False


class Fusion(NamedTuple):
    """score = sum_k weights[k] * member[k] + offset."""

    weights: list[float]
    offset: float


def read_ensembles(path: str | Path) -> dict[str, Ensemble]:
    """Read a file of ensembles.

    Each line is ``NAME: [SYSTEM, SYSTEM/MODE, ...]`` or ``NAME: {members: [...], weights: fitted}``.

    Raises:
        DataError: not such a mapping, fewer than two members, a member twice, an unknown mode, a name that
            :func:`avsv.io.names.check_system` refuses.
    """
    content = read_yaml(path)
    return {check_system(name, str(path)): _ensemble(path, name, value) for name, value in content.items()}


def _ensemble(path: str | Path, name: object, value: object) -> Ensemble:
    if not isinstance(value, Mapping):
        return Ensemble(_members(path, name, value))
    if value.keys() != {"members", "weights"} or value["weights"] != "fitted":
        raise DataError(f"{path}: {name}: expected {{members: [ecapa, iresnet18], weights: fitted}}")
    return Ensemble(_members(path, name, value["members"]), fitted=True)


def _members(path: str | Path, name: object, words: object) -> list[Member]:
    if not isinstance(words, list) or len(words) < 2 or not all(isinstance(word, str) for word in words):
        raise DataError(f"{path}: {name}: expected a list of at least two systems, like [ecapa, iresnet18]")
    members = []
    for word in words:
        system, slash, mode = word.partition("/")
        check_system(system, f"{path}: {name}")
        if slash and mode not in MODES:
            raise DataError(f"{path}: {name}: {word}: no mode of that name: choose one of {', '.join(MODES)}")
        members.append(Member(system, mode or None))
    if len(set(members)) < len(members):
        raise DataError(f"{path}: {name}: a member occurs twice")
    return members


def widest_mode(modes: set[str]) -> str:
    """The widest of the modes of a system.

    Example:
        >>> widest_mode({"AxA", "AVxAV", "VxV"})
        'AVxAV'
    """
    return next(mode for mode in MODES if mode in modes)


def fit_fusion(columns: Sequence[NDArray], is_target: NDArray[np.bool_], prior: float) -> Fusion:
    """Fit the weights and the offset of the scores of members by logistic regression on development trials.

    A small ridge distributes the weight evenly among members with similar scores.

    Source: Brümmer et al. 2007, "Fusion of heterogeneous speaker recognition systems in the STBU submission for the
    NIST SRE 2006".

    Args:
        columns: scores (N,) of each member.
        is_target: (N,) booleans.
        prior: prior probability of a target trial, with which the fit is weighted.

    Raises:
        ValueError: as :func:`avsv.scoring.metrics.eer`.

    Example:
        >>> one = np.array([3.0, 2.0, -2.0, -3.0, 1.0, 0.0])
        >>> weights, _ = fit_fusion([one, np.array([1.0, -1.0] * 3)], np.arange(6) < 2, 0.5)
        >>> weights[0] > abs(weights[1])
        True
    """
    columns = [check_trials(column, is_target)[0] for column in columns]
    return Fusion(*fit_logistic(columns, is_target, prior, [RIDGE] * len(columns)))


def common_trials(scores: Sequence[Scores]) -> list[Scores]:
    """The scores of the trials that all members have scored, each in its own order.

    Example:
        >>> one = Scores(np.array(["a", "a"]), np.array(["b", "c"]), np.array([1.0, 2.0]))
        >>> other = Scores(np.array(["a"]), np.array(["c"]), np.array([3.0]))
        >>> [part.score.tolist() for part in common_trials([one, other])]
        [[2.0], [3.0]]
    """
    first = scores[0]
    if all(np.array_equal(s.enroll, first.enroll) and np.array_equal(s.test, first.test) for s in scores):
        return list(scores)
    pairs = [np.char.add(np.char.add(part.enroll, " "), part.test) for part in scores]
    shared = pairs[0]
    for other in pairs[1:]:
        shared = np.intersect1d(shared, other)
    kept = [np.isin(names, shared) for names in pairs]
    return [
        Scores(part.enroll[keep], part.test[keep], part.score[keep]) for part, keep in zip(scores, kept, strict=True)
    ]


def combine_scores(paths: Sequence[str | Path], scores: Sequence[Scores], fusion: Fusion | None = None) -> Scores:
    """Combine scores by their arithmetic mean per trial, or by the weighted sum of a fusion.

    Args:
        paths: score files, for messages.
        scores: their contents.
        fusion: weights and offset; None for the mean.

    Raises:
        DataError: the trials of the files differ.

    Example:
        >>> one = Scores(np.array(["a"]), np.array(["b"]), np.array([0.5], dtype=np.float32))
        >>> other = one._replace(score=np.array([1.5]))
        >>> combine_scores(["x", "y"], [one, other]).score.tolist()
        [1.0]
        >>> combine_scores(["x", "y"], [one, other], Fusion([2.0, 1.0], -0.5)).score.tolist()
        [2.0]
    """
    first = scores[0]
    for path, other in zip(paths[1:], scores[1:], strict=True):
        if len(other.score) != len(first.score):
            raise DataError(
                f"{path}: {len(other.score)} trials, but {paths[0]} has {len(first.score)}: members of an ensemble must"
                " score the same trials"
            )
        different = (other.enroll != first.enroll) | (other.test != first.test)
        if different.any():
            line = int(different.argmax())
            raise DataError(
                f"{path}:{line + 1}: trial '{other.enroll[line]} {other.test[line]}', but in {paths[0]} it is"
                f" '{first.enroll[line]} {first.test[line]}': members of an ensemble must score the same trials"
            )
    if fusion is None:
        return first._replace(score=np.mean([other.score for other in scores], axis=0, dtype=np.float64))
    columns = np.stack([other.score for other in scores]).astype(np.float64)
    return first._replace(score=fusion.weights @ columns + fusion.offset)
