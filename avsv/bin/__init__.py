"""One thin command per step. Arguments are parsed only here."""

import sys

if sys.argv[0] == "-m":  # as it is while ``python -m avsv.bin.NAME`` looks for the module
    from avsv.bin.command import guard_imports

    guard_imports()
