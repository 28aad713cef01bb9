"""What every command of ``avsv.bin`` shares: one-line errors and exit codes."""

import errno
import sys
from collections.abc import Callable
from pathlib import Path

from avsv.errors import DataError


def run_command(main: Callable[[], int | None]) -> None:
    """Run ``main`` and exit: 0, 1 with one line for a user's error, 2 for bad options (argparse), else a traceback."""
    program = Path(sys.argv[0]).stem
    try:
        status = main()
    except DataError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        status = 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        print(f"{program}: error: no space left on the device{where}: free some and run again", file=sys.stderr)
        status = 1
    sys.exit(status or 0)
