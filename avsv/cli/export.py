"""``avsv export``: a trained system as one folder."""

import argparse
from pathlib import Path

from avsv.cli.shared import MODEL_HELP
from avsv.errors import DataError

DESCRIPTION = """Write a trained system as one folder with everything needed to verify people: weights (safetensors),
settings (JSON), the cohort and the development scores, and a description (MODEL.md). The folder needs nothing else of
the run, and can be copied elsewhere. A folder that holds anything else is refused. With --onnx, the networks and the
fusion are written instead, as ONNX graphs with free batch and length (audio.onnx, visual.onnx, fusion.onnx), each
compared with PyTorch, and README.md says what their inputs are."""


def add_command(commands) -> None:
    """Add ``export`` to the program's commands."""
    parser = commands.add_parser("export", help="write a trained system as one folder", description=DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("folder", metavar="FOLDER", help="new folder, or that of a model (or of graphs) to replace")
    parser.add_argument("--onnx", action="store_true", help="write the networks as ONNX graphs instead")
    parser.add_argument("--license", help="terms of use, for the description; default: as in the model to replace")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the folder."""
    from avsv.verification.card import write_model
    from avsv.verification.model import load_package

    if not args.folder:
        raise DataError("the name of the folder to write is empty")
    folder = Path(args.folder)
    package = load_package(args.model)
    if args.onnx:
        from avsv.verification.onnx import export_onnx

        for one in export_onnx(package, folder):
            if one.path is None:
                print(f"{one.name}: no graph: {one.reason}")
            else:
                print(f"{one.path}: within {one.difference:.1g} of PyTorch")
        return
    write_model(package, folder, args.license)
    print(f"{folder}: {package.settings.name}, described in {folder / 'MODEL.md'}")
