"""``avsv score``: score files of a list of trials."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsv.bin.command import share
from avsv.cli.shared import MODEL_HELP, add_model_options, load_model, with_progress
from avsv.errors import DataError
from avsv.io.lists import ENROLL, read_list, read_models, write_scores
from avsv.scoring.score_file import read_pairs

if TYPE_CHECKING:
    from avsv.verification.model import Model
    from avsv.verification.pairs import Embedded

DESCRIPTION = """Score a list of trials, with or without labels, as stages 6 to 9 of the recipe do. The two sides of a
trial are utterances of a data directory (its features and face crops if they exist, else its recordings), or, without
--data, paths of recordings. Either side may be a model made of several: the mean of their embeddings. Writes
FOLDER/MODE.cos, MODE.asnorm and, for calibrated modes, MODE.llr."""


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
    parser.add_argument("--modes", default="", help="as in 'AxA VxV'; default: all in which a trial can be scored")
    parser.add_argument(
        "--max-lost", type=share, default=0.0, metavar="SHARE", help="largest share without a score (0)"
    )
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Embed both sides, score, and write."""
    enroll, test, labeled = read_pairs(args.trials)
    model = load_model(args)
    wanted = args.modes.split()
    for mode in wanted:
        model.find_mode("", "", mode)
    from avsv.verification.collection import score_trials

    sides = _sides(args, model, enroll, test)
    row = {side.name: n for n, side in enumerate(sides)}
    pair = [np.array([row[key] for key in ids]) for ids in (enroll, test)]
    scored = {mode: score_trials(model, sides, *pair, mode) for mode in wanted or model.modes}
    scored = {mode: found for mode, found in scored.items() if len(found.places) or mode in wanted}
    for mode, found in scored.items():
        lost = len(enroll) - len(found.places)
        if lost > args.max_lost * len(enroll) or not len(found.places):
            raise DataError(
                f"{args.trials}: {lost} of {len(enroll)} trials lack what mode {mode} needs, at most a share of"
                f" {args.max_lost:g} may (--max-lost); --modes says which modes are scored"
            )
    if not labeled:
        print(f"{args.trials}: no labels: scored, but there are no error rates", file=sys.stderr)
    args.out.mkdir(parents=True, exist_ok=True)
    for mode, (places, scores) in scored.items():
        for suffix, values in (("cos", scores.cosine), ("asnorm", scores.score), ("llr", scores.llr)):
            if values is not None:
                write_scores(args.out / f"{mode}.{suffix}", enroll[places], test[places], values)
                print(f"{args.out / f'{mode}.{suffix}'}: {len(places)} trials")


def _sides(args: argparse.Namespace, model: "Model", enroll: np.ndarray, test: np.ndarray) -> "list[Embedded]":
    """The recordings of the trials, and the models made of several."""
    from avsv.verification.gallery import combine

    names = list(dict.fromkeys([*enroll, *test]))
    models = _models(args)
    members = {name: models.get(name, [name]) for name in names}
    keys = list(dict.fromkeys(key for part in members.values() for key in part))
    found = {side.name: side for side in _embed(args, model, keys)}
    # As in the recipe, a model may lack some of its utterances, which have neither features nor face crops.
    there = {name: [found[key] for key in part if key in found] for name, part in members.items()}
    if lacking := [name for name in names if not there[name]]:
        line = int(np.flatnonzero((enroll == lacking[0]) | (test == lacking[0]))[0]) + 1
        raise DataError(
            f"{args.trials}:{line}: '{lacking[0]}' is not among the utterances that {args.data} has audio or video of"
            f" ({len(lacking)} such)"
        )
    return [combine(name, there[name]) if name in models else there[name][0] for name in names]


def _models(args: argparse.Namespace) -> dict[str, list[str]]:
    """The models that trials may name."""
    path = args.enroll
    if path is None:
        if args.data is None or not (args.data / ENROLL).is_file():
            return {}
        path = args.data / ENROLL
    if args.data is not None:
        return read_models(path, read_list(args.data / "utt2spk", fields=2))
    return {name: value.split() for name, value in read_list(path).items()}


def _embed(args: argparse.Namespace, model: "Model", keys: list[str]) -> "list[Embedded]":
    """The embedded recordings."""
    from avsv.verification.collection import embed_directory, embed_recordings, recordings_of, stored_letters
    from avsv.verification.recording import Recording

    wanted = set(keys)
    if args.data is None:
        recordings = []
        for key in keys:
            found = Recording.of(args.root / key)
            recordings.append(Recording(key, found.audio, found.video))
        items, total = embed_recordings(model, recordings), len(recordings)
    elif letters := stored_letters(model, args.data):
        items, total = embed_directory(model, args.data, letters, wanted), len(wanted)
    else:
        print(f"{args.data}: reading its recordings: it has no features or face crops", file=sys.stderr)
        recordings = [x for x in recordings_of(args.data, model.embedder.letters) if x.name in wanted]
        items, total = embed_recordings(model, recordings), len(recordings)
    return [model.side(*item) for item in with_progress(items, total, "recordings")]
