"""How the commands end: whatever their standard streams are, and wherever they are when they are stopped."""

import signal
import subprocess
import sys
import time

import pytest
from commands import run
from paths import ROOT

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


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.6, 1.0])
def test_interrupted_while_it_loads(seconds):
    """Ctrl-C shows no traceback, wherever the program is."""
    command = [sys.executable, "-m", "avsv.bin.extract_embeddings", "a", "b", "c", "--parts", "d"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    # In its first moments it is Python itself that is interrupted.
    assert "avsv" not in said or "Traceback" not in said
    assert process.returncode != 0
