"""The results table: one row per system, trial list, mode and score stage; as csv, Markdown and console text."""

import csv
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsv.errors import DataError
from avsv.io.lists import read_scores
from avsv.scoring.bootstrap import speaker_bootstrap
from avsv.scoring.metrics import cllr, eer, eer_rocch, min_dcf
from avsv.scoring.modes import MODES
from avsv.scoring.trials import TrialList, TrialSet, places_in

STAGES = ("cos", "asnorm", "llr")
"""Score stages in the order they are made: cosine, normalised, calibrated."""


class Row(NamedTuple):
    """One line of results.csv; rates in percent, ``cllr`` None where scores are no log-likelihood ratios."""

    corpus: str
    preset: str
    system: str
    trials: str
    mode: str
    stage: str
    n_target: int
    n_nontarget: int
    eer: float
    eer_low: float
    eer_high: float
    eer_rocch: float
    mindcf: float
    cllr: float | None
    seed: int
    git: str
    list_md5: str


class Run(NamedTuple):
    """What all rows of a table share.

    Attributes:
        corpus, preset: names.
        seed: of the run.
        git: revision of the code, ``none`` outside a repository.
        resamples: draws of speakers for each interval.
        command: what makes the table again.
    """

    corpus: str
    preset: str
    seed: int
    git: str
    resamples: int
    command: str


def evaluate(exp: Path, systems: Sequence[str], trial_sets: Sequence[TrialSet], run: Run) -> list[Row]:
    """Evaluate all score files of systems on the trial lists.

    Args:
        exp: folder of the systems.
        systems: their names, in the order of the table.
        trial_sets: the lists to report on.
        run: what the rows share.

    Raises:
        DataError: a system without scores of a list, scores of other trials or not finite, a class of trials missing.
    """
    rows = []
    for trial_set in trial_sets:
        speakers = np.unique(trial_set.speakers, return_inverse=True)[1]
        for trials in trial_set.lists:
            md5 = hashlib.md5(trials.path.read_bytes(), usedforsecurity=False).hexdigest()
            for system in systems:
                files = score_files(exp / system / "scores" / trials.name)
                if not files:
                    raise DataError(f"{exp}/{system}/scores/{trials.name}: no scores of {trials.path}: score it first")
                for path in files:
                    rows.append(_evaluate_file(path, system, trials, speakers, md5, run))
    return rows


def score_files(folder: Path) -> list[Path]:
    """The score files of a list, by mode (widest first) and stage."""
    paths = [folder / f"{mode}.{stage}" for mode in MODES for stage in STAGES]
    return [path for path in paths if path.is_file()]


