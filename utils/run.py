#!/usr/bin/env python3
"""Run a command, or numbered copies of it in parallel, on this machine, each with its log: Kaldi's run.pl, in Python.

See ``USAGE`` for the command line. The log begins with the command, the host and the time, and ends with lines that
readers of both run.pl's and slurm.pl's logs understand. No job outlives the launcher, however that ends.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
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
    set_parent_death_signal,
)

USAGE = r"""Usage: run.py [options] [JOB=1:n] log-file command-line arguments...
 e.g.: run.py JOB=1:4 exp/log/count.JOB.log wc -l data/train/split4/JOB/utt2spk \> exp/count.JOB

Runs the command with its output in the log; with JOB=a:b once for each number, which replaces the word JOB.
Options:
  --max-jobs-run <n>   jobs at a time (default: number of CPUs / number of threads; with --gpu as many as GPUs allow)
  --num-threads <n>    threads of each job: sets OMP_NUM_THREADS and the like (1)
  --gpu <n>            GPUs of each job: sets CUDA_VISIBLE_DEVICES, where the machine has GPUs (0)
  --num-tries <n>      run jobs that failed again, up to n times in all, when the others have ended (1)
Options of other launchers (--mem 4G, --time 1:00:00, --config f, -l x) are accepted and mean nothing here.
Exit status: 0 all jobs succeeded, 1 any failed."""

SECONDS_TO_END = 5.0


@dataclass
class Job:
    """A running job: its process, log, start time and the GPUs lent to it."""

    number: int
    process: subprocess.Popen
    log: str
    start: float
    gpus: list[str]


def find_gpus() -> list[str]:
    """Names of this machine's GPUs as CUDA_VISIBLE_DEVICES wants them, within those that it already allows."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name for name in allowed.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    try:
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    return [str(n) for n in range(sum(line.startswith("GPU ") for line in listing.splitlines()))]


def kill_marked(mark: str, grace: float) -> None:
    """End every process that descends from this launcher, told by the variable in its environment.

    A process group would miss those that a job puts in sessions of their own, as torchrun does.

    Args:
        mark: the launcher's own mark.
        grace: seconds between asking (SIGTERM) and killing.
    """
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while marked := find_marked(mark):
        late = time.monotonic() >= deadline
        for pid in marked if late else marked - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= marked
        time.sleep(0.05)


def find_marked(mark: str) -> set[int]:
    """The living processes of this user that carry the mark, alone or among those of launchers around this one."""
    pids = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                pids.add(int(folder.name))
        except OSError:
            continue  # it has just ended, or is somebody else's
    return pids


class Runner:
    """Runs the jobs of a request, some at a time."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.mark = uuid.uuid4().hex
        self.threads = request.number_of("num_threads", 1, 1)
        self.gpus_each = request.number_of("gpu", 0, 0)
        gpus = find_gpus() if self.gpus_each else []
        if gpus and self.gpus_each > len(gpus):
            die(f"option --gpu {self.gpus_each}: this machine has {len(gpus)}")
        by_threads = max(1, len(os.sched_getaffinity(0)) // self.threads)
        self.limit = request.max_jobs_run() or (len(gpus) // self.gpus_each if gpus else by_threads)
        # More jobs than GPUs, where the user wants it, share them in turn.
        self.free_gpus = gpus * -(-self.limit * self.gpus_each // len(gpus)) if gpus else []
        self.pid = os.getpid()

    def run(self, numbers: list[int]) -> dict[int, str]:
        """Run the jobs of these numbers; returns how those that failed ended, by number."""
        failed: dict[int, str] = {}
        running: dict[int, Job] = {}
        waiting = numbers[::-1]
        while waiting or running:
            while waiting and len(running) < self.limit:
                job = self.start(waiting.pop())
                running[job.process.pid] = job
            pid, status = os.wait()
            job = running.pop(pid, None)
            if job is None:
                continue
            job.process.returncode = status
            code = os.waitstatus_to_exitcode(status)
            if code != 0:
                failed[job.number] = describe_status(code if code > 0 else 128 - code)
            self.finish(job, code)
        return failed

    def start(self, number: int) -> Job:
        """Write the head of the log and start the command."""
        log = self.request.log_of(number)
        command = quote_command(self.request.words, self.request.job, str(number))
        environment = dict(os.environ, **{MARK: f"{os.environ.get(MARK, '')}:{self.mark}"})
        environment.update({name: str(self.threads) for name in THREAD_VARIABLES})
        gpus = self.free_gpus[: self.gpus_each]
        del self.free_gpus[: self.gpus_each]
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        try:
            Path(log).parent.mkdir(parents=True, exist_ok=True)
            with Path(log).open("w") as stream:
                shown = command.replace("\n", "\n# ")
                stream.write(
                    f"# {shown}\n# Running on {socket.gethostname()}\n# Started at {time.ctime()}\n{END_OF_HEAD}\n"
                )
                stream.flush()
                # Appending, because the command's own redirections may name the log too.
                with Path(log).open("ab") as output:
                    process = subprocess.Popen(
                        ["bash", "-c", command],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        env=environment,
                        preexec_fn=self.tie_to_launcher,
                    )
        except OSError as error:
            die(f"cannot start job {number} with the log {log}: {error.strerror}")
        return Job(number, process, log, time.time(), gpus)

    def tie_to_launcher(self) -> None:
        """In the new process: die with the launcher."""
        set_parent_death_signal(signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)

    def finish(self, job: Job, code: int) -> None:
        """Write the end of the log and take back the GPUs."""
        self.free_gpus += job.gpus
        elapsed = round(time.time() - job.start)
        status = code if code >= 0 else 128 - code
        killed = f"; signal {-code}" if code < 0 else ""
        now = time.ctime()
        with Path(job.log).open("a") as stream:
            stream.write(
                f"# Accounting: time={elapsed} threads={self.threads}\n"
                f"# Finished at {now} with status {status}\n"
                f"# Ended (code {status}{killed}) at {now}, elapsed time {elapsed} seconds\n"
            )


def main() -> int:
    """Run the command line; returns the exit status."""
    request = parse_command_line(sys.argv[1:], USAGE)
    runner = Runner(request)
    raise_on_signals()
    guardian = Guardian(lambda _text: kill_marked(runner.mark, grace=0))
    try:
        end_with_script()
        failed = run_tries(request, runner.run)
    except BaseException as reason:
        kill_marked(runner.mark, SECONDS_TO_END)
        if not isinstance(reason, Interrupted):
            raise
        number = reason.args[0]
        print(f"run.py: stopped by {signal.Signals(number).name}, all jobs ended", file=sys.stderr)
        return 128 + number
    finally:
        guardian.release()
    if failed:
        report_failure(request, failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
