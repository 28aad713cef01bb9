"""``avsv embed``: embeddings of recordings or of a data directory."""

import argparse
import csv
from pathlib import Path

import numpy as np

from avsv.cli.shared import MODEL_HELP, add_model_options, load_model, with_progress
from avsv.errors import DataError
from avsv.io.ark import write_vectors
from avsv.io.atomic import atomic_path

DESCRIPTION = """Embed recordings (videos, audio files, images, folders of images), or all utterances of a data
directory. OUT.npz holds the arrays 'keys' and 'embeddings', OUT.csv a line for each; any other OUT gives OUT.ark and
OUT.scp in Kaldi's format. Embeddings are not scaled: compare them by their cosine."""


def add_command(commands) -> None:
    """Add ``embed`` to the program's commands."""
    parser = commands.add_parser("embed", help="embeddings of recordings", description=DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("sources", metavar="PATH", nargs="+", type=Path, help="recordings, or one data directory")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="OUT.npz, OUT.csv or a prefix")
    parser.add_argument("--mode", choices=("A", "V", "AV"), help="default: the widest that all recordings have")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Embed and write."""
    if not args.out.name:
        raise DataError("--out: expected OUT.npz, OUT.csv or the prefix of OUT.ark and OUT.scp")
    model = load_model(args)
    if args.mode and args.mode not in model.embedder.modes:
        raise DataError(f"--mode {args.mode}: {model.name} embeds in {' '.join(model.embedder.modes)}")
    from avsv.verification.collection import embed_directory, embed_recordings, recordings_of, stored_letters
    from avsv.verification.recording import Recording

    directory = args.sources[0]
    if len(args.sources) == 1 and (directory / "utt2spk").is_file():
        if letters := stored_letters(model, directory):
            items = embed_directory(model, directory, letters)
        else:
            items = embed_recordings(model, recordings_of(directory, model.embedder.letters))
        total = sum(1 for _ in (directory / "utt2spk").open())
    else:
        items, total = embed_recordings(model, [Recording.of(path) for path in args.sources]), len(args.sources)
    found = {item.key: item.embeddings for item in with_progress(items, total, "recordings")}
    common = [mode for mode in model.embedder.modes if all(mode in embeddings for embeddings in found.values())]
    if not (args.mode or common):
        raise DataError("the recordings have no modality in common: choose one with --mode, and omit the others")
    mode = args.mode or common[0]
    keys = sorted(key for key, embeddings in found.items() if mode in embeddings)
    if len(keys) < len(found):
        missing = next(key for key in found if key not in keys)
        raise DataError(f"{missing}: lacks what --mode {mode} needs ({len(found) - len(keys)} such of {len(found)})")
    _write(args.out, keys, np.stack([found[key][mode] for key in keys]))
    print(f"{args.out}: {len(keys)} embeddings in mode {mode}, {len(found[keys[0]][mode])} numbers each")


def _write(out: Path, keys: list[str], matrix: np.ndarray) -> None:
    if out.suffix == ".npz":
        with atomic_path(out) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=np.array(keys), embeddings=matrix)
    elif out.suffix == ".csv":
        with atomic_path(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            rows = ([key, *(f"{value:.9g}" for value in vector)] for key, vector in zip(keys, matrix, strict=True))
            csv.writer(file).writerows(rows)
    else:
        write_vectors(out, keys, matrix)
