"""How the commands end: whatever their standard streams are, and wherever they are when they are stopped."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commands import run, wait_until
from paths import ROOT

from avsv import __version__

FILES = """
import sys
from avsv.bin.command import run_command

def main():
    with open(sys.argv[1], "w") as file:
        print("shown")
        print("said", file=sys.stderr)
        file.write("written")

run_command(main)
"""


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("program", ["python", "script"])
def test_closed_streams(tmp_path, closed, program):
    """Nothing that is said goes into a file which has taken the number of a closed stream."""
    path = tmp_path / "file"
    if program == "python":
        command = [sys.executable, "-c", FILES, path]
    else:
        script = tmp_path / "step.sh"
        script.write_text(
            f". '{ROOT}/utils/parse_options.sh'\nlog said\necho shown\nexec 3>\"$1\"\necho -n written >&3\n"
        )
        command = ["bash", script, path]
    done = run("bash", "-c", f'"$@" {closed}', "-", *command)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == "written"
    assert ("shown" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))
    assert ("said" in done.stderr) == ("2>&-" not in closed)


@pytest.mark.parametrize("megabytes", [60, 200, 400, 800, 1600])
def test_little_memory(megabytes):
    """While libraries are loaded, and afterwards."""
    command = [sys.executable, "-m", "avsv.bin.make_fbank", "--config", "conf/fbank.yaml", "/none.scp", "/none/x"]
    done = run("bash", "-c", f'ulimit -v {megabytes}000; "$@"', "-", *command)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "memory" in done.stderr or "no such file" in done.stderr


@pytest.mark.parametrize("count", [6, 10, 16, 30])
def test_few_open_files(tmp_path, count):
    config = ROOT / "conf/fbank.yaml"
    command = [sys.executable, "-m", "avsv.bin.make_fbank", "--config", config, "/none.scp", tmp_path / "x"]
    done = run("bash", "-c", f'ulimit -n {count}; "$@"', "-", *command)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "open files" in done.stderr or "no such file" in done.stderr


STEP = ["avsv.bin.make_fbank", "--config", "conf/fbank.yaml", "a", "b"]
PROGRAM = ["avsv.cli", "verify", "a", "b", "c"]


@pytest.mark.parametrize(
    ("module", "library"),
    [
        *((STEP, name) for name in ("_ctypes", "_multiarray_umath", "libtorch_cpu", "libtorch_python")),
        *((PROGRAM, name) for name in ("_ctypes", "_multiarray_umath")),
    ],
)
def test_interrupted_while_it_loads(module, library):
    """Ctrl-C shows no traceback, whatever library the program is loading."""
    command = [sys.executable, "-m", *module]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: library in Path(f"/proc/{process.pid}/maps").read_text())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said  # on a busy machine it may have ended before
    assert process.returncode != 0


def test_the_program_is_on_the_path_of_a_checkout(tmp_path):
    done = run("bash", "-c", f"cd '{ROOT}' && . ./path.sh && cd '{tmp_path}' && avsv --version && avsv no-such")
    assert done.returncode == 2 and done.stdout == f"{__version__}\n"
    assert "invalid choice: 'no-such'" in done.stderr