def _evaluate_file(path: Path, system: str, trials: TrialList, speakers: NDArray, md5: str, run: Run) -> Row:
    scores = read_scores(path)
    places = places_in(path, scores, trials.trials)
    is_target = trials.trials.is_target[places]
    enroll, test = (speakers[side[places]] for side in (trials.enroll, trials.test))
    stage, values = path.suffix[1:], scores.score
    try:
        low, high = speaker_bootstrap(values, is_target, enroll, test, run.resamples, run.seed)
        figures = [100 * x for x in (eer(values, is_target), low, high, eer_rocch(values, is_target))]
        return Row(
            run.corpus,
            run.preset,
            system,
            trials.name,
            path.stem,
            stage,
            int(is_target.sum()),
            int((~is_target).sum()),
            *figures,
            min_dcf(values, is_target),
            cllr(values, is_target) if stage == "llr" else None,
            run.seed,
            run.git,
            md5,
        )
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def to_csv(rows: Sequence[Row]) -> str:
    """The text of results.csv: rates and costs with four digits after the point, nothing for a missing figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    for row in rows:
        writer.writerow("" if x is None else f"{x:.4f}" if isinstance(x, float) else x for x in row)
    return text.getvalue()


class _Line(NamedTuple):
    """One line of a table for people: a system in a mode, its stages side by side."""

    system: str
    mode: str
    stages: dict[str, Row]

    @property
    def best(self) -> Row:
        """The normalised scores where there are any."""
        return self.stages.get("asnorm", next(iter(self.stages.values())))


def _lines(rows: Sequence[Row]) -> dict[str, list[_Line]]:
    """Rows by trial list, then by system and mode."""
    tables: dict[str, dict[tuple[str, str], dict[str, Row]]] = {}
    for row in rows:
        tables.setdefault(row.trials, {}).setdefault((row.system, row.mode), {})[row.stage] = row
    return {name: [_Line(*key, stages) for key, stages in lines.items()] for name, lines in tables.items()}


HEADER = ("system", "mode", "EER % cosine", "EER % s-norm", "95 % interval", "minDCF", "Cllr")


def _cells(line: _Line) -> list[str]:
    raw, best, llr = line.stages.get("cos"), line.best, line.stages.get("llr")
    return [
        line.system,
        line.mode,
        f"{raw.eer:.2f}" if raw else "",
        f"{best.eer:.2f}",
        f"{best.eer_low:.2f} - {best.eer_high:.2f}",
        f"{best.mindcf:.3f}",
        f"{llr.cllr:.3f}" if llr else "",
    ]


def _best(lines: Sequence[_Line]) -> dict[int, set[int]]:
    """For each column that is a figure of merit, which lines have its lowest value, as it is printed."""
    cells = [_cells(line) for line in lines]
    best = {}
    for column in (2, 3, 5, 6):
        values = {number: float(row[column]) for number, row in enumerate(cells) if row[column]}
        lowest = min(values.values(), default=None)
        best[column] = {number for number, value in values.items() if value == lowest}
    return best


def to_console(rows: Sequence[Row]) -> str:
    """Aligned tables, one per trial list."""
    parts = []
    for name, lines in _lines(rows).items():
        table = [list(HEADER), *(_cells(line) for line in lines)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        first = lines[0].best
        parts.append(f"Trials '{name}': {first.n_target} target, {first.n_nontarget} non-target")
        for number, cells in enumerate(table):
            words = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
            parts.append("  " + "  ".join(words).rstrip())
            if number == 0:
                parts.append("  " + "  ".join("-" * width for width in widths))
        parts.append("")
    return "\n".join(parts)


def to_markdown(rows: Sequence[Row], run: Run, figures: Sequence[tuple[str, str]]) -> str:
    """The text of RESULTS.md.

    Args:
        rows: the results.
        run: what they share.
        figures: captions and file names of plots to show.
    """
    parts = [
        f"# Results: {run.corpus}, preset {run.preset}",
        "",
        "Generated from `results.csv`; do not edit. Made by",
        "",
        f"    {run.command}",
        "",
        f"with seed {run.seed}, code revision {run.git}.",
        "",
        "- EER: equal error rate in percent, interpolated between operating points, of cosine scores and after score"
        " normalisation.",
        f"- 95 % interval: of the normalised scores' EER, from {run.resamples} draws of the evaluation's speakers.",
        "- minDCF: smallest normalised detection cost of the normalised scores, P_target 0.01, both costs 1.",
        "- Cllr: cost in bits of the log-likelihood ratios, which were calibrated on development trials.",
        "- mode: the modalities of the enrolment side, x, those of the test side. The best of a column is bold.",
        f"- All figures were measured on the data `{run.corpus}` and say nothing about other data.",
    ]
    for name, lines in _lines(rows).items():
        first, best = lines[0].best, _best(lines)
        parts += ["", f"## Trials `{name}`", ""]
        parts += [
            f"{first.n_target + first.n_nontarget} trials: {first.n_target} target, {first.n_nontarget} non-target;"
            f" md5 of the list {first.list_md5}.",
            "",
            "| " + " | ".join(HEADER) + " |",
            "|" + "|".join([":--"] * 2 + ["--:"] * (len(HEADER) - 2)) + "|",
        ]
        for number, line in enumerate(lines):
            cells = [f"**{c}**" if number in best.get(i, ()) else c for i, c in enumerate(_cells(line))]
            parts.append("| " + " | ".join(cells) + " |")
    for caption, path in figures:
        parts += ["", f"![{caption}]({path})"]
    return "\n".join(parts) + "\n"
