"""One thin command per step. Arguments are parsed only here."""

import signal
import sys

# With ``python -m avsv.bin.NAME``, Ctrl-C ends the program without a traceback while it is still loading libraries; after
# that, run_command does.
if sys.argv[0] == "-m" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
