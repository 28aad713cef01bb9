"""The one exception that a user is meant to read."""


class DataError(Exception):
    """Bad input or configuration; the message names the file, line or key and says what to do, in one line.

    Commands print it as ``PROGRAM: error: MESSAGE`` and exit with status 1; anything else is a bug and shows a
    traceback.
    """
