"""``avsv score``: score files of a list of trials."""

import argparse
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avsv.cli.lost import add_max_lost, check_lost
from avsv.cli.shared import MODEL_HELP, add_model_options, check_output, load_model, with_progress
from avsv.errors import DataError
from avsv.io.lists import ENROLL, read_list, read_models, write_scores
from avsv.scoring.modes import MODES
from avsv.scoring.score_file import read_pairs

if TYPE_CHECKING:
    from avsv.verification.model import Model
    from avsv.verification.pairs import Embedded

DESCRIPTION = """Score a list of trials, with or without labels, as stages 6 to 9 of the recipe do. The two sides of a
trial are utterances of a data directory (its features and face crops if they exist, else its recordings), or, without
--data, paths of recordings. Either side may be a model made of several: the mean of their embeddings. Writes
FOLDER/MODE.cos, MODE.asnorm and, for calibrated modes, MODE.llr; score files of other modes that an earlier run left in
FOLDER are removed."""
SUFFIXES = ("cos", "asnorm", "llr")


def add_command(commands) -> None:
    """Add ``score`` to the program's commands."""
    parser = commands.add_parser("score", help="score a list of trials", description=DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("trials", metavar="TRIALS", type=Path, help="'enroll test' lines, with or without labels")
    parser.add_argument("-o", "--out", metavar="FOLDER", type=Path, required=True, help="receives the score files")
    parser.add_argument("--data", metavar="DIR", type=Path, help="data directory of the utterances")
    parser.add_argument(
        "--enroll",
        metavar="FILE",
        type=Path,
        help="models, as 'MODEL UTTERANCE UTTERANCE ...' lines; default: DIR/enroll, where there is one",
    )
    parser.add_argument("--root", metavar="DIR", type=Path, default=Path(), help="where paths of recordings start")
    parser.add_argument(
        "--modes", default="", help="as in 'AxA VxV', each for all trials; default: each for the trials that have it"
    )
    add_max_lost(parser, "trials without a score")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Embed both sides, score, and write."""
    _check_folder(args)
    trials = _Listed(args)
    model, sides = _embed(args, trials)
    from avsv.verification.collection import score_trials

    row = {side.name: n for n, side in enumerate(sides)}
    there = np.flatnonzero([a in row and b in row for a, b in zip(trials.enroll, trials.test, strict=True)])
    pair = [np.array([row[key] for key in ids[there]], np.int64) for ids in (trials.enroll, trials.test)]
    wanted = args.modes.split()
    scored = {mode: score_trials(model, sides, *pair, mode) for mode in wanted or model.modes}
    if wanted:
        for mode in wanted:
            trials.check_scored(there, scored[mode].places, f"mode {mode} needs")
    else:
        places = np.concatenate([found.places for found in scored.values()])
        trials.check_scored(there, places, f"{model.name} needs in any mode")
    files = {
        args.out / f"{mode}.{suffix}": (there[found.places], values)
        for mode, found in scored.items()
        for suffix, values in zip(SUFFIXES, found.scores, strict=True)
        if values is not None and len(found.places)
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for path in _score_files(args.out):
        if path not in files and path.exists():
            path.unlink()
            print(f"avsv: warning: {path}: removed: an earlier run left it", file=sys.stderr)
    for path, (rows, values) in files.items():
        write_scores(path, trials.enroll[rows], trials.test[rows], values)
        total = "" if len(rows) == len(trials.enroll) else f" of {len(trials.enroll)}"
        print(f"{path}: {len(rows)}{total} trials")


def _score_files(folder: Path) -> list[Path]:
    """All that the command can write to a folder."""
    return [folder / f"{mode}.{suffix}" for mode in MODES for suffix in SUFFIXES]


def _check_folder(args: argparse.Namespace) -> None:
    """Raise DataError if the score files cannot be written, or would replace a list that is read."""
    if args.out.exists() and not args.out.is_dir():
        raise DataError(f"{args.out}: is a file: give the name of a folder")
    for path in _score_files(args.out) if args.out.exists() else []:
        check_output(path, (), [args.trials, *([] if args.enroll is None else [args.enroll])])


class _Listed:
    """The trials of a command line, and the recordings that their sides are made of."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.path, self.max_lost = args.trials, args.max_lost
        self.enroll, self.test = read_pairs(args.trials)
        self.models = _read_models(args)
        names = dict.fromkeys(name for pair in zip(self.enroll, self.test, strict=True) for name in pair)
        self.members = {name: self.models.get(name, [name]) for name in names}
        self.keys = list(dict.fromkeys(key for part in self.members.values() for key in part))

    def lines(self) -> dict[str, int]:
        """The first line on which each recording is needed."""
        lines: dict[str, int] = {}
        for n, pair in enumerate(zip(self.enroll, self.test, strict=True), 1):
            for key in (key for name in pair for key in self.members[name]):
                lines.setdefault(key, n)
        return lines

    def check_ids(self, known: Collection[str], data: Path) -> None:
        """Raise DataError if an utterance is not in a data directory."""
        if unknown := [key for key in self.keys if key not in known]:
            raise DataError(
                f"{self.path}:{self.lines()[unknown[0]]}: '{unknown[0]}' is not among the utterances of {data}"
                f" ({len(unknown)} such)"
            )

    def check_lost(self, lost: dict[str, str], embedded: bool) -> None:
        """Name the recordings that are lost; DataError if too many trials have nothing else on one side.

        A model may lack some of its utterances, as in the recipe. Before anything is embedded, nothing is named that is
        not too much.
        """
        sides = {name for name, part in self.members.items() if all(key in lost for key in part)}
        count = sum(a in sides or b in sides for a, b in zip(self.enroll, self.test, strict=True))
        if not (embedded or count > self.max_lost * len(self.enroll)):
            return
        lines = self.lines() if lost else {}
        # First those without which trials are lost.
        needed = {key for name in sides for key in self.members[name]}
        keys = sorted(lost, key=lambda key: (key not in needed, lines[key]))
        reasons = [f"{self.path}:{lines[key]}: {key}: {lost[key]}" for key in keys]
        check_lost(reasons, count, len(self.enroll), self.max_lost, "trials")

    def check_scored(self, there: NDArray[np.int64], places: NDArray[np.int64], what: str) -> None:
        """Name the first trial that lacks what scores need; DataError if too many trials do.

        Args:
            there: (M,) the places in the list of the trials whose sides are embedded.
            places: places among these of the trials that are scored; they may occur several times.
            what: what the others lack.
        """
        lacking = there[np.setdiff1d(np.arange(len(there)), places)]
        if len(lacking):
            first, total = int(lacking[0]), len(self.enroll)
            pair = f"'{self.enroll[first]} {self.test[first]}'"
            why = f"{self.path}:{first + 1}: {pair} lacks what {what}, first of {len(lacking)}"
            check_lost([why], total - len(np.unique(places)), total, self.max_lost, "trials")

    def sides(self, found: "Sequence[Embedded]") -> "list[Embedded]":
        """The sides that can be made of the embedded recordings."""
        from avsv.verification.gallery import combine

        by_key, sides = {side.name: side for side in found}, []
        for name, part in self.members.items():
            if parts := [by_key[key] for key in part if key in by_key]:
                sides.append(combine(name, parts) if name in self.models else parts[0])
        return sides


def _read_models(args: argparse.Namespace) -> dict[str, list[str]]:
    """The models that trials may name."""
    path = args.enroll
    if args.data is None:
        if path is None:
            return {}
        recordings = {key for value in read_list(path).values() for key in value.split()}
        return read_models(path, recordings)
    if path is None and not (args.data / ENROLL).is_file():
        return {}
    return read_models(path or args.data / ENROLL, read_list(args.data / "utt2spk", fields=2))


def _embed(args: argparse.Namespace, trials: _Listed) -> "tuple[Model, list[Embedded]]":
    """The model, and the sides of the trials, embedded by it."""
    from avsv.verification.collection import embed_recordings, embed_utterances, recordings_at, stored_letters

    lost: dict[str, str] = {}
    if args.data is None:
        recordings = recordings_at({key: args.root / key for key in trials.keys}, lost)
        trials.check_lost(lost, embedded=False)
    else:
        trials.check_ids(read_list(args.data / "utt2spk", fields=2), args.data)
    model = load_model(args)
    for mode in args.modes.split():
        model.find_mode("", "", mode)
    if args.data is None:
        items = embed_recordings(model, recordings, lost)
    else:
        if not stored_letters(model, args.data):
            print(f"{args.data}: reading its recordings: it has no features or face crops", file=sys.stderr)
        items = embed_utterances(model, args.data, trials.keys, lost)
    found = [model.side(*item) for item in with_progress(items, len(trials.keys), "recordings")]
    trials.check_lost(lost, embedded=True)
    return model, trials.sides(found)
