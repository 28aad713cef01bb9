"""``avsv enroll`` and ``avsv identify``: people in a gallery, and which of them a recording shows."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.cli.shared import MODEL_HELP, add_model_options, align, load_model, warn_of, with_progress

if TYPE_CHECKING:
    from avsv.verification.gallery import Identification

ENROLL = """Enroll a person from one or more recordings (videos, audio files, images, folders of images), or add
recordings to a person who is enrolled. The gallery is one file, created with the first person."""
IDENTIFY = """Find out which person of a gallery a recording shows, if any. Exit status: 0 somebody, 3 nobody, 4 no
decision (a mode could not be calibrated), 1 bad input, 2 wrong options."""
NOBODY, UNDECIDED = 3, 4


def add_commands(commands) -> None:
    """Add ``enroll`` and ``identify`` to the program's commands."""
    parser = commands.add_parser("enroll", help="enroll a person in a gallery", description=ENROLL)
    parser.add_argument("gallery", metavar="GALLERY", type=Path, help="file; created if it does not exist")
    parser.add_argument("name", metavar="NAME", help="of the person")
    parser.add_argument("clips", metavar="CLIP", nargs="+", help="recordings of the person")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP}; default: that of the gallery")
    add_model_options(parser)
    parser.set_defaults(run=enroll)

    parser = commands.add_parser("identify", help="find the person of a recording in a gallery", description=IDENTIFY)
    parser.add_argument("gallery", metavar="GALLERY", type=Path, help="file of 'avsv enroll'")
    parser.add_argument("clip", metavar="CLIP", help="recording: video, audio, image or folder of images")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP}; default: that of the gallery")
    parser.add_argument(
        "--far", type=float, default=0.01, metavar="RATE", help="rate at which a stranger gets a name (0.01)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_options(parser)
    parser.set_defaults(run=identify)


def enroll(args: argparse.Namespace) -> None:
    """Embed the recordings and write the gallery."""
    from avsv.errors import DataError
    from avsv.verification.gallery import Gallery

    gallery = Gallery.read(args.gallery) if args.gallery.exists() else None
    if gallery is None and args.model is None:
        raise DataError(f"{args.gallery}: no such gallery: give --model to create it")
    model = load_model(args, args.model or gallery.model)
    if gallery is None:
        gallery = Gallery(model.package.settings.identity, str(model.package.where.resolve()))
    gallery.check_model(model, args.gallery)
    readings = (model.read(clip) for clip in args.clips)
    embedded = [model.embed_reading(reading) for reading in with_progress(readings, len(args.clips), "recordings")]
    person = gallery.enroll(args.name, embedded)
    gallery.write(args.gallery)
    what = ", ".join(f"{mode} from {count}" for mode, count in person.counts.items())
    print(f"{args.gallery}: {args.name}: {what} recordings; {len(gallery.people)} enrolled")


def identify(args: argparse.Namespace) -> int:
    """Embed the recording, compare it with everybody, print, and return the exit status."""
    from avsv.verification.gallery import Gallery

    gallery = Gallery.read(args.gallery)
    model = load_model(args, args.model or gallery.model)
    gallery.check_model(model, args.gallery)
    warn_of(model)
    found = gallery.identify(model, model.embed_reading(model.read(args.clip)), args.far)
    print(json.dumps(dataclasses.asdict(found), indent=2) if args.json else describe(found))
    return UNDECIDED if not found.decided else NOBODY if found.name is None else 0


def describe(found: "Identification") -> str:
    """The answer, and a table of the best candidates."""
    answer = found.name or "nobody" if found.decided else "no decision: a mode could not be calibrated"
    rows = [["person", "mode", "cosine", "score", "llr"]]
    for one in found.candidates[:10]:
        llr = "" if one.llr is None else f"{one.llr:.3f}"
        rows.append([one.name, one.mode, f"{one.cosine:.4f}", f"{one.score:.3f}", llr])
    return f"{answer}\n{align(rows, 2)}"
