"""Disturb runs of the recipe in every way that happens, let each finish, and compare results with an undisturbed run.

    python benchmarks/faults.py                         # every fault, several members of each
    python benchmarks/faults.py kills --kills 100       # signals at random moments: one of SIGINT, SIGTERM, SIGHUP and
                                                        # SIGKILL to all processes, run.sh or any other one
    python benchmarks/faults.py disk_full read_only     # these faults

After each fault, run.sh is called once more without it. Required: the same results.csv, byte for byte; no process left;
no traceback; where the disturbed run failed, a line that says why. Faults that need their own file system or user
are left out without root. The exit status is 1 if a requirement was missed.
"""

import argparse
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = "AVSV_FAULTS_ID"  # in the environment of all processes of a run
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
SECONDS_TO_END = 180
STAGES = (3, 5, 7)  # after these a copy of the run is kept: most faults need not begin with nothing
REASON = r"error: |failed|killed|Killed|Terminated|stopped by|Hangup|Interrupt"


def run_to_end(command: Sequence[str], log: Path) -> float:
    """Run a command and append its output to ``log``; return the seconds, or raise RuntimeError with the end of it."""
    start = time.monotonic()
    with log.open("ab") as output:
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL).returncode
    if status != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(command)}: status {status}\n{tail}")
    return time.monotonic() - start


class Missed(Exception):
    """A requirement is not met."""


@dataclass(frozen=True)
class Ended:
    """How a run ended: its status, negative for a signal, and what it said."""

    status: int
    said: str

    def reason(self, pattern: str) -> str:
        """The line that says why it failed."""
        if "Traceback" in self.said:
            raise Missed(f"a traceback:\n{self.said[-3000:]}")
        lines = [line for line in self.said.splitlines() if re.search(pattern, line)]
        if self.status and not lines:
            raise Missed(f"status {self.status}, and no line with /{pattern}/:\n{self.said[-2000:]}")
        return f"status {self.status}: {lines[-1].strip()[:140]}" if self.status else "status 0"


class Bench:
    """A run of the recipe in ``FOLDER/run``, which is put back to an earlier state before each fault.

    Args:
        folder: working folder.
        preset: preset of ``run.sh``.
        systems: systems of ``run.sh``; empty: those of the recipe.
        rng: draws moments, targets and files.
    """

    def __init__(self, folder: Path, preset: str, systems: str, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.run = folder / "run"
        self.command = ["./run.sh", "--preset", preset, "--nj", "2", *(["--systems", systems] if systems else [])]
        self.command += ["--data", f"{self.run}/data", "--exp", f"{self.run}/exp"]
        self.results = self.run / "exp" / preset / "results" / "results.csv"
        self.log = folder / "log"
        self.expected = b""
        self.parts: list[tuple[int | None, float]] = []
        self.environment = {**os.environ, MARK: uuid.uuid4().hex}

    def prepare(self) -> None:
        """The undisturbed run, and the states that faults begin from, with the seconds from each to the next."""
        before = None
        for stage in (*STAGES, None):
            seconds = run_to_end([*self.command, *(["--stop-stage", str(stage)] if stage else [])], self.log)
            self.parts.append((before, seconds))
            shutil.copytree(self.run, self.state(stage or "end"), symlinks=True)
            before = stage
        self.expected = self.results.read_bytes()
        print(f"undisturbed run: {sum(seconds for _, seconds in self.parts):.0f} s; logs in {self.folder}", flush=True)

    def state(self, stage: int | str) -> Path:
        return self.folder / f"after{stage}"

    def put_back(self, stage: int | str | None) -> None:
        """Put the run back to its state after a stage; None for nothing."""
        self.run.mkdir(exist_ok=True)
        for path in self.run.iterdir():  # the folder itself may be a mount point
            shutil.rmtree(path)
        if stage is not None:
            shutil.copytree(self.state(stage), self.run, symlinks=True, dirs_exist_ok=True)

    @contextlib.contextmanager
    def started(self, *options: str, before: Sequence[str] = (), **how) -> Iterator[subprocess.Popen]:
        """``run.sh`` in a session of its own, with its output in the log unless ``how`` says otherwise."""
        with self.log.open("ab") as output:
            how = {"stdout": output, "stderr": output, "env": self.environment, **how}
            command = [*before, *self.command, *options]
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True, **how)
        try:
            yield process
        finally:
            for pid in self.living() if process.poll() is None else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

    def call(self, *options: str, meanwhile: Callable[[subprocess.Popen], None] | None = None, **how) -> Ended:
        """Run to the end, doing something meanwhile."""
        begin = self.log.stat().st_size
        with self.started(*options, **how) as process:
            if meanwhile:
                meanwhile(process)
            try:
                status = process.wait(10 * SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                raise Missed("it does not end") from None
        with self.log.open("rb") as file:
            file.seek(begin)
            return Ended(status, file.read().decode("utf-8", "replace"))

    def living(self) -> list[int]:
        """The processes of the run."""
        mark, found = f"{MARK}={self.environment[MARK]}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def nothing_left(self) -> None:
        """Wait for the processes that a killed script has left; what it waited for may be finished."""
        deadline = time.monotonic() + SECONDS_TO_END
        while left := self.living():
            if time.monotonic() > deadline:
                words = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:200] for pid in left]
                raise Missed(f"processes are left: {words}")
            time.sleep(0.1)

    def resume(self) -> None:
        """Run to the end without a fault, and compare the results."""
        again = self.call()
        if again.status:
            raise Missed(f"the run cannot be resumed:\n{again.said[-3000:]}")
        again.reason("")
        self.nothing_left()
        self.compare()

    def compare(self) -> None:
        if self.results.read_bytes() != self.expected:
            raise Missed("results.csv differs from that of the undisturbed run")

    @contextlib.contextmanager
    def small_disk(self, mebibytes: float) -> Iterator[Callable[[str], None]]:
        """The run on a file system of this size; gives a function that changes its options."""
        self.put_back(None)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes:.0f}m", "tmpfs", self.run], check=True)
        try:
            yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", self.run], check=True) and None
        finally:
            subprocess.run(["umount", "-l", self.run], check=True)


