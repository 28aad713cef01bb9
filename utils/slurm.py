#!/usr/bin/env python3
"""Run a command, or numbered copies of it as an array job, on a Slurm cluster, each with its log: Kaldi's slurm.pl.

See ``USAGE`` for the command line. The job's script and the scheduler's own messages go to ``q/`` beside the logs.
Every task leaves its exit status in a file there; a task that is gone without one, because it was cancelled, ran out of
time or memory, or lost its node, is noticed by asking the scheduler. A job that Slurm requeues is waited for.
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

from launcher import (
    END_OF_HEAD,
    MARK,
    THREAD_VARIABLES,
    Guardian,
    Interrupted,
    Request,
    describe_status,
    die,
    end_with_script,
    parse_command_line,
    quote_command,
    raise_on_signals,
    report_failure,
    run_tries,
)

USAGE = r"""Usage: slurm.py [options] [JOB=1:n] log-file command-line arguments...
 e.g.: slurm.py --mem 4G JOB=1:4 exp/log/count.JOB.log wc -l data/train/split4/JOB/utt2spk \> exp/count.JOB

Submits the command with its output in the log; with JOB=a:b as an array job, the number replacing the word JOB.
Waits for the end. Jobs run in this folder, after '. ./path.sh'.
Options:
  --config <file>      what the other options mean to sbatch (conf/slurm.conf)
  --max-jobs-run <n>   tasks of an array job at a time
  --num-threads <n>    threads of each job: also sets OMP_NUM_THREADS and the like (1)
  --num-tries <n>      submit tasks that failed again, up to n times in all, when the others have ended (1)
  --mem <size>, --gpu <n>, --nodes <n>, --time <limit> and all others that the configuration file describes
