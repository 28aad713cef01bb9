"""Making the score files of an ensemble from those of its members."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from avsv.errors import DataError
from avsv.io.atomic import write_text
from avsv.io.lists import Scores, read_scores, write_scores
from avsv.scoring.ensemble import Ensemble, Fusion, combine_scores, common_trials, fit_fusion, widest_mode
from avsv.scoring.modes import joint_mode
from avsv.scoring.trials import TrialSet, places_in


def score_ensemble(exp: Path, name: str, ensemble: Ensemble, development: TrialSet | None, prior: float) -> list[str]:
    """Write ``NAME/scores/LIST/MODE.asnorm`` for every list of the first member; return the modes of the members.

    Fitted weights are written to ``NAME/scores/weights.csv``.
    """
    members = ensemble.members
    modes = [member.mode or widest_mode(_scored_modes(exp / member.system / "scores")) for member in members]
    joint = joint_mode(modes)

    def paths_of(trials: str) -> list[Path]:
        return [exp / m.system / "scores" / trials / f"{mode}.asnorm" for m, mode in zip(members, modes, strict=True)]

    lists = sorted(path.parent.name for path in exp.glob(f"{members[0].system}/scores/*/{modes[0]}.asnorm"))
    if not lists:
        raise DataError(f"{exp}/{members[0].system}/scores: no list has {modes[0]}.asnorm: normalize its scores first")
    fusion, weights = None, exp / name / "scores/weights.csv"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.unlink(missing_ok=True)
    if ensemble.fitted:
        fusion = _fit(name, development, paths_of, prior)
        rows = [f"{m.system},{mode},{w:.6g}" for m, mode, w in zip(members, modes, fusion.weights, strict=True)]
        write_text(weights, "\n".join(["system,mode,weight", *rows, f"offset,,{fusion.offset:.6g}"]) + "\n")
    for trials in lists:
        paths = paths_of(trials)
        scores, lost = _read_common(paths)
        combined = combine_scores(paths, scores, fusion)
        folder = exp / name / "scores" / trials
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.asnorm"):
            if old.stem != joint:
                old.unlink()
        write_scores(folder / f"{joint}.asnorm", *combined)
        missing = f", {lost} omitted because a member has no score" if lost else ""
        print(f"{folder}/{joint}.asnorm: {len(combined.score)} trials{missing}")
    return modes


def _fit(name: str, development: TrialSet, paths_of: Callable[[str], list[Path]], prior: float) -> Fusion:
    columns, labels = [], []
    for trials in development.lists:
        paths = paths_of(trials.name)
        scores, _ = _read_common(paths)
        combine_scores(paths, scores)  # checks that the trials are the same
        columns.append(np.stack([part.score for part in scores]))
        labels.append(trials.trials.is_target[places_in(paths[0], scores[0], trials.trials)])
    is_target = np.concatenate(labels)
    try:
        fusion = fit_fusion(np.concatenate(columns, axis=1), is_target, prior)
    except ValueError as error:
        raise DataError(f"{name} on {' and '.join(trials.name for trials in development.lists)}: {error}") from error
    print(f"{name}: weights {' '.join(f'{w:.4g}' for w in fusion.weights)} fitted on {len(is_target)} trials")
    return fusion


def _read_common(paths: Sequence[Path]) -> tuple[list[Scores], int]:
    """The scores of all members for their common trials, and how many trials the largest member has in addition.

    Raises:
        DataError: fewer than half of the trials are common: the scores belong to different lists.
    """
    scores = [read_scores(path) for path in paths]
    common = common_trials(scores)
    sizes = [len(part.score) for part in scores]
    left = len(common[0].score)
    for path, size in zip(paths, sizes, strict=True):
        if 2 * left < size:
            raise DataError(
                f"{path}: {size} trials, of which all members of the ensemble have scored only {left}: they must"
                " score the same trials"
            )
    return common, max(sizes) - left


def _scored_modes(scores: Path) -> set[str]:
    modes = {path.stem for path in scores.glob("*/*.asnorm")}
    if not modes:
        raise DataError(f"{scores}: no normalized scores: normalize them first")
    return modes