def kills(bench: Bench, _number: int) -> str:
    """A signal to all processes, to run.sh, or to any process, at a random moment."""
    before, seconds = bench.rng.choices(bench.parts, [seconds for _, seconds in bench.parts])[0]
    signal_, target = bench.rng.choice(SIGNALS), bench.rng.choice(["all", "run.sh", "any"])
    moment, at_once = bench.rng.uniform(0, seconds), bench.rng.random() < 0.5
    hit = []

    def meanwhile(process: subprocess.Popen) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
            return
        pid = bench.rng.choice(bench.living()) if target == "any" else process.pid
        with contextlib.suppress(OSError):
            hit.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:60])
            (os.killpg if target == "all" else os.kill)(pid, signal_)

    bench.put_back(before)
    ended = bench.call(meanwhile=meanwhile)
    # Whoever sends the signal to the run itself needs no reason.
    said = ended.reason(REASON if target == "any" else "")
    if not at_once:
        bench.nothing_left()
    bench.resume()
    where = f"{signal_.name} to {hit[0] if target == 'any' and hit else target}, {moment:.1f} s after stage {before}"
    return f"{where}: {said}" if hit else f"{where}: it had ended"


def disk_full(bench: Bench, share: float) -> str:
    """No space is left when a share of the run is done; then there is space again."""
    whole = sum(path.lstat().st_size + 2048 for path in bench.state("end").rglob("*")) / 2**20
    with bench.small_disk(share * whole) as change:
        said = bench.call().reason("[Nn]o space left")
        change("size=4g")
        bench.nothing_left()
        bench.resume()
    return f"{share * whole:.0f} MiB: {said}"


def read_only(bench: Bench, stage: int | str | None) -> str:
    """The folders cannot be written."""
    with bench.small_disk(4096) as change:
        bench.put_back(stage)
        change("ro")
        said = bench.call().reason("Read-only file system")
        change("rw")
        bench.resume()
    return f"after stage {stage}: {said}"


