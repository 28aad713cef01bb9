"""Ensembles: the mean of several systems' normalised scores, trial by trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from avsv.errors import DataError
from avsv.io.lists import Scores
from avsv.scoring.modes import MODES, parse_mode


class Member(NamedTuple):
    """A system of an ensemble and the mode it is scored in; None stands for the widest that it has."""

    system: str
    mode: str | None


def read_ensembles(path: str | Path) -> dict[str, list[Member]]:
    """Read a file of ensembles: ``NAME: [SYSTEM, SYSTEM/MODE, ...]``.

    Raises:
        DataError: not such a mapping, fewer than two members, a member twice, an unknown mode.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not readable as yaml: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: expected lines like 'ens_all: [ecapa, iresnet18, ssa]'")
    return {str(name): _members(path, name, words) for name, words in content.items()}


def _members(path: str | Path, name: object, words: object) -> list[Member]:
    if not isinstance(words, list) or len(words) < 2 or not all(isinstance(word, str) for word in words):
        raise DataError(f"{path}: {name}: expected a list of at least two systems, like [ecapa, iresnet18]")
    members = []
    for word in words:
        system, slash, mode = word.partition("/")
        if slash:
            parse_mode(mode)
        members.append(Member(system, mode or None))
    if len(set(members)) < len(members):
        raise DataError(f"{path}: {name}: a member occurs twice")
    return members


def widest_mode(modes: set[str]) -> str:
    """The widest of a system's modes.

    Example:
        >>> widest_mode({"AxA", "AVxAV", "VxV"})
        'AVxAV'
    """
    return next(mode for mode in MODES if mode in modes)


def mean_scores(paths: Sequence[str | Path], scores: Sequence[Scores]) -> Scores:
    """The arithmetic mean per trial.

    Args:
        paths: score files, for messages.
        scores: their contents.

    Raises:
        DataError: the files' trials differ.

    Example:
        >>> one = Scores(np.array(["a"]), np.array(["b"]), np.array([0.5], dtype=np.float32))
        >>> mean_scores(["x", "y"], [one, one._replace(score=np.array([1.5]))]).score.tolist()
        [1.0]
    """
    first = scores[0]
    for path, other in zip(paths[1:], scores[1:], strict=True):
        if len(other.score) != len(first.score):
            raise DataError(
                f"{path}: {len(other.score)} trials, {paths[0]} has {len(first.score)}: members of an ensemble must"
                " score the same trials"
            )
        different = (other.enroll != first.enroll) | (other.test != first.test)
        if different.any():
            line = int(different.argmax())
            raise DataError(
                f"{path}:{line + 1}: trial '{other.enroll[line]} {other.test[line]}', in {paths[0]} it is"
                f" '{first.enroll[line]} {first.test[line]}': members of an ensemble must score the same trials"
            )
    return first._replace(score=np.mean([other.score for other in scores], axis=0, dtype=np.float64))
