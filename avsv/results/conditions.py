"""Results by condition of the trials: conditions.csv.

The conditions are defined by the lists of the data directory:

- ``utt2dur``: duration of the shorter clip in seconds, in thirds of the trials;
- ``utt2num_faces``: number of frames with a face in the clip that has fewer, in thirds; 0 for a clip without a line;
  of a model, both are the means of its utterances;
- ``utt2session``: target trials within one session and across two sessions, if there are both, each with all non-target
  trials;
- every other ``utt2LABEL`` and ``spk2LABEL`` with 2 to 12 values, except ages: for each value, the trials that have it
  on both sides, and the trials with two different values. If no target trial has two values, as with gender, these are
  non-target trials together with all target trials.

Trials with a side that is missing from a list, or a model whose utterances have different values, are a condition too.
Thirds are computed over the whole list, so that all systems have the same limits, rounded to two digits.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.datadir.lists import speaker_lists, utterance_lists
from avsv.datadir.validate import VALUES
from avsv.errors import DataError
from avsv.io.lists import AUDIO_WORTH, VIDEO_WORTH, read_list
from avsv.results.rates import Run
from avsv.results.scores import eer_and_interval, read_trial_scores, score_files, speaker_numbers
from avsv.scoring.trials import TrialList, TrialSet

MAX_VALUES = 12  # of a label
MIN_TRIALS = 10  # of each class
MIN_SPEAKERS = 5
SIZES = {"utt2dur": " s", "utt2num_faces": ""}  # lists of sizes and their unit
NO_CONDITIONS = (
    *("utt2spk", "utt2uniq", "utt2num_frames", "utt2age", "spk2age"),
    *(AUDIO_WORTH, VIDEO_WORTH, "utt2voice_quality", "utt2face_quality"),
)
# Names of conditions contain a blank; values of a label do not.
DIFFERENT, NOT_KNOWN = "not the same", "not known"
EXPLAINED = (
    "Durations and numbers of face frames are those of the clip that has less, in thirds of the trials. Target trials"
    " within one session and across two sessions are each combined with all non-target trials. If no target trial has"
    " two values of a label, as with gender, non-target trials with two values are combined with all target trials. A"
    f" rate needs {MIN_TRIALS} trials of each class and {MIN_SPEAKERS} speakers."
)
TITLES = {"utt2dur": "duration", "utt2num_faces": "face frames", "utt2session": "session"}


class Condition(NamedTuple):
    """Some trials of a list.

    Attributes:
        source: list of the data directory that defines the condition.
        name: name of the condition, unique in its source.
        chosen: (N,) which trials it contains.
    """

    source: str
    name: str
    chosen: NDArray[np.bool_]


class ConditionRow(NamedTuple):
    """One line of conditions.csv; rates in percent, or None with the reason in ``missing``."""

    corpus: str
    preset: str
    system: str
    trials: str
    mode: str
    stage: str
    source: str
    condition: str
    n_target: int
    n_nontarget: int
    eer: float | None
    eer_low: float | None
    eer_high: float | None
    missing: str
    seed: int


def title(source: str) -> str:
    """The subject of a list, in words.

    Example:
        >>> title("utt2dur"), title("spk2gender")
        ('duration', 'gender')
    """
    return TITLES.get(source, source.partition("2")[2])


def evaluate_conditions(
    exp: Path, systems: Sequence[str], trial_sets: Sequence[TrialSet], data_dirs: Sequence[str | Path], run: Run
) -> list[ConditionRow]:
    """Evaluate systems under every condition of the trial lists: in their widest mode, and in AxA and VxV.

    Normalized scores are evaluated, or raw ones if there are no others. A rate needs 10 trials of each class and 5
    speakers.

    Args:
        exp: folder of the systems.
        systems: their names, in the order of the table.
        trial_sets: the lists to report on.
        data_dirs: their data directories.
        run: the properties that all rows share.

    Raises:
        DataError: a list of a data directory is malformed, or scores belong to other trials or are not finite.
    """
    rows = []
    for trial_set, data_dir in zip(trial_sets, data_dirs, strict=True):
        speakers = speaker_numbers(trial_set)
        for trials in trial_set.lists:
            conditions = conditions_of(Path(data_dir), trial_set, trials)
            for system in systems:
                for path in _chosen_files(exp / system / "scores" / trials.name) if conditions else ():
                    rows += _evaluate_file(path, system, trials, speakers, conditions, run)
    return rows


def conditions_of(data_dir: Path, trial_set: TrialSet, trials: TrialList) -> list[Condition]:
    """The conditions that apply to some trials of a trial list; lists that define none are printed.

    Args:
        data_dir: data directory with the lists that describe utterances and speakers.
        trial_set: its trial lists.
        trials: one of them.

    Raises:
        DataError: a list of the data directory is malformed, or a size is not positive.
    """
    names = [
        name for name in (*utterance_lists(data_dir), *speaker_lists(data_dir)) if name.startswith(("utt2", "spk2"))
    ]
    names = [name for name in names if name not in NO_CONDITIONS]
    found: list[Condition] = []
    for name in sorted(names, key=lambda name: (name not in TITLES, name.startswith("spk2"), name)):
        path = data_dir / name
        members, listed = trial_set.members, read_list(path, fields=2)
        if name in SIZES:
            conditions = _by_size(name, members.mean(_sizes(path, listed, members.utterances)), trials)
        else:
            of_speakers = name.startswith("spk2")
            keys = trial_set.speakers.tolist() if of_speakers else members.utterances
            values, codes = np.unique([listed.get(key, "") for key in keys], return_inverse=True)
            if values[0] == "":
                values, codes = values[1:], codes - 1
            if not of_speakers:
                codes, same = members.common(codes)
                codes = np.where(same, codes, -1)
            if name == "utt2session":
                conditions = _by_session(codes, trials)
            else:
                conditions = _by_label(name, values.tolist(), codes, trials) if len(values) <= MAX_VALUES else []
        conditions = [condition for condition in conditions if condition.chosen.any()]
        if len([condition for condition in conditions if condition.name != NOT_KNOWN]) > 1:
            found += conditions
        else:
            print(f"{path}: defines no conditions for the trials {trials.name}")
    return found


def _sizes(path: Path, listed: dict[str, str], keys: Sequence[str]) -> NDArray[np.float64]:
    """(U,) durations, NaN if unknown, or numbers of faces."""
    for key, value in listed.items():
        if wrong := VALUES[path.name](value):
            raise DataError(f"{path}: {key}: {wrong}")
    return np.array([float(listed.get(key, "nan" if path.name == "utt2dur" else 0)) for key in keys])


def _by_size(source: str, sizes: NDArray[np.float64], trials: TrialList) -> list[Condition]:
    """Thirds of the trials by the size of the smaller side; trials of size 0 separately."""
    smaller = np.minimum(sizes[trials.enroll], sizes[trials.test])
    some = smaller > 0
    edges = [float(f"{edge:.2g}") for edge in np.quantile(smaller[some], [1 / 3, 2 / 3])] if some.any() else []
    ends = [-np.inf, *dict.fromkeys(edges), np.inf]
    found = [Condition(source, "no face", smaller == 0)]
    for low, high in pairwise(ends):
        name = f"{low:g} to {high:g}" if np.isfinite([low, high]).all() else f"from {low:g}"
        name = f"below {high:g}" if low == -np.inf else name
        found.append(Condition(source, name + SIZES[source], some & (smaller >= low) & (smaller < high)))
    return [*found, Condition(source, NOT_KNOWN, np.isnan(smaller))]


def _by_session(codes: NDArray[np.int64], trials: TrialList) -> list[Condition]:
    """Target trials within one session and across two, each with all non-target trials."""
    others = ~trials.trials.is_target
    enroll, test = codes[trials.enroll], codes[trials.test]
    known = (enroll >= 0) & (test >= 0)
    kinds = {"one session": known & (enroll == test), "two sessions": known & (enroll != test), NOT_KNOWN: ~known}
    kinds = {name: kind for name, kind in kinds.items() if (kind & ~others).any()}
    return [Condition("utt2session", name, kind | others) for name, kind in kinds.items()]


def _by_label(source: str, values: Sequence[str], codes: NDArray[np.int64], trials: TrialList) -> list[Condition]:
    """Trials with the same value on both sides, and trials with two values."""
    enroll, test = codes[trials.enroll], codes[trials.test]
    known = (enroll >= 0) & (test >= 0)
    different = known & (enroll != test)
    if different.any() and not (different & trials.trials.is_target).any():
        different |= trials.trials.is_target
    found = [Condition(source, value, (enroll == n) & (test == n)) for n, value in enumerate(values)]
    return [*found, Condition(source, DIFFERENT, different), Condition(source, NOT_KNOWN, ~known)]


def _chosen_files(folder: Path) -> list[Path]:
    """Normalized scores, or raw ones, in the widest mode and in the modes of a single modality."""
    files = score_files(folder)
    modes: dict[str, dict[str, Path]] = {}
    for path in files:
        if path.stem in (files[0].stem, "AxA", "VxV"):
            modes.setdefault(path.stem, {})[path.suffix] = path
    return [found.get(".asnorm") or next(iter(found.values())) for found in modes.values()]


def _evaluate_file(
    path: Path, system: str, trials: TrialList, speakers: NDArray, conditions: Sequence[Condition], run: Run
) -> list[ConditionRow]:
    scores = read_trial_scores(path, trials)
    names = run.corpus, run.preset, system, trials.name, path.stem, path.suffix[1:]
    rows = []
    for source, name, chosen in conditions:
        part = scores.chosen(chosen[scores.places])
        sides, counts = part.speakers(trials, speakers), part.counts()
        missing = _missing(*counts, len(np.union1d(*sides)))
        figures: tuple[float | None, ...] = None, None, None
        if not missing:
            figures = eer_and_interval(part, sides, run.resamples, run.seed)
        rows.append(ConditionRow(*names, source, name, *counts, *figures, missing, run.seed))
    return rows


def _missing(n_target: int, n_nontarget: int, n_speakers: int) -> str:
    """The reason why there is no error rate; empty if there is one."""
    for count, kind in ((n_target, "target trials"), (n_nontarget, "non-target trials")):
        if count < MIN_TRIALS:
            return f"too few {kind}" if count else f"no {kind}"
    return "" if n_speakers >= MIN_SPEAKERS else "too few speakers"
