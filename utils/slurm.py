#!/usr/bin/env python3
"""Run a command, or numbered copies of it as an array job, on a Slurm cluster, each with its log: Kaldi's slurm.pl.

See ``USAGE`` for the command line. The job's script and the scheduler's own messages go to ``q/`` beside the logs.
Every task leaves its exit status in a file there; a task that is gone without one, because it was cancelled, ran out of
time or memory, or lost its node, is noticed by asking the scheduler.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from launcher import (
    END_OF_HEAD,
    THREAD_VARIABLES,
    Guardian,
    Request,
    describe_status,
    die,
    parse_command_line,
    quote_command,
    report_failure,
)

USAGE = r"""Usage: slurm.py [options] [JOB=1:n] log-file command-line arguments...
 e.g.: slurm.py --mem 4G JOB=1:4 exp/log/count.JOB.log wc -l data/train/split4/JOB/utt2spk \> exp/count.JOB

Submits the command with its output in the log; with JOB=a:b as an array job, the number replacing the word JOB.
Waits for the end. Jobs run in this folder, after '. ./path.sh'.
Options:
  --config <file>      what the other options mean to sbatch (conf/slurm.conf)
  --max-jobs-run <n>   tasks of an array job at a time
  --num-threads <n>    threads of each job: also sets OMP_NUM_THREADS and the like (1)
  --mem <size>, --gpu <n>, --time <limit> and all others that the configuration file describes
