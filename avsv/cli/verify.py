"""``avsv verify``: whether two recordings show the same person."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.bin.command import rate
from avsv.cli.shared import MODEL_HELP, add_model_options, check_output, load_model, warn_of
from avsv.scoring.modes import MODES

if TYPE_CHECKING:
    from avsv.verification.model import Used, Verification

DESCRIPTION = """Decide whether two recordings show the same person. Each is a video, an audio file, an image or a
folder of images: all modalities that a recording has and the model takes are used. Exit status: 0 the same person,
3 different persons, 4 no decision (the mode could not be calibrated), 1 bad input, 2 wrong options."""
REJECTED, UNDECIDED = 3, 4
_MODALITIES = {"A": "voice", "V": "face", "AV": "voice and face"}


def add_command(commands) -> None:
    """Add ``verify`` to the program's commands."""
    parser = commands.add_parser(
        "verify", help="decide if two recordings show the same person", description=DESCRIPTION
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("a", metavar="A", help="recording: video, audio, image or folder of images")
    parser.add_argument("b", metavar="B", help="the other recording")
    parser.add_argument(
        "--mode",
        choices=MODES,
        metavar="MODE",
        help="what to compare: %(choices)s; default: all that either side has",
    )
    parser.add_argument(
        "--far", type=rate, default=0.01, metavar="RATE", help="false-accept rate of the decision (0.01)"
    )
    parser.add_argument("--explain", type=Path, metavar="OUT.html", help="write a page that shows what was compared")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify, print, and return the exit status."""
    if args.explain is not None:
        check_output(args.explain, (".html", ".htm"), (args.a, args.b))
    model = load_model(args)
    warn_of(model)
    readings = model.read_pair(args.a, args.b, args.mode)
    result = model.verify_readings(*readings, mode=args.mode, far=args.far)
    print(json.dumps(dataclasses.asdict(result), indent=2) if args.json else describe(result), flush=True)
    if args.explain is not None:
        from avsv.io.atomic import write_text
        from avsv.verification.explain import explain

        write_text(args.explain, explain(model, readings, result))
    return UNDECIDED if result.accepted is None else 0 if result.accepted else REJECTED


def describe(result: "Verification") -> str:
    """A verification in a few lines.

    Example:
        >>> from avsv.verification.model import Used, Verification
        >>> sides = Used("a.wav", "A", 2.0, 1.5, 0, None), Used("b.jpg", "V", None, None, 1, 80.0)
        >>> print(describe(Verification("AxV", 0.5, 2.0, 1.25, 0.01, 3.0, True, False, *sides, 1)))
        a.wav: voice: 2.00 s, of which 1.50 s are voice
        b.jpg: face: 1 crop, a square of 80 pixels
        mode AxV: cosine 0.5000, normalized score 2.000, log-likelihood ratio 1.250
        different persons: below 3.000, where 1 % of other persons are accepted
    """
    from avsv.verification.decision import decimals, named_order

    lines = [f"{side.name}: {_used(side)}" for side in (result.a, result.b)]
    mode = named_order(result.mode, result.orders)
    scores = f"mode {mode}: cosine {decimals(result.cosine, 4)}, normalized score {decimals(result.score)}"
    if result.llr is None:
        return "\n".join([*lines, scores, "no decision: the development trials of this mode could not be calibrated"])
    lines.append(f"{scores}, log-likelihood ratio {decimals(result.llr)}")
    verdict, place = ("the same person", "above") if result.accepted else ("different persons", "below")
    how = "" if result.measured else " (extrapolated: the development trials are too few to measure it)"
    where = f"{place} {decimals(result.threshold)}, where {100 * result.far:g} % of other persons are accepted"
    lines.append(f"{verdict}: {where}{how}")
    return "\n".join(lines)


def _used(side: "Used") -> str:
    parts = []
    if side.seconds is not None:
        parts.append(f"{side.seconds:.2f} s, of which {side.voice_seconds:.2f} s are voice")
    if side.faces:
        size = "" if side.face_pixels is None else f", a square of {side.face_pixels:.0f} pixels"
        parts.append(f"{side.faces} crop{'s' if side.faces > 1 else ''}{size}")
    return f"{_MODALITIES[side.modality]}: {'; '.join(parts)}"
