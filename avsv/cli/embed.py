"""``avsv embed``: embeddings of recordings or of a data directory."""

import argparse
import csv
from pathlib import Path

import numpy as np

from avsv.cli.lost import add_max_lost, check_lost
from avsv.cli.shared import MODEL_HELP, add_model_options, check_output, load_model, with_progress
from avsv.data.inputs import FEATURE_LISTS
from avsv.errors import DataError
from avsv.io.ark import write_vectors
from avsv.io.atomic import atomic_path
from avsv.io.lists import read_list
from avsv.io.names import wrong_key

DESCRIPTION = """Embed recordings (videos, audio files, images, folders of images), or all utterances of a data
directory. OUT.npz holds the arrays 'keys' and 'embeddings', OUT.csv a line for each; any other OUT gives OUT.ark and
OUT.scp in Kaldi's format, where paths must be without blanks and inside the current folder. Embeddings are not scaled:
compare them by their cosine."""


def add_command(commands) -> None:
    """Add ``embed`` to the program's commands."""
    parser = commands.add_parser("embed", help="embeddings of recordings", description=DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("sources", metavar="PATH", nargs="+", help="recordings, or one data directory")
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, required=True, help="OUT.npz, OUT.csv or a prefix")
    parser.add_argument("--mode", choices=("A", "V", "AV"), help="default: the widest that all recordings have")
    add_max_lost(parser, "recordings that cannot be embedded")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Embed and write."""
    first = Path(args.sources[0])
    directory = first if len(args.sources) == 1 and args.sources[0] and (first / "utt2spk").is_file() else None
    _check_out(args, directory)
    from avsv.verification.collection import embed_recordings, embed_utterances, recordings_at

    lost: dict[str, str] = {}
    if directory is not None:
        keys = list(read_list(directory / "utt2spk", fields=2))
    else:
        keys = list(dict.fromkeys(args.sources))
        recordings = recordings_at({key: key for key in keys}, lost)
        if len(lost) > args.max_lost * len(keys):  # before any is embedded
            check_lost(_reasons(lost), len(lost), len(keys), args.max_lost, "recordings")
    model = load_model(args)
    if args.mode and args.mode not in model.embedder.modes:
        raise DataError(f"--mode {args.mode}: {model.name} embeds in {' '.join(model.embedder.modes)}")
    if directory is not None:
        items = embed_utterances(model, directory, keys, lost)
    else:
        items = embed_recordings(model, recordings, lost)
    found = {item.key: item.embeddings for item in with_progress(items, len(keys), "recordings")}
    common = [mode for mode in model.embedder.modes if all(mode in embeddings for embeddings in found.values())]
    if not (args.mode or common):
        raise DataError("the recordings have no modality in common: choose one with --mode, and omit the others")
    mode = args.mode or common[0]
    lost |= {key: f"lacks what --mode {mode} needs" for key in found if mode not in found[key]}
    check_lost(_reasons(lost), len(lost), len(keys), args.max_lost, "recordings")
    keys = sorted(key for key in keys if key not in lost)
    _write(args.out, keys, np.stack([found[key][mode] for key in keys]))
    print(f"{args.out}: {len(keys)} embeddings in mode {mode}, {len(found[keys[0]][mode])} numbers each")


def _check_out(args: argparse.Namespace, directory: Path | None) -> None:
    """Raise DataError for an output that cannot be written, or whose index the toolkit could not read."""
    if not args.out.name:
        raise DataError("--out: expected OUT.npz, OUT.csv or the prefix of OUT.ark and OUT.scp")
    inputs = list(args.sources)
    if directory is not None:
        names = "utt2spk", "utt2dur", "wav.scp", "video.scp", "faces.scp", *FEATURE_LISTS.values()
        inputs = [directory / name for name in names]
    if args.out.suffix in (".npz", ".csv"):
        check_output(args.out, (), inputs)
        return
    for suffix in (".ark", ".scp"):
        check_output(Path(f"{args.out}{suffix}"), (), inputs)
    for key in args.sources if directory is None else []:
        wrong = wrong_key(key) or (f"'{key}' has a blank" if len(key.split()) > 1 else None)
        if wrong:
            raise DataError(f"{wrong.removesuffix(': rename it')}, so it is no key of Kaldi: write OUT.npz or OUT.csv")


def _reasons(lost: dict[str, str]) -> list[str]:
    return [why if why.startswith(f"{key}:") else f"{key}: {why}" for key, why in lost.items()]


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
