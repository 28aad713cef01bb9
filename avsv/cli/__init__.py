"""The program ``avsv``, for using scores and trained systems outside a recipe."""

import sys
from pathlib import Path

if sys.argv[0] == "-m" or Path(sys.argv[0]).stem == "avsv":  # ``python -m avsv.cli``, or the console command
    from avsv.bin.command import guard_imports

    guard_imports()
