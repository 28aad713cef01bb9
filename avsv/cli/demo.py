"""``avsv demo``: a page in the browser that verifies two recordings."""

import argparse

from avsv.cli.shared import MODEL_HELP, add_model_options, load_model, warn_of

DESCRIPTION = """Serve a page on this machine with two fields for recordings, uploaded or from the webcam: the decision,
the faces, and the attention over time. It uses no network, and recordings are deleted when the program ends. Stop it
with Ctrl-C."""


def add_command(commands) -> None:
    """Add ``demo`` to the program's commands."""
    parser = commands.add_parser("demo", help="verify in the browser", description=DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (127.0.0.1: only this machine can open the page)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (7860)")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Load the model and serve the page until the program is stopped."""
    from avsv.verification.demo import serve

    model = load_model(args)
    warn_of(model)
    serve(model, args.host, args.port)
