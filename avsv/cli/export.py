"""``avsv export``: a trained system as one folder."""

import argparse
from pathlib import Path

from avsv.cli.shared import MODEL_HELP

DESCRIPTION = """Write a trained system as one folder with everything needed to verify people: weights (safetensors),
settings (JSON), the cohort and the development scores, and a description (MODEL.md). The folder needs nothing else of
the run, and can be copied elsewhere. With --onnx, the networks and the
fusion are written instead, as ONNX graphs with free batch and length (audio.onnx, visual.onnx, fusion.onnx), each
compared with PyTorch."""


def add_command(commands) -> None:
    """Add ``export`` to the program's commands."""
    parser = commands.add_parser("export", help="write a trained system as one folder", description=DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="new folder, or that of a model to replace")
    parser.add_argument("--onnx", action="store_true", help="write the networks as ONNX graphs instead")
    parser.add_argument("--license", help="terms of use, for the description")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the folder."""
    from avsv.verification.card import write_model
    from avsv.verification.model import load_package

    package = load_package(Path(args.model))
    if args.onnx:
        from avsv.verification.onnx import export_onnx

        for one in export_onnx(package, args.folder):
            if one.path is None:
                print(f"{one.name}: no graph: {one.reason}")
            else:
                print(f"{one.path}: within {one.difference:.1g} of PyTorch")
        return
    write_model(package, args.folder, args.license)
    print(f"{args.folder}: {package.settings.name}, described in {args.folder / 'MODEL.md'}")