Options with one dash are handed on to sbatch.
Exit status: 0 all jobs succeeded, 1 any failed, 2 stopped by a signal, after which the jobs are cancelled."""

DEFAULT_CONFIG = "conf/slurm.conf"
NOT_FOR_SLURM = ("-V", "-sync", "-pe")
POLL_SECONDS = 1.0
ASK_SECONDS = 6.0
# A task that the scheduler no longer knows may have written its status on another node not long ago.
GRACE_SECONDS = 10.0
TASK = "SLURM_ARRAY_TASK_ID"


class Interrupted(Exception):
    """A signal asked the launcher to end."""


@dataclass
class Config:
    """A configuration file: the submit command, and what options add to it.

    Attributes:
        name: of the file.
        command: words of the submit command.
        exact: (option, value) -> words.
        general: option -> words, with ``$0`` for the value.
        defaults: option -> value.
    """

    name: str
    command: str = ""
    exact: dict[tuple[str, str], str] = field(default_factory=dict)
    general: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)

    def arguments(self, options: dict[str, str]) -> list[str]:
        """Words that the options add to the submit command; ends the program where one is not described."""
        words = []
        for option, value in {**self.defaults, **options}.items():
            if (option, value) in self.exact:
                text = self.exact[option, value]
            elif option in self.general:
                text = self.general[option].replace("$0", value)
            else:
                flag = option.replace("_", "-")
                die(f"option --{flag} is not described in {self.name}, or its value '{value}' not allowed")
            words += shlex.split(text)
        return words


def parse_config(text: str, name: str) -> Config:
    """Parse the text of a configuration file; ends the program with one line on a mistake."""
    config = Config(name)
    for number, full_line in enumerate(text.splitlines(), 1):
        line = re.sub(r"\s*#.*", "", full_line).strip()
        if match := re.fullmatch(r"command (.+)", line):
            config.command = match[1]
        elif match := re.fullmatch(r"option ([^=\s]+)=\*\s+(.+)", line):
            config.general[match[1]] = match[2]
        elif match := re.fullmatch(r"option ([^=\s]+)=(\S+)\s*(.*)", line):
            config.exact[match[1], match[2]] = match[3]
        elif match := re.fullmatch(r"default ([^=\s]+)=(\S+)", line):
            config.defaults[match[1]] = match[2]
        elif line:
            die(f"{name}:{number}: '{full_line}' is neither 'command', 'option NAME=VALUE' nor 'default NAME=VALUE'")
    if not config.command:
        die(f'config file ({name}) does not contain the line "command .*"')
    return config


def read_config(name: str | None) -> Config:
    """Read the configuration file; without a name that of the recipe, or of the toolkit where it has none."""
    path = Path(name or DEFAULT_CONFIG)
    if name is None and not path.is_file():
        path = Path(__file__).resolve().parent.parent / DEFAULT_CONFIG
    try:
        return parse_config(path.read_text(), str(path))
    except OSError as error:
        die(f"cannot read the config file {path}: {error.strerror}")


class ArrayJob:
    """A request on the cluster: its files, its submission, and what became of its tasks."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.threads = request.number_of("num_threads", 1, 1)
        options = dict(request.options)
        config = read_config(options.pop("config", None))
        options.pop("max_jobs_run", None)
        self.submit_command = [*shlex.split(config.command), *config.arguments(options), *self._scheduler_words()]

        log = Path(request.log)
        folder = log.parent / "q"
        if log.parent.name in ("log", "LOG"):
            folder = log.parent.parent / "q"
        name = re.sub(rf"\.?{request.job}", "", log.name) if request.job else log.name
        self.folder = folder.absolute()
        self.scheduler_log = self.folder / name
        self.script = self.folder / (re.sub(r"\.[a-zA-Z]{1,5}$", "", name) + ".sh")
        self.status_stem = f"done.{os.getpid()}"
        self.id = ""

    def _scheduler_words(self) -> list[str]:
        words: list[str] = []
        rest = list(self.request.scheduler)
        while rest:
            count = {"-V": 1, "-pe": 3}.get(rest[0], 2)
            if rest[0] not in NOT_FOR_SLURM:
                words += rest[:count]
            del rest[:count]
        return words

    def _quote(self, text: str) -> str:
        """A text as one word of bash, with the task's number in place of the job's name."""
        quoted = "'" + text.replace("'", "'\\''") + "'"
        return quoted.replace(self.request.job, f"'\"${TASK}\"'") if self.request.job else quoted

    def write_script(self) -> None:
        """Write what sbatch is given."""
        task = f"${{{TASK}}}"
        log = self._quote(self.request.log)
        command = quote_command(self.request.words, self.request.job, task)
        shown = self._quote(quote_command(self.request.words, None, ""))
        number = f'"${TASK}"' if self.request.job else "1"
        status_file = f"{shlex.quote(str(self.folder / self.status_stem))}.{number}"
        exports = " ".join(f"{name}={self.threads}" for name in THREAD_VARIABLES)
        self.script.write_text(f"""#!/usr/bin/env bash
cd {shlex.quote(str(Path.cwd()))} || exit 1
log={log}
{{
  echo "# Running on $(hostname)"
  echo "# Started at $(date)"
  set | grep '^SLURM' | sed 's/^/# /'
  printf '%s\\n' {shown} | sed 's/^/# /'
  echo '{END_OF_HEAD}'
}} >"$log"
begin=$(date +%s)
(
. ./path.sh || exit 1
export {exports}
{command}
) >>"$log" 2>&1 </dev/null
status=$?
end=$(date +%s)
{{
  echo "# Accounting: time=$((end - begin)) threads={self.threads}"
  echo "# Finished at $(date) with status $status"
  echo "# Ended (code $status) at $(date), elapsed time $((end - begin)) seconds"
}} >>"$log"
echo "$status" >{status_file}.tmp && mv {status_file}.tmp {status_file}
exit $((status != 0))
""")

    def submit(self) -> None:
        """Hand the job to the scheduler; ends the program where that fails."""
        Path(self.request.log).parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.remove_status_files()
        for number in self.request.numbers:
            Path(self.request.log_of(number)).unlink(missing_ok=True)  # an old one would be taken for this job's
        self.write_script()
        words = [
            *self.submit_command,
            "--open-mode=append",
            "-e",
            str(self.scheduler_log),
            "-o",
            str(self.scheduler_log),
        ]
        if self.request.job:
            limit = self.request.max_jobs_run()
            at_most = f"%{limit}" if limit else ""
            words += ["--array", f"{self.request.first}-{self.request.last}{at_most}"]
        words.append(str(self.script))
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            die(f"{words[0]} is not installed: is this a machine of a Slurm cluster?")
        self.scheduler_log.write_text(f"# {shlex.join(words)}\n{done.stdout}{done.stderr}")
        match = re.search(r"Submitted batch job (\d+)", done.stdout)
        if done.returncode != 0 or not match:
            lines = (done.stderr or done.stdout).strip().splitlines()
            die(f"error submitting jobs (status {done.returncode}): {' '.join(lines[-3:])}: see {self.scheduler_log}")
        self.id = match[1]

    def remove_status_files(self) -> None:
        """Remove what the tasks of this launcher have left."""
        for path in self.folder.glob(f"{self.status_stem}.*"):
            path.unlink(missing_ok=True)

    def wait(self) -> dict[int, str]:
        """Wait until all tasks have ended; returns how those that failed ended, by number."""
        ended: dict[int, str] = {}
        missing_since: dict[int, float] = {}
        asked = time.monotonic()
        while True:
            for number, status in self._read_status_files():
                ended[number] = "" if status == 0 else describe_status(status)
            left = [number for number in self.request.numbers if number not in ended]
            if not left:
                return {number: text for number, text in ended.items() if text}
            now = time.monotonic()
            if now - asked >= ASK_SECONDS:
                asked = now
                known = self._ask_scheduler()
                for number in left if known is not None else []:
                    if number in known:
                        missing_since.pop(number, None)
                    elif now - missing_since.setdefault(number, now) >= GRACE_SECONDS:
                        ended[number] = self._why_gone(number)
            time.sleep(POLL_SECONDS)

    def _read_status_files(self) -> list[tuple[int, int]]:
        found = []
        # Listing the folder also makes a network file system look at it again.
        for name in os.listdir(self.folder):  # noqa: PTH208
            match = re.fullmatch(rf"{re.escape(self.status_stem)}\.(\d+)", name)
            if match:
                with contextlib.suppress(ValueError, OSError):  # not quite there yet
                    found.append((int(match[1]), int((self.folder / name).read_text())))
        return found

    def _ask_scheduler(self) -> set[int] | None:
        """Numbers of the tasks that wait or run; None where the scheduler does not answer now."""
        done = subprocess.run(
            ["squeue", "-h", "-r", "-j", self.id, "-o", "%K"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            return set() if "Invalid job id" in done.stderr else None
        return {int(word) if word.isdecimal() else 1 for word in done.stdout.split()}

    def _why_gone(self, number: int) -> str:
        """What the scheduler says of a task that is gone without a status."""
        task = f"{self.id}_{number}" if self.request.job else self.id
        for words, pattern in (
            (["sacct", "-n", "-P", "-X", "-j", task, "-o", "State"], r"^([A-Z_]+)"),
            (["scontrol", "show", "job", task], r"JobState=([A-Z_]+)"),
        ):
            try:
                done = subprocess.run(words, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                continue
            match = re.search(pattern, done.stdout, re.MULTILINE)
            if match:
                advice = {"OUT_OF_MEMORY": ": use --mem", "TIMEOUT": ": use more jobs, or --time"}.get(match[1], "")
                return f"state {match[1]}{advice} (Slurm job {task})"
        return f"no status: the scheduler no longer knows Slurm job {task}"

    def cancel(self) -> None:
        """Cancel the job, if it was submitted."""
        if self.id:
            cancel(self.id)


def cancel(job: str) -> None:
    """Cancel a Slurm job."""
    if job:
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["scancel", job], capture_output=True, check=False)


def main() -> int:
    """Run the command line; returns the exit status."""
    request = parse_command_line(sys.argv[1:], USAGE)
    job = ArrayJob(request)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    guardian = Guardian(cancel)
    try:
        job.submit()
        guardian.tell(job.id)
        failed = job.wait()
    except BaseException as reason:
        job.cancel()
        if not isinstance(reason, Interrupted):
            raise
        print(f"slurm.py: stopped by {signal.Signals(reason.args[0]).name}, job {job.id} cancelled", file=sys.stderr)
        return 2
    finally:
        guardian.release()
        job.remove_status_files()
    if failed:
        report_failure(request, failed, with_status=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