def removed_file(bench: Bench, number: int) -> str:
    """A file, any one, is deleted or cut short while the run works on later stages."""
    before, seconds = bench.rng.choice(bench.parts[1:])
    bench.put_back(before)
    files = sorted(path for path in bench.run.rglob("*") if path.is_file() and path.name != ".lock")
    path, moment = bench.rng.choice(files), bench.rng.uniform(0, seconds)

    def meanwhile(_process: subprocess.Popen) -> None:
        time.sleep(moment)
        if number % 3 == 0 and path.exists() and path.stat().st_size > 1:
            os.truncate(path, path.stat().st_size // 2)
        else:
            path.unlink(missing_ok=True)

    said = bench.call(meanwhile=meanwhile).reason("error: |failed")
    bench.resume()
    return f"{path.relative_to(bench.run)} {moment:.1f} s after stage {before}: {said}"


def small_shm(bench: Bench, size: str) -> str:
    """A /dev/shm of Docker's default size, or a smaller one."""
    bench.put_back(3)
    mount = ["unshare", "-m", "bash", "-c", f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"', "-"]
    ended = bench.call("--num-workers", "2", before=mount)
    if ended.status:
        raise Missed(f"status {ended.status}:\n{ended.said[-2000:]}")
    bench.compare()
    ended.reason("")
    warned = "/dev/shm is too small" in ended.said
    return f"{size}: status 0, with{'' if warned else 'out'} a warning"


def file_size(bench: Bench, kibibytes: int) -> str:
    """A limit on the size of files."""
    return _limited(bench, resource.RLIMIT_FSIZE, kibibytes, 1024, "File too large|[Ff]ile size limit")


def open_files(bench: Bench, count: int) -> str:
    """A low limit on open files."""
    return _limited(bench, resource.RLIMIT_NOFILE, count, 1, "[Tt]oo many open files|error: ")


def memory(bench: Bench, mebibytes: int) -> str:
    """A low limit on the memory of each process."""
    return _limited(bench, resource.RLIMIT_AS, mebibytes, 1 << 20, "memory|allocate")


def _limited(bench: Bench, kind: int, count: int, unit: int, pattern: str) -> str:
    bench.put_back(bench.rng.choice([None, 3]))
    said = bench.call(preexec_fn=lambda: resource.setrlimit(kind, (count * unit, count * unit))).reason(pattern)
    bench.resume()
    return f"{count} times {unit}: {said}"


def processes(bench: Bench, count: int) -> str:
    """A low limit on the processes of a user, who is not root here: the limit does not hold for root."""
    bench.put_back(3)
    subprocess.run(["chown", "-R", "nobody", bench.run], check=True)
    before = ["prlimit", f"--nproc={count}", "setpriv", "--reuid=nobody", "--clear-groups"]
    said = bench.call(before=before).reason("Resource temporarily unavailable|thread|fork")
    bench.resume()
    return f"{count}: {said}"


def two_runs(bench: Bench, seconds: float) -> str:
    """Another run in the same folders: it waits."""
    bench.put_back(3 if seconds else None)
    with bench.started() as first:
        time.sleep(seconds)
        second = bench.call()
        first.wait(SECONDS_TO_END)
    if first.returncode or second.status:
        raise Missed(f"status {first.returncode} and {second.status}:\n{second.said[-2000:]}")
    if "waiting: another run is working in" not in second.said:
        raise Missed("nothing says that the second one waits")
    bench.resume()
    return f"{seconds} s later: both with status 0"


def clock(bench: Bench, stage: int) -> str:
    """The clock is set back and forth: files are of any time from 1980 to 2100."""
    bench.put_back(stage)
    for path in bench.run.rglob("*"):
        moment = bench.rng.uniform(10 * 365, 130 * 365) * 86400
        os.utime(path, (moment, moment), follow_symlinks=False)
    bench.resume()
    return f"after stage {stage}: status 0"


def closed_output(bench: Bench, shown: str) -> str:
    """Nobody reads what the run says, or it cannot be written."""
    bench.put_back(bench.rng.choice([None, 3]))
    ended = bench.call(before=["bash", "-c", f'"$@" {shown}; exit ${{PIPESTATUS[0]}}', "-"])
    bench.nothing_left()
    bench.resume()
    return f"{shown}: status {ended.status}"


NEED_ROOT = (disk_full, read_only, small_shm, processes)
# The members of each fault that are tried.
FAULTS: dict[Callable, Sequence] = {
    kills: (),
    two_runs: (0, 2, 9),
    clock: STAGES,
    closed_output: (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>&1", "2>&1 | head -n 3 >/dev/null"),
    removed_file: range(12),
    small_shm: ("64m", "1m", "4k"),
    disk_full: (0.03, 0.4, 0.72, 0.9),
    file_size: (2, 30, 200, 1000),
    read_only: (None, 3, 5, "end"),
    open_files: (8, 14, 24, 48),
    memory: (60, 300, 700, 1500, 3000),
    processes: (1, 4, 7, 12),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [fault.__name__ for fault in FAULTS]
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"some of: {' '.join(names)} (all)")
    parser.add_argument("--kills", type=int, default=10, help="number of kills (%(default)s)")
    parser.add_argument("--preset", default="tiny", help="preset of run.sh (%(default)s)")
    parser.add_argument("--systems", default="", help="systems of run.sh (those of the recipe)")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments, targets and files (%(default)s)")
    parser.add_argument("--dir", type=Path, help="working folder, new (default: a temporary one)")
    args = parser.parse_args()
    if wrong := set(args.faults) - set(names):
        parser.error(f"no such fault: {' '.join(wrong)}")
    is_root = os.geteuid() == 0
    if is_root and MARK not in os.environ:
        # What is mounted ends with this program, and others do not see it.
        os.execvpe("unshare", ["unshare", "-m", sys.executable, *sys.argv], {**os.environ, MARK: ""})
    for number in SIGNALS[:3]:
        signal.signal(
            number, signal.default_int_handler
        )  # a job in the background would hand down that it ignores them

    folder = args.dir or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    bench = Bench(folder.resolve(), args.preset, args.systems, random.Random(args.seed))
    bench.prepare()
    done = missed = 0
    for fault, members in FAULTS.items():
        if args.faults and fault.__name__ not in args.faults:
            continue
        if fault in NEED_ROOT and not is_root:
            print(f"{fault.__name__}: left out without root", flush=True)
            continue
        for number, member in enumerate(range(args.kills) if fault is kills else members, 1):
            try:
                text = fault(bench, member)
                done += 1
            except Missed as error:
                missed += 1
                text = f"{member}: MISSED: {error}"
            print(f"{fault.__name__} {number}: {text}", flush=True)
    print(f"{done} disturbed runs with the same results.csv afterwards, {missed} that missed a requirement")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
