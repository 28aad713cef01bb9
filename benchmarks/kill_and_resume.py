"""Kill a run with SIGKILL at random times, let it finish, and compare its results with those of an undisturbed run.

    python benchmarks/kill_and_resume.py --kills 20 --preset mini

Half of the kills end the whole process group, the other half only run.sh itself, whose children continue for a while.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run_to_end(command: Sequence[str], log: Path) -> float:
    """Run a command and append its output to ``log``; return the seconds, or raise RuntimeError with the end of it."""
    start = time.monotonic()
    with log.open("ab") as output:
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL).returncode
    if status != 0:
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(command)}: status {status}\n{tail}")
    return time.monotonic() - start


def run_with_kills(command: Sequence[str], moments: Sequence[tuple[str, float]], log: Path, rng: random.Random) -> int:
    """Start a command and kill it, once for each moment; finally run it to the end.

    Args:
        moments: a text that the command prints ("" for its start), and the seconds from this text to the kill.

    Returns:
        The number of starts that were still running when they were killed.
    """
    killed = 0
    for text, seconds in moments:
        begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )
        while process.poll() is None and text.encode() not in log.read_bytes()[begin:]:
            time.sleep(0.05)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            killed += 1
            if rng.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
    run_to_end(command, log)
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="number of kills (%(default)s)")
    parser.add_argument("--preset", default="mini", help="preset of run.sh (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments (%(default)s)")
    parser.add_argument("--undisturbed", type=Path, help="results.csv of an undisturbed run")
    parser.add_argument("--run-seconds", type=float, help="seconds of an undisturbed run, with --undisturbed")
    parser.add_argument("--dir", type=Path, help="working folder (default: a temporary one)")
    args = parser.parse_args()
    if args.undisturbed and not args.run_seconds:
        parser.error("--undisturbed needs --run-seconds")

    folder = args.dir or Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)

    def command(name: str) -> list[str]:
        return ["./run.sh", "--preset", args.preset, "--data", f"{folder}/{name}/data", "--exp", f"{folder}/{name}/exp"]

    results = Path("exp", args.preset, "results", "results.csv")
    seconds, expected = args.run_seconds, args.undisturbed
    if expected is None:
        seconds = run_to_end(command("whole"), folder / "whole.log")
        expected = folder / "whole" / results
        print(f"undisturbed run: {seconds:.0f} s", flush=True)

    # Every start progresses by about the time for which it ran: in total, the moments cover slightly more than a run.
    moments = [("", rng.uniform(0.2, 2.2) * seconds / args.kills) for _ in range(args.kills)]
    killed = run_with_kills(command("killed"), moments, folder / "killed.log", rng)
    same = (folder / "killed" / results).read_bytes() == expected.read_bytes()
    print(f"{killed} kills; results.csv is {'identical' if same else 'DIFFERENT'}; logs in {folder}")
    sys.exit(0 if same and killed else 1)


if __name__ == "__main__":
    main()
