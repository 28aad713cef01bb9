"""Systems that were trained with several seeds: their mean error rates and the differences between them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.results.scores import read_trial_scores, score_files, speaker_numbers
from avsv.results.table import Cell, Column, Table, number, text, with_interval
from avsv.scoring.bootstrap import resampled_eers, speaker_bootstrap
from avsv.scoring.metrics import eer
from avsv.scoring.modes import parse_mode
from avsv.scoring.seeds import holm, seeds_difference, seeds_interval, two_way
from avsv.scoring.trials import TrialList, TrialSet

ALL = "all"
SIGNIFICANT = 0.05


class SeedRow(NamedTuple):
    """One line of seeds.csv: a system's equal error rate in percent with its 95 % interval.

    ``run`` is the folder of one training, whose interval is from speakers alone, or ``all``: the mean of all trainings
    with the interval from speakers and seeds. ``seed_std`` is the standard deviation of their rates.
    """

    trials: str
    system: str
    mode: str
    stage: str
    run: str
    seeds: int
    eer: float
    low: float
    high: float
    seed_std: float | None


class SeedContrast(NamedTuple):
    """One line of seed_differences.csv: a minus b, of mean equal error rates in percent; intervals are of 95 %.

    ``p`` is from speakers and seeds; ``p_holm`` is corrected for all contrasts on the trial list. With ``times`` as
    many of both, four of five studies would find a difference of this size by itself (p below 0.05); None above 1000.
    """

    trials: str
    stage: str
    a: str
    mode_a: str
    b: str
    mode_b: str
    seeds: int
    eer_a: float
    eer_b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    times: float | None


class Entry(NamedTuple):
    """A system in a mode; None means its widest mode."""

    system: str
    mode: str | None


class _Measured(NamedTuple):
    """Results of an entry: scores of all trainings (K, N), rates (K,), rates over drawn speakers (K, R)."""

    scores: list[NDArray[np.float32]]
    rates: NDArray[np.float64]
    draws: NDArray[np.float64]


def parse_entry(word: str) -> Entry:
    """A system from its name, which may be followed by ``/MODE``.

    Raises:
        DataError: no such mode.

    Example:
        >>> parse_entry("ssa/AVxA"), parse_entry("ssa")
        (Entry(system='ssa', mode='AVxA'), Entry(system='ssa', mode=None))
    """
    system, slash, mode = word.partition("/")
    if slash:
        parse_mode(mode)
    return Entry(system, mode or None)


def parse_pair(word: str) -> tuple[Entry, Entry]:
    """A contrast ``A:B``, of systems as :func:`parse_entry` takes them.

    Raises:
        DataError: not two systems, or no such mode.
    """
    parts = word.split(":")
    if len(parts) != 2 or not all(parts):
        raise DataError(f"contrast '{word}': expected SYSTEM:SYSTEM, as in ssa:ecapa or ssa/AxA:ecapa")
    return parse_entry(parts[0]), parse_entry(parts[1])


def compare_seeds(
    runs: Sequence[Path],
    systems: Sequence[Entry],
    pairs: Sequence[tuple[Entry, Entry]],
    trial_sets: Sequence[TrialSet],
    stage: str,
    resamples: int,
    seed: int,
) -> tuple[list[SeedRow], list[SeedContrast]]:
    """Evaluate systems over their trainings, and contrasts between them, on every trial list.

    All are compared on the trials that every training of every system has scored.

    Args:
        runs: folders of the same systems trained with different seeds, as ``exp/seed0/mini``.
        systems: to show; those of contrasts are added.
        pairs: contrasts, chosen beforehand.
        trial_sets: the lists.
        stage: of the scores, as ``asnorm``.
        resamples: draws of speakers.
        seed: of the draws.

    Raises:
        DataError: fewer than two runs or one of them twice, no scores, scores of other trials or not finite, or a class
            of trials missing.
    """
    if len({path.resolve() for path in runs}) < max(2, len(runs)):
        raise DataError("the spread over seeds needs at least two runs, each given once")
    rows, contrasts = [], []
    for trial_set in trial_sets:
        speakers = speaker_numbers(trial_set)
        for trials in trial_set.lists:
            known = _resolve(runs, trials, [*systems, *(entry for pair in pairs for entry in pair)], stage)
            entries = list(dict.fromkeys(known.values()))
            common = _common(runs, trials, entries, stage)
            is_target = trials.trials.is_target[common]
            sides = speakers[trials.enroll[common]], speakers[trials.test[common]]
            measured = {}
            for entry in entries:
                measured[entry] = _measure(runs, trials, entry, stage, common, (is_target, *sides), resamples, seed)
                rows += _rows(runs, trials.name, entry, stage, measured[entry], (is_target, *sides), resamples, seed)
            chosen = [(known[a], known[b]) for a, b in pairs]
            contrasts += _contrasts(trials.name, stage, chosen, measured, len(np.union1d(*sides)))
    return rows, contrasts


def _path(run: Path, trials: TrialList, entry: Entry, stage: str) -> Path:
    return run / entry.system / "scores" / trials.name / f"{entry.mode}.{stage}"


def _resolve(runs: Sequence[Path], trials: TrialList, entries: Iterable[Entry], stage: str) -> dict[Entry, Entry]:
    """Entries with their modes; DataError where a run has no scores of one."""
    known = {}
    for entry in entries:
        mode = entry.mode
        if mode is None:
            folder = runs[0] / entry.system / "scores" / trials.name
            mode = next((path.stem for path in score_files(folder)), None)
            if mode is None:
                raise DataError(f"{folder}: no scores of {trials.path}: score the system first")
        known[entry] = Entry(entry.system, mode)
        for run in runs:
            path = _path(run, trials, known[entry], stage)
            if not path.is_file():
                raise DataError(f"{path}: no such file: every run must have scored {entry.system} in mode {mode}")
    return known


def _common(runs: Sequence[Path], trials: TrialList, entries: Sequence[Entry], stage: str) -> NDArray[np.int64]:
    """Places in the list of the trials that all have scored."""
    common = np.arange(len(trials.enroll))
    for entry in entries:
        for run in runs:
            common = np.intersect1d(common, read_trial_scores(_path(run, trials, entry, stage), trials).places)
    return common


def _measure(
    runs: Sequence[Path],
    trials: TrialList,
    entry: Entry,
    stage: str,
    common: NDArray,
    of_trials: tuple[NDArray, NDArray, NDArray],
    resamples: int,
    seed: int,
) -> _Measured:
    scores = []
    for run in runs:
        found = read_trial_scores(_path(run, trials, entry, stage), trials)
        by_place = np.full(len(trials.enroll), np.nan, dtype=np.float32)
        by_place[found.places] = found.values
        scores.append(by_place[common])
    try:
        rates = np.array([eer(values, of_trials[0]) for values in scores])
        draws = np.array([resampled_eers(values, *of_trials, resamples, seed) for values in scores])
    except ValueError as error:
        raise DataError(f"{_path(runs[0], trials, entry, stage)}: {error}") from error
    return _Measured(scores, rates, draws)


def _rows(
    runs: Sequence[Path],
    trials: str,
    entry: Entry,
    stage: str,
    measured: _Measured,
    of_trials: tuple[NDArray, NDArray, NDArray],
    resamples: int,
    seed: int,
) -> list[SeedRow]:
    names = trials, entry.system, entry.mode, stage
    rows = []
    for run, values, rate, draws in zip(runs, *measured, strict=True):
        interval = speaker_bootstrap(values, *of_trials, resamples, seed, draws=draws)
        rows.append(SeedRow(*names, str(run), 1, *(100 * float(x) for x in (rate, *interval)), None))
    interval = seeds_interval(measured.scores, *of_trials, measured.draws)
    figures = [100 * float(x) for x in (measured.rates.mean(), *interval, measured.rates.std(ddof=1))]
    return [*rows, SeedRow(*names, ALL, len(runs), *figures)]


def _contrasts(
    trials: str,
    stage: str,
    pairs: Sequence[tuple[Entry, Entry]],
    measured: Mapping[Entry, _Measured],
    speakers: int,
) -> list[SeedContrast]:
    found, times = [], []
    for a, b in pairs:
        one, other = measured[a], measured[b]
        found.append(seeds_difference(one.rates, other.rates, one.draws, other.draws, speakers))
        variance = two_way(one.rates - other.rates, one.draws - other.draws, speakers)
        times.append(variance.times_needed(found[-1].difference))
    corrected = holm([result.p for result in found])
    rows = []
    for (a, b), result, p_holm, needed in zip(pairs, found, corrected, times, strict=True):
        rates = [measured[entry].rates for entry in (a, b)]
        figures = [100 * float(x) for x in (rates[0].mean(), rates[1].mean(), *result[:3])]
        names = trials, stage, a.system, a.mode, b.system, b.mode, len(rates[0])
        rows.append(SeedContrast(*names, *figures, result.p, float(p_holm), needed))
    return rows


def seeds_table(rows: Sequence[SeedRow]) -> Table:
    """The systems of one list: mean rate with its interval, spread over seeds, and the rates of single trainings."""
    groups: dict[tuple[str, str], list[SeedRow]] = {}
    for row in rows:
        groups.setdefault((row.system, row.mode), []).append(row)
    cells = []
    for (system, mode), found in groups.items():
        *single, mean = found
        rates = ", ".join(f"{row.eer:.2f}" for row in single)
        cells.append(
            [
                text(system),
                text(mode),
                with_interval(mean.eer, mean.low, mean.high),
                number(mean.seed_std, 2),
                Cell(rates),
            ]
        )
    columns = [Column("system", "system"), Column("mode", "text"), Column("EER %"), Column("SD over seeds")]
    caption = f"Mean EER % of {rows[-1].seeds} trainings with its 95 % interval over speakers and seeds"
    return Table("Systems", caption, [*columns, Column("each training", "text")], cells)


def contrasts_table(rows: Sequence[SeedContrast]) -> Table:
    """The contrasts of one list; those that remain after Holm's correction are marked."""
    cells = []
    for row in rows:
        emphasis = "best" if row.p_holm < SIGNIFICANT else ""
        interval = f"{row.low:+.2f} to {row.high:+.2f}"
        cells.append(
            [
                text(f"{row.a}/{row.mode_a}"),
                text(f"{row.b}/{row.mode_b}"),
                number(row.eer_a, 2),
                number(row.eer_b, 2),
                Cell(f"{row.difference:+.2f}", interval, row.difference, emphasis),
                *(Cell(f"{p:.3f}" if p >= 0.001 else "< 0.001", order=p) for p in (row.p, row.p_holm)),
            ]
        )
    names = ("EER % a", "EER % b", "a - b", "p", "p (Holm)")
    columns = [Column("a", "system"), Column("b", "system"), *(Column(name) for name in names)]
    caption = f"Differences of mean EERs over {rows[0].seeds} seeds; bold: p below 0.05 after Holm's correction"
    return Table("Contrasts", caption, columns, cells)