Options with one dash are handed on to sbatch.
Exit status: 0 all jobs succeeded, 1 any failed, 2 stopped by a signal, after which the jobs are cancelled."""

DEFAULT_CONFIG = "conf/slurm.conf"
NOT_FOR_SLURM = ("-V", "-sync", "-pe")
POLL_SECONDS = 0.5
# Seconds between questions to the scheduler: a tenth of the time since the submission, within these.
ASK_SECONDS = (2.0, 10.0)
# A task that ended by itself may have written its status on another node not long ago.
GRACE_SECONDS = 10.0
# A queue this slow is worth a word, and so is a scheduler that does not answer. What somebody has to mend is told soon.
QUIET_SECONDS = 30.0
SOON_SECONDS = 4.0
# States in which no status is going to come, and those in which one may be on its way or the task be requeued.
FINAL = ("CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL")
UNCLEAR = ("COMPLETED", "FAILED", "NODE_FAIL", "PREEMPTED", "REVOKED")
ADVICE = {
    "OUT_OF_MEMORY": ": use --mem",
    "TIMEOUT": ": use more jobs, or --time",
    "CANCELLED": ": by you or an administrator",
    "NODE_FAIL": ": its node is lost",
}
# What Slurm's reasons for not starting a job mean, and after how long they are told; the first that matches.
REASONS = (
    (r"JobArrayTaskLimit|None$|^$", "", QUIET_SECONDS),
    (r"[Hh]eld", "it is held: 'scontrol release JOBID' lets it go, see 'scontrol show job JOBID'", SOON_SECONDS),
    (
        r"ReqNodeNotAvail|DOWN|DRAINED|PartitionDown|PartitionInactive",
        "the nodes for it are down, drained or reserved, see 'sinfo -R'",
        SOON_SECONDS,
    ),
    (r"Resources|Priority", "the cluster is busy", QUIET_SECONDS),
    (r"BeginTime|Cleaning", "it was requeued and starts soon", QUIET_SECONDS),
    (r"QOS|Assoc|Limit|Max|Min", "a limit of the partition or your account prevents it from starting", SOON_SECONDS),
    (r"", "see 'scontrol show job JOBID'", QUIET_SECONDS),
)
TASK = "SLURM_ARRAY_TASK_ID"


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


def explain(reason: str, job: str, seconds: float) -> str:
    """What Slurm's reason for not starting a job means to its user; empty where it needs no word.

    Args:
        reason: in Slurm's words.
        job: id of the job.
        seconds: for how long it has been waiting.

    >>> explain("Priority", "77", seconds=60)
    "the cluster is busy (Slurm's reason: Priority)"
    """
    meaning, least = next((words, least) for pattern, words, least in REASONS if re.search(pattern, reason))
    if not meaning or seconds < least:
        return ""
    return f"{meaning.replace('JOBID', job)} (Slurm's reason: {reason})"


def as_ranges(numbers: list[int]) -> str:
    """Ascending numbers in the words of sbatch.

    >>> as_ranges([1, 2, 3, 7, 9, 10])
    '1-3,7-7,9-10'
    """
    pairs: list[list[int]] = []
    for number in numbers:
        if pairs and pairs[-1][1] == number - 1:
            pairs[-1][1] = number
        else:
            pairs.append([number, number])
    return ",".join(f"{first}-{last}" for first, last in pairs)


class ArrayJob:
    """A request on the cluster: its files, its submission, and what became of its tasks."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.threads = request.number_of("num_threads", 1, 1)
        options = dict(request.options)
        config = read_config(options.pop("config", None))
        for name in ("max_jobs_run", "num_tries"):
            options.pop(name, None)
        self.submit_command = [*shlex.split(config.command), *config.arguments(options), *self._scheduler_words()]

        log = Path(request.log)
        folder = log.parent / "q"
        if log.parent.name in ("log", "LOG"):
            folder = log.parent.parent / "q"
        name = re.sub(rf"\.?{request.job}", "", log.name) if request.job else log.name
        self.folder = folder.absolute()
        self.scheduler_log = self.folder / name
        self.script = self.folder / (re.sub(r"\.[a-zA-Z]{1,5}$", "", name) + ".sh")
        self.id = ""
        self._tries = 0
        self._told: set[str] = set()

    @property
    def _status_stem(self) -> str:
        # Of this try: a task of an earlier one may still be ending somewhere.
        return f"done.{os.getpid()}.{self._tries}"

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
        status_file = f"{shlex.quote(str(self.folder / self._status_stem))}.{number}"
        exports = " ".join(f"{name}={self.threads}" for name in THREAD_VARIABLES)
        self.script.write_text(f"""#!/usr/bin/env bash
cd {shlex.quote(str(Path.cwd()))} || exit 1
log={log}
# SIGTERM is how Slurm ends or requeues a job: the command may still save its work, and the scheduler knows the cause.
told=
trap 'told=yes' TERM
[ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ] || : >"$log"
{{
  echo "# Running on $(hostname)"
  echo "# Started at $(date)"
  set | grep '^SLURM' | sed 's/^/# /'
  printf '%s\\n' {shown} | sed 's/^/# /'
  echo '{END_OF_HEAD}'
}} >>"$log"
begin=$(date +%s)
(
trap 'exit 143' TERM
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
[ "$status" -eq 0 ] || [ -z "$told" ] || exit "$status"
echo "$status" >{status_file}.tmp && mv {status_file}.tmp {status_file}
exit $((status != 0))
""")

    def submit(self, numbers: list[int]) -> None:
        """Hand the tasks of these numbers to the scheduler; ends the program where that fails."""
        self.id = ""
        self._tries += 1
        Path(self.request.log).parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.remove_status_files()
        for number in numbers:
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
            words += ["--array", f"{as_ranges(numbers)}{at_most}"]
        words.append(str(self.script))
        try:
            done = subprocess.run(words, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            die(f"{words[0]} is not installed: is this a machine of a Slurm cluster?")
        self.scheduler_log.write_text(f"# {shlex.join(words)}\n{done.stdout}{done.stderr}")
        match = re.search(r"Submitted batch job (\d+)", done.stdout)
        if done.returncode != 0 or not match:
            lines = (done.stderr or done.stdout).strip().splitlines()
            said = " ".join(lines[-3:])
            advice = f"see {self.scheduler_log}"
            if "Invalid job array specification" in said:
                limit = "a cluster limits the numbers of tasks (MaxArraySize of 'scontrol show config')"
                advice = f"{limit}: use fewer jobs (--nj): {advice}"
            die(f"error submitting jobs (status {done.returncode}): {said}: {advice}")
        self.id = match[1]

    def remove_status_files(self) -> None:
        """Remove what the tasks of this launcher have left."""
        for path in self.folder.glob(f"done.{os.getpid()}.*"):
            path.unlink(missing_ok=True)

    def wait(self, numbers: list[int]) -> dict[int, str]:
        """Wait until the tasks have ended; returns how those that failed ended, by number."""
        ended: dict[int, str] = {}
        unclear_since: dict[int, float] = {}
        begin = asked = time.monotonic()
        while True:
            for number, status in self._read_status_files():
                ended[number] = "" if status == 0 else describe_status(status)
            left = [number for number in numbers if number not in ended]
            if not left:
                return {number: text for number, text in ended.items() if text}
            now = time.monotonic()
            if now - asked >= min(max(ASK_SECONDS[0], (now - begin) / 10), ASK_SECONDS[1]):
                asked = now
                states = self._ask_scheduler()
                came = dict(self._read_status_files())
                left = [number for number in left if number not in came] if states is not None else []
                for number in left:
                    state = states.get(number, ("", ""))[0]
                    if state in FINAL:
                        ended[number] = self._why_gone(number, state)
                    elif state and state not in UNCLEAR:
                        unclear_since.pop(number, None)
                    elif now - unclear_since.setdefault(number, now) >= GRACE_SECONDS:
                        ended[number] = self._why_gone(number, state)
                self._tell_about(states, left, now - begin)
            time.sleep(POLL_SECONDS)

    def _read_status_files(self) -> list[tuple[int, int]]:
        found = []
        # Listing the folder also makes a network file system look at it again.
        for name in os.listdir(self.folder):  # noqa: PTH208
            match = re.fullmatch(rf"{re.escape(self._status_stem)}\.(\d+)", name)
            if match:
                with contextlib.suppress(ValueError, OSError):  # not quite there yet
                    found.append((int(match[1]), int((self.folder / name).read_text())))
        return found

    def _ask_scheduler(self) -> dict[int, tuple[str, str]] | None:
        """State of the tasks that Slurm still knows, and why they wait; None where it does not answer now."""
        words = ["squeue", "-h", "-r", "-t", "all", "-j", self.id, "-o", "%K|%T|%r"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return {} if "Invalid job id" in done.stderr else None
        rows = [line.split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2]
        return {int(task) if task.isdecimal() else 1: (state, reason) for task, state, reason in rows}

    def _tell_about(self, states: dict[int, tuple[str, str]] | None, left: list[int], seconds: float) -> None:
        """Say, once each, what keeps the job from running."""
        if states is None:
            if seconds >= QUIET_SECONDS:
                self._tell("Slurm does not answer (squeue fails); still trying")
            return
        here = [states[number] for number in left if number in states]
        waiting = [reason for state, reason in here if state == "PENDING"]
        # Where some run, the others wait for them.
        if waiting and len(waiting) == len(here):
            meaning = explain(waiting[0], self.id, seconds)
            if meaning:
                self._tell(f"waiting in the queue: {meaning}")

    def _tell(self, text: str) -> None:
        text = f"Slurm job {self.id}: {text}"
        if text not in self._told:
            self._told.add(text)
            print(f"slurm.py: {text}", file=sys.stderr)

    def _why_gone(self, number: int, state: str) -> str:
        """What the scheduler says of a task that is gone without a status."""
        task = f"{self.id}_{number}" if self.request.job else self.id
        code = ""
        for words, pattern in (
            (["scontrol", "show", "job", task], r"JobState=(?P<state>[A-Z_]+)(?:.|\n)*? ExitCode=(?P<code>\d+:\d+)"),
            (
                ["sacct", "-n", "-P", "-X", "-j", task, "-o", "State,ExitCode"],
                r"(?P<state>[A-Z_]+).*\|(?P<code>\d+:\d+)",
            ),
        ):
            try:
                done = subprocess.run(words, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                continue
            if match := re.search(pattern, done.stdout):
                state, code = match["state"], match["code"]
                break
        if not state:
            return f"no status: the scheduler no longer knows Slurm job {task}"
        status, _, killer = code.partition(":")
        how = ADVICE.get(state, "")
        if not how and killer not in ("", "0"):
            how = f": killed by signal {killer}" + (", out of memory?" if killer == str(int(signal.SIGKILL)) else "")
        elif not how and status not in ("", "0"):
            how = f" with status {status}"
        return f"state {state}{how} (Slurm job {task})"

    def cancel(self) -> None:
        """Cancel the job, if it was submitted."""
        if self.id:
            cancel(self.id)


def cancel(job: str) -> None:
    """Cancel a Slurm job."""
    if job:
        with contextlib.suppress(FileNotFoundError):
            # Without the mark of a launcher around this one, which ends all that carry it when it is stopped itself.
            environment = {name: value for name, value in os.environ.items() if name != MARK}
            subprocess.run(["scancel", job], capture_output=True, check=False, env=environment)


def main() -> int:
    """Run the command line; returns the exit status."""
    request = parse_command_line(sys.argv[1:], USAGE)
    job = ArrayJob(request)
    raise_on_signals()
    guardian = Guardian(cancel)

    def attempt(numbers: list[int]) -> dict[int, str]:
        job.submit(numbers)
        guardian.tell(job.id)
        return job.wait(numbers)

    try:
        end_with_script()
        failed = run_tries(request, attempt)
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
