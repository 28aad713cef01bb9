"""``avsv enroll``, ``remove`` and ``identify``: people in a gallery, and which of them a recording shows."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.bin.command import rate
from avsv.cli.shared import (
    MODEL_HELP,
    add_model_options,
    align,
    check_output,
    load_model,
    warn_of,
    with_progress,
)
from avsv.errors import DataError
from avsv.scoring.modes import MODES

if TYPE_CHECKING:
    from avsv.verification.gallery import Gallery, Identification
    from avsv.verification.model import Model

ENROLL = """Enroll a person from one or more recordings (videos, audio files, images, folders of images), or add
recordings to a person who is enrolled. The gallery is one file, created with the first person."""
REMOVE = """Remove a person with all their recordings from a gallery."""
IDENTIFY = """Find out which person of a gallery a recording shows, if any. Exit status: 0 somebody, 3 nobody, 4 no
decision (a mode could not be calibrated), 1 bad input, 2 wrong options."""
NOBODY, UNDECIDED = 3, 4


def add_commands(commands) -> None:
    """Add ``enroll``, ``remove`` and ``identify`` to the program's commands."""
    parser = commands.add_parser("enroll", help="enroll a person in a gallery", description=ENROLL)
    parser.add_argument("gallery", metavar="GALLERY", type=Path, help="file; created if it does not exist")
    parser.add_argument("name", metavar="NAME", help="of the person")
    parser.add_argument("clips", metavar="CLIP", nargs="+", help="recordings of the person")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP}; default: that of the gallery")
    add_model_options(parser)
    parser.set_defaults(run=enroll)

    parser = commands.add_parser("remove", help="remove a person from a gallery", description=REMOVE)
    parser.add_argument("gallery", metavar="GALLERY", type=Path, help="file of 'avsv enroll'")
    parser.add_argument("name", metavar="NAME", help="of the person")
    parser.set_defaults(run=remove)

    parser = commands.add_parser("identify", help="find the person of a recording in a gallery", description=IDENTIFY)
    parser.add_argument("gallery", metavar="GALLERY", type=Path, help="file of 'avsv enroll'")
    parser.add_argument("clip", metavar="CLIP", help="recording: video, audio, image or folder of images")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP}; default: that of the gallery")
    parser.add_argument(
        "--mode", choices=MODES, metavar="MODE", help="what to compare: %(choices)s; default: all that there is"
    )
    parser.add_argument(
        "--far", type=rate, default=0.01, metavar="RATE", help="rate at which a stranger gets a name (0.01)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_options(parser)
    parser.set_defaults(run=identify)


def enroll(args: argparse.Namespace) -> None:
    """Embed the recordings and write the gallery."""
    from avsv.verification.gallery import Gallery, file_digest, lock_gallery, person_name

    name = person_name(args.name)
    check_output(args.gallery, (), args.clips)
    from avsv.verification.recording import Recording

    recordings = [Recording.of(clip) for clip in args.clips]  # what cannot be opened, before any is embedded
    gallery = Gallery.read(args.gallery) if args.gallery.exists() else None
    if gallery is None and args.model is None:
        raise DataError(f"{args.gallery}: no such gallery: give --model to create it")
    model = _load_model(args, gallery)
    readings = (model.read(recording) for recording in recordings)
    embedded = [model.embed_reading(reading) for reading in with_progress(readings, len(recordings), "recordings")]
    files = [file_digest(clip) for clip in args.clips]
    with lock_gallery(args.gallery):
        # Others may have enrolled people while the recordings were embedded.
        if args.gallery.exists():
            gallery = Gallery.read(args.gallery)
            gallery.check_model(model, args.gallery)
        else:
            gallery = Gallery(model.package.settings.identity)
        gallery.model = str(model.package.where.resolve())
        new = gallery.find_new(name, files)
        person = gallery.enroll(name, [embedded[n] for n in new], [files[n] for n in new])
        gallery.write(args.gallery)
    for clip in (clip for n, clip in enumerate(args.clips) if n not in new):
        print(f"avsv: warning: {clip}: is a recording of {name} already: not added again", file=sys.stderr)
    what = ", ".join(f"{mode} from {count}" for mode, count in person.counts.items())
    print(f"{args.gallery}: {name}: {what} recordings; {len(gallery.people)} enrolled")


def remove(args: argparse.Namespace) -> None:
    """Remove a person and write the gallery."""
    from avsv.verification.gallery import Gallery, lock_gallery, person_name

    name = person_name(args.name)
    Gallery.read(args.gallery)  # where there is none, no lock is left
    with lock_gallery(args.gallery):
        gallery = Gallery.read(args.gallery)
        gallery.remove(name, args.gallery)
        gallery.write(args.gallery)
    print(f"{args.gallery}: {name}: removed; {len(gallery.people)} enrolled")


def _load_model(args: argparse.Namespace, gallery: "Gallery | None") -> "Model":
    """The model of the command line or else of the gallery; DataError if another one made the gallery."""
    if gallery is None:
        return load_model(args)
    if args.model is None and not Path(gallery.model).exists():
        raise DataError(f"{gallery.model}: no such model, which made {args.gallery}: if it was moved, give --model")
    model = load_model(args, args.model or gallery.model)
    gallery.check_model(model, args.gallery)
    return model


def identify(args: argparse.Namespace) -> int:
    """Embed the recording, compare it with everybody, print, and return the exit status."""
    from avsv.verification.gallery import Gallery
    from avsv.verification.recording import Recording

    gallery = Gallery.read(args.gallery)
    recording = Recording.of(args.clip)
    model = _load_model(args, gallery)
    mode, letters = args.mode, None
    if mode is not None:
        model.find_mode("", "", mode)
        letters = "".join(x for x in recording.letters if x in mode) or mode.replace("x", "")
    warn_of(model)
    embedded = model.embed_reading(model.read(recording, letters))
    found = gallery.identify(model, embedded, args.far, mode)
    print(json.dumps(dataclasses.asdict(found), indent=2) if args.json else describe(found))
    return UNDECIDED if not found.decided else NOBODY if found.name is None else 0


def describe(found: "Identification") -> str:
    """The answer, a table of the best candidates, and how it was decided.

    Example:
        >>> from avsv.verification.gallery import Candidate, Identification
        >>> ann = Candidate("Ann", "AVxAV", 0.8, 6.5, 4.25, 3.0, True, True)
        >>> bob = Candidate("Bob", "AVxA", 0.5, 3.5, 4.5, 5.0, False, False)
        >>> print(describe(Identification("Ann", True, 0.01, 0.005, (ann, bob))))
        Ann
        person  mode   cosine  score    llr  threshold
        Ann     AVxAV  0.8000  6.500  4.250      3.000
        Bob     AVxA   0.5000  3.500  4.500      5.000
        accepted above the threshold, where 0.5 % of other persons are accepted: 1 % in 2 comparisons
        extrapolated in AVxA: the development trials are too few to measure it
    """
    answer = found.name or "nobody" if found.decided else "no decision: a mode could not be calibrated"
    rows = [["person", "mode", "cosine", "score", "llr", "threshold"]]
    for one in found.candidates[:10]:
        ratio = ["", ""] if one.llr is None else [f"{one.llr:.3f}", f"{one.threshold:.3f}"]
        rows.append([one.name, one.mode, f"{one.cosine:.4f}", f"{one.score:.3f}", *ratio])
    lines = [answer, align(rows, 2)]
    if found.decided:
        comparisons = f"{len(found.candidates)} comparison{'s' if len(found.candidates) > 1 else ''}"
        rates = f"{100 * found.rate:.3g} % of other persons are accepted: {100 * found.far:g} % in {comparisons}"
        lines.append(f"accepted above the threshold, where {rates}")
        if modes := sorted({one.mode for one in found.candidates if not one.measured}):
            few = "the development trials are too few to measure it"
            lines.append(f"extrapolated in {' '.join(modes)}: {few}")
    return "\n".join(lines)
