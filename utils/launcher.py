"""What the job launchers ``run.py`` and ``slurm.py`` share: Kaldi's command line, quoting, logs and failure texts.

Every launcher is called as ``LAUNCHER [options] [JOB=a:b] LOG COMMAND...``. Options and the job range may come in any
order before the log; an option takes one argument (``-V`` none, ``-pe`` two). The name of the range (``JOB`` or any
other) is replaced by the job's number wherever it occurs in the log's name and in the command.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

PROGRAM = Path(sys.argv[0]).name
RANGE = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?")
SWALLOWED = re.compile(r"[A-Za-z_]\w*=\d+:\d+|JOB=.*")
ALMOST_RANGE = re.compile(r"\w+=[^/]*:[^/]*|[A-Z]\w*=[^/]*")
TRAILER = re.compile(r"# (Accounting: |Ended \(code |Finished at .* with status )")
END_OF_HEAD = "#"
TAIL_LINES = 10
MAX_ENDINGS = 5
PR_SET_PDEATHSIG = 1
MARK = "AVSV_RUN_ID"  # of run.py, in the environment of all that it starts
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def die(message: str) -> NoReturn:
    """End with one line on stderr and status 1."""
    print(f"{PROGRAM}: {message}", file=sys.stderr)
    sys.exit(1)


@dataclass
class Request:
    """A parsed command line.

    Attributes:
        options: name without dashes and value of each long option, ``max_jobs_run`` and the like, in order.
        scheduler: the words of all other options, for a scheduler that understands them.
        job: name that stands for the job's number, None for a single job without one.
        first, last: range of the numbers, inclusive.
        log: name of the log, with the job's name in it.
        words: the command.
    """

    options: list[tuple[str, str]] = field(default_factory=list)
    scheduler: list[str] = field(default_factory=list)
    job: str | None = None
    first: int = 1
    last: int = 1
    log: str = ""
    words: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> range:
        """The numbers of the jobs."""
        return range(self.first, self.last + 1)

    def log_of(self, number: int | str) -> str:
        """Name of the log of one job."""
        return self.log.replace(self.job, str(number)) if self.job else self.log

    def get(self, name: str, default: str | None = None) -> str | None:
        """The last value given for a long option."""
        return dict(self.options).get(name, default)

    def number_of(self, name: str, default: int, least: int) -> int:
        """The value of an option that is a whole number, at least ``least``; ends the program where it is not."""
        text = self.get(name)
        if text is None:
            return default
        if not re.fullmatch(r"\d+", text) or int(text) < least:
            die(f"option --{name.replace('_', '-')} needs a whole number of at least {least}, not '{text}'")
        return int(text)

    def max_jobs_run(self) -> int | None:
        """How many jobs may run at a time: the smallest value given, None when none was."""
        given = [value for name, value in self.options if name == "max_jobs_run"]
        for value in given:
            if not re.fullmatch(r"\d+", value) or int(value) < 1:
                die(f"option --max-jobs-run needs a whole number of at least 1, not '{value}'")
        return min(map(int, given), default=None)


def parse_command_line(arguments: list[str], usage: str) -> Request:
    """Parse ``[options] [JOB=a:b] LOG COMMAND...``; ends the program with one line on a mistake."""
    if arguments[:1] in (["--help"], ["-h"]):
        print(usage)
        sys.exit(0)
    request = Request()
    words = list(arguments)
    while words:
        word = words[0]
        if word.startswith("-"):
            count = {"-V": 0, "-pe": 2}.get(word, 1)
            values = words[1 : 1 + count]
            # An option that swallows the job range, or another option, was given without its value.
            if len(values) < count or any(value.startswith("--") or SWALLOWED.fullmatch(value) for value in values):
                die(f"option {word} needs a value")
            if word.startswith("--"):
                request.options.append((word[2:].replace("-", "_"), values[0]))
            elif word == "-tc":
                request.options.append(("max_jobs_run", values[0]))
            else:
                request.scheduler += [word, *values]
            del words[: 1 + count]
        elif match := RANGE.fullmatch(word):
            if request.job:
                die(f"more than one job range: {request.job}=... and {word}")
            request.job, request.first = match[1], int(match[2])
            request.last = int(match[3] or match[2])
            if request.first < 1 or request.last < request.first:
                die(f"invalid job range {word}: the numbers start at 1 or more and do not go down")
            del words[0]
        elif ALMOST_RANGE.fullmatch(word):
            die(f"invalid job range {word}: write it as JOB=1:8")
        else:
            break
    if len(words) < 2:
        die(f"no {'command' if words else 'log file'} given\n{usage}")
    request.log, request.words = words[0], words[1:]
    if request.job and request.job not in request.log and request.last > request.first:
        die(
            "you are trying to run a parallel job but you are putting the output into just one log file "
            f"({request.log}): put {request.job} into its name"
        )
    return request


def quote_command(words: list[str], job: str | None, number: str) -> str:
    """The command as bash reads it: words without blanks as they are, so that ``\\|`` and ``\\>`` work; others quoted.

    ``number`` replaces the job's name: a number, or a shell variable (``${X}``), which also works in single quotes.

    >>> quote_command(["cat", "in JOB", "|", "tr", 'a "b"', "$HOME"], "JOB", "3")
    'cat "in 3" | tr \\'a "b"\\' $HOME'
    """
    quoted = []
    for word in words:
        inside = number
        if re.fullmatch(r"\S+", word):
            left = right = ""
        elif '"' in word:
            left = right = "'"
            word = word.replace("'", "'\\''")
            if number.startswith("$"):
                inside = f"'\"{number}\"'"
        else:
            left = right = '"'
        quoted.append(left + (word.replace(job, inside) if job else word) + right)
    return " ".join(quoted)


def tail_of(log: str) -> list[str]:
    """The last lines that a job itself has written to its log."""
    try:
        with Path(log).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 20_000))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    if END_OF_HEAD in lines:
        # The last head: a job that was requeued has written more than one.
        lines = lines[len(lines) - lines[::-1].index(END_OF_HEAD) :]
    return [line for line in lines if not TRAILER.match(line)][-TAIL_LINES:]


def report_failure(request: Request, failed: dict[int, str], with_status: bool = False) -> None:
    """Say what failed in Kaldi's words, a job for each way to end, and show the end of the first failing log.

    Args:
        request: what was run.
        failed: how each failing job ended ("status 1", ...), by number.
        with_status: tell the status of a single job in the first line, as Kaldi's launchers for clusters do.
    """
    number = min(failed)
    log = request.log_of(number)
    total = len(request.numbers)
    if total == 1:
        status = f" with {failed[number]}" if with_status else ""
        print(f"{PROGRAM}: job failed{status}, log is in {log}", file=sys.stderr)
        if not request.job and "JOB" in Path(log).name:
            print(f"{PROGRAM}: probably you forgot to put JOB=1:$nj in your script.", file=sys.stderr)
    else:
        print(f"{PROGRAM}: {len(failed)} / {total} failed, log is in {request.log_of('*')}", file=sys.stderr)
    if total > 1 or not with_status:
        _tell_endings(failed)
    tail = tail_of(log)
    if tail:
        print(f"{PROGRAM}: the last lines of {log}:", file=sys.stderr)
        for line in tail:
            print(f"  {line}", file=sys.stderr)


def _tell_endings(failed: dict[int, str]) -> None:
    """One line for each way in which jobs ended."""
    first_of: dict[str, int] = {}
    for number in sorted(failed):
        first_of.setdefault(re.sub(r" \(Slurm job .*", "", failed[number]), number)
    for number in list(first_of.values())[:MAX_ENDINGS]:
        print(f"{PROGRAM}: job {number} ended with {failed[number]}", file=sys.stderr)


def run_tries(request: Request, attempt: Callable[[list[int]], dict[int, str]]) -> dict[int, str]:
    """Run all jobs, and those that fail again, up to ``--num-tries`` times in all.

    Args:
        request: what to run.
        attempt: runs the jobs of these numbers and returns how those that failed ended, by number.

    Returns:
        How the jobs that failed in every try ended the last time, by number.
    """
    tries = request.number_of("num_tries", 1, 1)
    failed = attempt(list(request.numbers))
    for done in range(1, tries):
        if not failed:
            break
        print(
            f"{PROGRAM}: {len(failed)} / {len(request.numbers)} failed: try {done + 1} of {tries}"
            f" (old logs: {request.log_of('*')}.try{done})",
            file=sys.stderr,
        )
        _tell_endings(failed)
        for number in failed:
            log = request.log_of(number)
            with contextlib.suppress(FileNotFoundError):  # it was lost before it began
                Path(log).replace(f"{log}.try{done}")
        failed = attempt(sorted(failed))
    return failed


def describe_status(status: int) -> str:
    """How a job ended, with the likely cause where the status tells one.

    >>> describe_status(137)
    'status 137 (killed by signal 9: out of memory?)'
    """
    if status in (128 + signal.SIGKILL, 128 + signal.SIGTERM):
        cause = ": out of memory?" if status == 128 + signal.SIGKILL else ""
        return f"status {status} (killed by signal {status - 128}{cause})"
    return f"status {status}"


class Interrupted(Exception):
    """A signal asked the launcher to end; its number is the argument."""


def raise_on_signals() -> None:
    """From now on SIGINT, SIGTERM and SIGHUP raise :class:`Interrupted`, except those that are ignored.

    Only the first one does: a second one, from the terminal or from a launcher around this one, must not stop the
    clean-up.
    """
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for other in signals:
            signal.signal(other, signal.SIG_IGN)
        raise Interrupted(number)

    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


def set_parent_death_signal(number: int) -> None:
    """Have the kernel send this process signal ``number`` when its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _parent_is_terminal_shell() -> bool:
    """Whether the parent leads a session on a terminal: jobs put in the background there outlive a logout."""
    parent = os.getppid()
    try:
        fields = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    session, terminal = int(fields[3]), int(fields[4])
    return session == parent and terminal != 0


