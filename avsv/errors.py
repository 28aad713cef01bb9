"""The exception for errors that the user can fix."""

_LONGEST = 2000


class DataError(Exception):
    """Bad input or configuration; the message names the file, line or key and says what to do, in one line.

    Commands print it as ``PROGRAM: error: MESSAGE`` and exit with status 1; any other exception is a bug and shows a
    traceback. Whatever names and values it quotes, the message is one printable line of bounded length.

    Example:
        >>> str(DataError("a\\nb\\x1b[2J.wav: no such file"))
        'a b\\\\x1b[2J.wav: no such file'
    """

    def __init__(self, message: str) -> None:
        line = " ".join(str(message).splitlines())
        if not line.isprintable():
            line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
        if len(line) > _LONGEST:
            line = f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"
        super().__init__(line)