def end_with_script() -> None:
    """Get SIGTERM when the script that runs this launcher ends: killed, it takes the launcher and so the jobs along."""
    if not _parent_is_terminal_shell():
        set_parent_death_signal(signal.SIGTERM)


class Guardian:
    """A small process that cleans up when the launcher itself is killed in a way that it cannot handle.

    It waits on a pipe whose other end only the launcher holds. When the launcher is gone without :meth:`release`,
    ``clean_up`` is called with the last text given to :meth:`tell`.
    """

    def __init__(self, clean_up: Callable[[str], None]) -> None:
        end, self._pipe = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.setsid()  # what kills the launcher's process group shall not kill this one
                os.close(self._pipe)
                null = os.open(os.devnull, os.O_RDWR)
                for descriptor in range(3):
                    os.dup2(null, descriptor)  # whoever reads the launcher's output must not wait for this process
                with os.fdopen(end) as stream:
                    lines = stream.read().splitlines()
                if lines[-1:] != ["released"]:
                    clean_up(lines[-1] if lines else "")
            finally:
                os._exit(0)
        os.close(end)

    def tell(self, text: str) -> None:
        """Give the guardian one line to clean up by."""
        with contextlib.suppress(BrokenPipeError):  # somebody killed it: the launcher's own end does not need it
            os.write(self._pipe, f"{text}\n".encode())

    def release(self) -> None:
        """All is well: nothing is left to clean up."""
        self.tell("released")
        os.close(self._pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
