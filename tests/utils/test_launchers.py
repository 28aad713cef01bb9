"""The job launchers: Kaldi's command line, logs and exit codes; killing; Slurm's array jobs with a fake Slurm."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from commands import run, wait_until
from paths import ROOT

RUN = ROOT / "utils" / "run.py"
SLURM = ROOT / "utils" / "slurm.py"


def launch(*words, launcher=RUN, cwd, env=None, timeout=60):
    return run(launcher, *words, cwd=cwd, timeout=timeout, env=env)


def kaldis_own(name):
    root = os.environ.get("KALDI_ROOT")
    if not root:
        pytest.skip(f"KALDI_ROOT is not set: Kaldi's own {name} is not tried")
    path = Path(root) / "egs/wsj/s5/utils/parallel" / name
    if not path.is_file() or not shutil.which("perl"):
        pytest.skip(f"{path} is not there, or perl is not installed")
    return path


@pytest.fixture(params=["run.py", "run.pl"])
def any_run(request):
    """Our local launcher, and Kaldi's if available; the same tests apply to both."""
    return RUN if request.param == "run.py" else kaldis_own("run.pl")


def alive(text):
    """Command lines of the processes that have ``text`` as an argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if text.encode() in words and state != "Z":
            found.append(words)
    return found


def children_of(parent):
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if parent_of(folder.name) == parent]


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None  # it has just ended


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")


# ------------------------------------------------------------------------------------------------- Kaldi's contract


def test_parallel_jobs_write_a_log_each(any_run, tmp_path):
    done = launch("JOB=1:3", "log/a.JOB.log", "echo", "number", "JOB", launcher=any_run, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for number in (1, 2, 3):
        lines = (tmp_path / f"log/a.{number}.log").read_text().splitlines()
        assert lines[0].rstrip() == f"# echo number {number}"
        assert any(line.startswith("# Started at ") for line in lines)
        assert f"number {number}" in lines
        assert re.match(r"# Ended \(code 0\) at .*, elapsed time \d+ seconds", lines[-1])
        assert any(re.match(r"# Accounting: time=\d+ threads=1", line) for line in lines)


@pytest.mark.parametrize("options", [["--mem", "2G", "JOB=1:2"], ["JOB=1:2", "--mem", "2G"], ["-l", "x=1", "JOB=1:2"]])
def test_options_and_range_come_in_any_order(any_run, tmp_path, options):
    done = launch("--max-jobs-run", 1, *options, "x.JOB.log", "echo", "JOB", launcher=any_run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2\n" in (tmp_path / "x.2.log").read_text()


def test_quoting(any_run, tmp_path):
    """Words without blanks are interpreted by bash; those with blanks are single words."""
    words = ["printf", "[%s]", "a b", 'say "hi" now', "$HOME/x", "\\$HOME", "|", "tr", "a", "A", ">", "out.JOB"]
    done = launch("JOB=1:2", "x.JOB.log", *words, launcher=any_run, cwd=tmp_path, env={**os.environ, "HOME": "/h"})
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.2").read_text() == '[A b][sAy "hi" now][/h/x][$HOME]'


def test_single_failure(any_run, tmp_path):
    done = launch("a.log", "echo", "before", ";", "exit", "3", launcher=any_run, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{any_run.name}: job failed, log is in a.log\n")
    assert "# Ended (code 3)" in (tmp_path / "a.log").read_text()


def test_some_jobs_fail_and_the_others_run(any_run, tmp_path):
    done = launch("N=1:4", "a.N.log", "test", "$((N", "%", "2))", "=", "0", launcher=any_run, cwd=tmp_path)
    assert done.returncode == 1
    assert f"{any_run.name}: 2 / 4 failed, log is in a.*.log\n" in done.stderr
    assert "# Ended (code 0)" in (tmp_path / "a.4.log").read_text()


def test_forgotten_range(any_run, tmp_path):
    done = launch("a.JOB.log", "false", launcher=any_run, cwd=tmp_path)
    assert done.returncode == 1
    assert "probably you forgot to put JOB=1:$nj in your script." in done.stderr


def test_one_log_for_several_jobs(any_run, tmp_path):
    done = launch("JOB=1:2", "a.log", "true", launcher=any_run, cwd=tmp_path)
    assert done.returncode == 1
    assert "you are putting the output into just one log file (a.log)" in done.stderr


@pytest.mark.parametrize("text", ["JOB=0:2", "JOB=3:2"])
def test_range_that_goes_down_or_starts_at_zero(any_run, tmp_path, text):
    done = launch(text, "a.JOB.log", "true", launcher=any_run, cwd=tmp_path)
    assert done.returncode != 0
    assert "invalid job range" in done.stderr


def test_jobs_as_the_steps_write_them(any_run, tmp_path):
    """once.sh around the command, blanks in the paths: finished jobs are not repeated, failed ones are."""
    data = tmp_path / "da ta"
    data.mkdir()
    words = ["JOB=1:2", "log/x.JOB.log", ROOT / "utils/once.sh", f"{data}/.x.JOB.done", "stamp.2"]
    command = ["bash", "-c", f"echo JOB >>'{data}/ran'; test JOB = 1 -o -e '{data}/mended'"]
    first = launch(*words, *command, launcher=any_run, cwd=tmp_path)
    assert first.returncode == 1
    (data / "mended").touch()
    second = launch(*words, *command, launcher=any_run, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert sorted((data / "ran").read_text().split()) == ["1", "2", "2"]


QSUB = """\
#!/usr/bin/env bash
range=1:1
script="${!#}"
while [ $# -gt 1 ]; do [ "$1" != -t ] || range=$2; shift; done
for n in $(seq "${range%:*}" "${range#*:}"); do SGE_TASK_ID=$n bash "$script" </dev/null >/dev/null 2>&1 & done
echo 'Your job-array 7.1-2:1 ("x.sh") has been submitted'
"""


def test_jobs_as_the_steps_write_them_on_kaldis_queue(tmp_path):
    """Kaldi's queue.pl around once.sh, with a fake Grid Engine: options of the steps, an array job, a failing one."""
    queue = kaldis_own("queue.pl")
    (tmp_path / "qsub").write_text(QSUB)
    (tmp_path / "qstat").write_text("#!/bin/sh\n")
    for name in ("qsub", "qstat"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "path.sh").touch()
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["--gpu", "1", "--mem", "2G", "JOB=1:2", "log/x.JOB.log", ROOT / "utils/once.sh", ".x.JOB.done", "stamp.2"]
    command = ["bash", "-c", "echo JOB >>ran; test JOB = 1 -o -e mended"]
    assert launch(*words, *command, launcher=queue, cwd=tmp_path, env=env).returncode == 1
    (tmp_path / "mended").touch()
    done = launch(*words, *command, launcher=queue, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "2"]


# ------------------------------------------------------------------------------------------------------ ours alone


def test_log_is_readable_in_both_dialects(tmp_path):
    launch("a.log", "exit", "5", cwd=tmp_path)
    tail = "".join((tmp_path / "a.log").read_text().splitlines(keepends=True)[-10:])
    assert re.search(r"with status (\d+)", tail)[1] == "5"
    assert re.search(r"# Ended \(code (\d+)\)", tail)[1] == "5"
    assert f"# Running on {os.uname().nodename}\n" in (tmp_path / "a.log").read_text()


def test_failure_shows_the_end_of_the_log(tmp_path):
    done = launch("JOB=1:2", "l/x.JOB.log", "seq", "30", ";", "echo", "the reason JOB", ";", "false", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert lines[0] == "run.py: 2 / 2 failed, log is in l/x.*.log"
    assert lines[1] == "run.py: job 1 ended with status 1"
    assert lines[2] == "run.py: the last lines of l/x.1.log:"
    assert lines[3:] == [f"  {n}" for n in range(22, 31)] + ["  the reason 1"]


def test_killed_job_is_told(tmp_path):
    done = launch("a.log", "kill", "-9", "$$", cwd=tmp_path)
    assert done.returncode == 1
    assert "ended with status 137 (killed by signal 9: out of memory?)" in done.stderr
    assert "# Ended (code 137; signal 9)" in (tmp_path / "a.log").read_text()


def test_blanks_in_the_log_path(tmp_path):
    assert launch("JOB=1:2", "lo g/a b.JOB.log", "true", cwd=tmp_path).returncode == 0
    assert (tmp_path / "lo g" / "a b.2.log").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mem", "JOB=1:2", "a.JOB.log", "true"], "run.py: option --mem needs a value"),
        (["--mem", "--gpu", "1", "a.log", "true"], "run.py: option --mem needs a value"),
        (["--max-jobs-run", "0", "a.log", "true"], "--max-jobs-run needs a whole number of at least 1, not '0'"),
        (["--num-threads", "two", "a.log", "true"], "--num-threads needs a whole number of at least 1, not 'two'"),
        (["JOB=1:", "a.JOB.log", "true"], "invalid job range JOB=1:: write it as JOB=1:8"),
        (["JOB=one", "a.JOB.log", "true"], "invalid job range JOB=one"),
        (["JOB=1:2", "K=1:2", "a.JOB.log", "true"], "more than one job range"),
        (["a.log"], "no command given"),
        ([], "no log file given"),
    ],
)
def test_bad_command_lines(tmp_path, words, message):
    done = launch(*words, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_log_that_cannot_be_written(tmp_path):
    (tmp_path / "log").touch()
    done = launch("JOB=1:2", "log/a.JOB.log", "true", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("run.py: cannot start job 1 with the log log/a.1.log: ")


def test_max_jobs_run_bounds_concurrency(tmp_path):
    command = ["mkdir", "up.JOB", ";", "ls", "-d", "up.*", "|", "wc", "-l", ">>", "seen", ";", "sleep", "0.15", ";"]
    done = launch("--max-jobs-run", 5, "-tc", 2, "JOB=1:6", "a.JOB.log", *command, "rmdir", "up.JOB", cwd=tmp_path)
    assert done.returncode == 0
    assert max(map(int, (tmp_path / "seen").read_text().split())) == 2


def test_default_concurrency_is_the_number_of_cpus(tmp_path):
    cpu = min(os.sched_getaffinity(0))
    command = ["mkdir", "up.JOB", ";", "ls", "-d", "up.*", "|", "wc", "-l", ">>", "seen", ";", "sleep", "0.1", ";"]
    words = ["taskset", "-c", str(cpu), RUN, "JOB=1:3", "a.JOB.log", *command, "rmdir", "up.JOB"]
    subprocess.run(list(map(str, words)), cwd=tmp_path, check=True)
    assert (tmp_path / "seen").read_text().split() == ["1", "1", "1"]


def test_threads(tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "7"}
    launch("one.log", "echo", "$OMP_NUM_THREADS", "$MKL_NUM_THREADS", cwd=tmp_path, env=env)
    launch("--num-threads", 3, "three.log", "echo", "$OMP_NUM_THREADS", cwd=tmp_path, env=env)
    assert "\n1 1\n" in (tmp_path / "one.log").read_text()
    text = (tmp_path / "three.log").read_text()
    assert "\n3\n" in text
    assert "threads=3\n" in text


def test_gpus_are_dealt_out(tmp_path):
    """Two GPUs, one per job: never two jobs on one GPU at the same time."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "4,6"}
    job = 'mkdir "gpu$CUDA_VISIBLE_DEVICES" && sleep 0.1 && rmdir "gpu$CUDA_VISIBLE_DEVICES"'
    (tmp_path / "job.sh").write_text(f"echo on $CUDA_VISIBLE_DEVICES; {job}\n")
    done = launch("--gpu", 1, "JOB=1:6", "a.JOB.log", "bash", "job.sh", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    used = {re.search(r"^on (.*)$", (tmp_path / f"a.{n}.log").read_text(), re.M)[1] for n in range(1, 7)}
    assert used == {"4", "6"}
    assert launch("--gpu", 2, "b.log", "echo", "on", "$CUDA_VISIBLE_DEVICES", cwd=tmp_path, env=env).returncode == 0
    assert "\non 4,6\n" in (tmp_path / "b.log").read_text()
    done = launch("--gpu", 3, "b.log", "true", cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (1, "run.py: option --gpu 3: this machine has 2\n")


def test_gpus_are_counted_by_nvidia_smi(tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: x (UUID: a)'\necho 'GPU 1: x (UUID: b)'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    env.pop("CUDA_VISIBLE_DEVICES", None)
    launch("--gpu", 1, "JOB=1:2", "a.JOB.log", "echo", "on", "$CUDA_VISIBLE_DEVICES", cwd=tmp_path, env=env)
    # Not by "on " anywhere: the time of a Monday contains it.
    used = {re.search(r"^on (.*)$", (tmp_path / f"a.{n}.log").read_text(), re.M)[1] for n in (1, 2)}
    assert used == {"0", "1"}


def test_only_what_failed_is_tried_again(tmp_path):
    command = ["echo", "JOB", ">>", "ran", ";", "test", "JOB", "!=", "2", "-o", "$(grep", "-c", "2", "ran)", "=", "3"]
    done = launch("--num-tries", 3, "JOB=1:3", "log/a.JOB.log", *command, cwd=tmp_path)
    assert done.returncode == 0
    assert sorted((tmp_path / "ran").read_text().split()) == ["1", "2", "2", "2", "3"]
    assert done.stderr.splitlines() == [
        "run.py: 1 / 3 failed: try 2 of 3 (old logs: log/a.*.log.try1)",
        "run.py: job 2 ended with status 1",
        "run.py: 1 / 3 failed: try 3 of 3 (old logs: log/a.*.log.try2)",
        "run.py: job 2 ended with status 1",
    ]
    logs = sorted(path.name for path in (tmp_path / "log").iterdir())
    assert logs == ["a.1.log", "a.2.log", "a.2.log.try1", "a.2.log.try2", "a.3.log"]
    done = launch("--num-tries", 2, "b.log", "exit", "7", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "run.py: 1 / 1 failed: try 2 of 2 (old logs: b.log.try1)",
        "run.py: job 1 ended with status 7",
        "run.py: job failed, log is in b.log",
        "run.py: job 1 ended with status 7",
    ]


def test_every_way_to_end_is_told(tmp_path):
    done = launch("JOB=1:5", "a.JOB.log", "exit", "$((", "JOB", "/", "2", "))", cwd=tmp_path)
    endings = [f"run.py: job {job} ended with status {status}" for job, status in ((2, 1), (4, 2))]
    assert done.stderr.splitlines() == ["run.py: 4 / 5 failed, log is in a.*.log", *endings]


# --------------------------------------------------------------------------------------------------------- killing

DEEP = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]], start_new_session=True).wait()
"""


def start_deep(tmp_path, name, through=()):
    """Start jobs whose grandchildren have their own sessions; return the process of the launcher."""
    (tmp_path / "deep.py").write_text(DEEP)
    words = [*through, RUN, "--max-jobs-run", "2", "JOB=1:2", "a.JOB.log", sys.executable, "deep.py", name]
    process = subprocess.Popen(
        list(map(str, [*words, ";", "echo", "end"])),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run in the background of a shell inherit that SIGINT is ignored, and the launcher would keep to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_until(lambda: len([words for words in alive(name) if b"-c" in words and b"import" in words[2][:6]]) == 2)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_job_outlives_the_launcher(tmp_path, number):
    name = f"deep-{os.getpid()}-{number}"
    process = start_deep(tmp_path, name)
    process.send_signal(number)
    stderr = process.communicate(timeout=30)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        assert stderr == f"run.py: stopped by {number.name}, all jobs ended\n"
    wait_until(lambda: not alive(name))


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_a_launcher_whose_guardian_was_killed_ends_as_ever(tmp_path, number):
    words = [RUN, "a.log", "until", "[", "-e", "go", "]", ";", "do", "sleep", "0.02", ";", "done"]
    process = subprocess.Popen(list(map(str, words)), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    # The job as bash has it: before that its process is still a copy of the launcher, as the guardian is.
    wait_until(lambda: any(command_line(pid)[1:2] == [b"-c"] for pid in children_of(process.pid)))
    (guardian,) = (pid for pid in children_of(process.pid) if command_line(pid)[1:2] != [b"-c"])
    os.kill(guardian, signal.SIGKILL)
    if number is None:
        (tmp_path / "go").touch()
    else:
        process.send_signal(number)
    stderr = process.communicate(timeout=30)[1]
    if number is None:
        assert (process.returncode, stderr) == (0, "")
    else:
        assert process.returncode == 128 + number
        assert stderr == f"run.py: stopped by {number.name}, all jobs ended\n"


def test_no_job_outlives_the_script(tmp_path):
    """If the script that runs the launcher is killed, launcher and jobs end too."""
    name = f"deep-{os.getpid()}-script"
    (tmp_path / "script.sh").write_text('"$@"\necho after\n')
    process = start_deep(tmp_path, name, ["bash", "script.sh"])
    process.kill()
    process.wait(timeout=30)
    wait_until(lambda: not alive(name))


# ----------------------------------------------------------------------------------------------------------- Slurm

SBATCH = """\
#!/usr/bin/env bash
# Runs the tasks in the background; what each task does when it is to be lost stands in the file "lose".
printf '%s\\n' "$*" >>"$FAKE/submitted"
[ ! -e "$FAKE/refuse" ] || { cat "$FAKE/refuse" >&2; exit 1; }
array=; script="${!#}"
while [ $# -gt 1 ]; do [ "$1" != --array ] || array=$2; shift; done
range=${array%\\%*}
range=${range:-1-1}
for n in $(seq "${range%-*}" "${range#*-}"); do
  if [ -e "$FAKE/lose" ]; then continue; fi
  ( touch "$FAKE/active.$n"
    if [ -n "$array" ]; then id=$n; else id=; fi
    env -i PATH="$PATH" FAKE="$FAKE" SLURM_JOB_ID=77 ${id:+SLURM_ARRAY_TASK_ID=$id} bash "$script"
    rm -f "$FAKE/active.$n" ) >/dev/null 2>&1 </dev/null &
done
echo "Submitted batch job 77"
"""
SQUEUE = """\
#!/usr/bin/env bash
for f in "$FAKE"/active.*; do [ ! -e "$f" ] || echo "${f##*.}|RUNNING|None"; done
"""
SCONTROL = '#!/usr/bin/env bash\necho "slurm_load_jobs error: Invalid job id specified" >&2\nexit 1\n'
SACCT = '#!/usr/bin/env bash\necho "${SACCT:-CANCELLED by 0|0:15}"\n'
SCANCEL = '#!/usr/bin/env bash\necho "$1" >>"$FAKE/cancelled"\n'


@pytest.fixture
def cluster(tmp_path):
    """A folder with path.sh, and an environment with a fake Slurm."""
    fake = tmp_path / "fake"
    fake.mkdir()
    for name, text in {
        "sbatch": SBATCH,
        "squeue": SQUEUE,
        "scontrol": SCONTROL,
        "sacct": SACCT,
        "scancel": SCANCEL,
    }.items():
        (fake / name).write_text(text)
        (fake / name).chmod(0o755)
    work = tmp_path / "wo rk"
    work.mkdir()
    (work / "path.sh").write_text("export FROM_PATH=yes\n")
    env = {**os.environ, "PATH": f"{fake}:{os.environ['PATH']}", "FAKE": str(fake), "NOT_EXPORTED": "1"}
    return fake, work, env


def test_slurm_array(cluster):
    fake, work, env = cluster
    words = ["--mem", "2G", "JOB=2:4", "--max-jobs-run", 2, "--num-threads", 3, "exp/log/a JOB.JOB.log"]
    command = ["echo", 'quoted "JOB"', "it's JOB", "$FROM_PATH", "${NOT_EXPORTED-clean}", "$OMP_NUM_THREADS"]
    done = launch(*words, *command, launcher=SLURM, cwd=work, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    text = (work / "exp/log/a 3.3.log").read_text()
    assert '\nquoted "3" it\'s 3 yes clean 3\n' in text
    assert text.startswith(f"# Running on {os.uname().nodename}\n# Started at ")
    assert '\n# echo \'quoted "3"\' "it\'s 3" $FROM_PATH' in text
    assert "\n# SLURM_ARRAY_TASK_ID=3\n" in text
    assert re.search(r"# Finished at .* with status 0\n# Ended \(code 0\)", text)
    assert "threads=3\n" in text
    submitted = (fake / "submitted").read_text()
    exported = "--export=PATH,AVSV_NO_COMMANDS,AVSV_COMMAND_SECONDS,AVSV_MAX_MEGABYTES"
    assert submitted.startswith(f"{exported} --requeue --ntasks=1 --mem 2G --cpus-per-task 3 --open-mode=append ")
    assert "--array 2-4%2" in submitted
    assert f"{work}/exp/q/a .sh" in submitted, "log/q is q"
    assert not list((work / "exp/q").glob("done.*"))


def test_slurm_single_failure(cluster):
    _, work, env = cluster
    done = launch("a.log", "echo", "why", ";", "exit", "4", launcher=SLURM, cwd=work, env=env)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "slurm.py: job failed with status 4, log is in a.log",
        "slurm.py: the last lines of a.log:",
        "  why",
    ]


def test_slurm_failure_of_one_task_of_one(cluster):
    """Kaldi's launcher names the log with an unreplaced variable here."""
    _, work, env = cluster
    done = launch("JOB=3", "d.JOB.log", "false", launcher=SLURM, cwd=work, env=env)
    assert done.stderr.startswith("slurm.py: job failed with status 1, log is in d.3.log\n")


def test_slurm_out_of_memory(cluster):
    _, work, env = cluster
    done = launch(
        "JOB=1:2",
        "d.JOB.log",
        "test",
        "JOB",
        "=",
        "1",
        "||",
        "kill",
        "-9",
        "$BASHPID",
        launcher=SLURM,
        cwd=work,
        env=env,
    )
    assert done.returncode == 1
    assert "slurm.py: 1 / 2 failed, log is in d.*.log" in done.stderr
    assert "job 2 ended with status 137 (killed by signal 9: out of memory?)" in done.stderr


def test_slurm_notices_lost_tasks(cluster):
    """A task that never writes its status is reported within 30 s, with the state from the scheduler."""
    fake, work, env = cluster
    (fake / "lose").touch()
    begin = time.monotonic()
    done = launch("a.log", "true", launcher=SLURM, cwd=work, env={**env, "SACCT": "OUT_OF_MEMORY|0:125"})
    assert time.monotonic() - begin < 30
    assert done.returncode == 1
    assert "job failed with state OUT_OF_MEMORY: use --mem (Slurm job 77), log is in a.log" in done.stderr


def test_slurm_submits_only_what_failed_again(cluster):
    fake, work, env = cluster
    command = ["test", "JOB", "!=", "3", "-a", "JOB", "!=", "4"]
    words = ["--num-tries", 2, "--max-jobs-run", 3, "JOB=1:6", "a.JOB.log"]
    done = launch(*words, *command, launcher=SLURM, cwd=work, env=env)
    assert done.returncode == 1
    arrays = re.findall(r"--array (\S+)", (fake / "submitted").read_text())
    assert arrays == ["1-6%3", "3-4%3"]
    assert sorted(path.name for path in work.glob("a.*.try*")) == ["a.3.log.try1", "a.4.log.try1"]
    assert not list((work / "q").glob("done.*"))


def test_slurm_refusal(cluster):
    fake, work, env = cluster
    (fake / "refuse").write_text("sbatch: error: invalid partition\n")
    done = launch("a.log", "true", launcher=SLURM, cwd=work, env=env)
    assert done.returncode == 1
    assert "slurm.py: error submitting jobs (status 1): sbatch: error: invalid partition: see " in done.stderr
    (fake / "refuse").write_text("sbatch: error: Batch job submission failed: Invalid job array specification\n")
    done = launch("JOB=1:2000", "a.JOB.log", "true", launcher=SLURM, cwd=work, env=env)
    assert done.returncode == 1
    assert "Invalid job array specification: a cluster limits the numbers of tasks (MaxArraySize" in done.stderr
    assert "use fewer jobs (--nj)" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_slurm_cancels_when_stopped(cluster, number):
    fake, work, env = cluster
    process = subprocess.Popen(
        [str(SLURM), "a.log", "touch", "begun", ";", "sleep", "20"], cwd=work, env=env, stderr=subprocess.PIPE
    )
    wait_until((work / "begun").exists)
    process.send_signal(number)
    process.communicate(timeout=20)
    wait_until((fake / "cancelled").exists)
    assert process.returncode == (2 if number == signal.SIGTERM else -signal.SIGKILL)
    wait_until(lambda: (fake / "cancelled").read_text() == "77\n")


def test_slurm_cancels_when_a_launcher_around_it_is_stopped(cluster):
    """As with run.sh --train-jobs: Ctrl-C reaches both launchers, and run.py also sends a signal to slurm.py."""
    fake, work, env = cluster
    (fake / "scancel").write_text(SCANCEL.replace("\n", "\nsleep 1\n", 1))
    words = [RUN, "JOB=1:2", "outer.JOB.log", SLURM, "inner.JOB.log", "touch", "begun.JOB", ";", "sleep", "20"]
    process = subprocess.Popen(
        list(map(str, words)), cwd=work, env=env, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    wait_until(lambda: (work / "begun.1").exists() and (work / "begun.2").exists())
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGINT
    wait_until(lambda: (fake / "cancelled").exists() and (fake / "cancelled").read_text() == "77\n77\n")


CONFIG = """
# a comment
command sbatch --export=PATH   # with a comment
option mem=* --mem-per-cpu $0
option mem=0
option account=* -A $0 --comment "for $0"
default gpu=0
option gpu=0 -p shared
option gpu=* -p gpu --gres=gpu:$0
"""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--export=PATH -p shared --open"),
        (["--gpu", "0", "--mem", "0"], "--export=PATH -p shared --open"),
        (["--gpu", "2", "--mem", "3G"], "--export=PATH -p gpu --gres=gpu:2 --mem-per-cpu 3G --open"),
        (["--account", "us"], "--export=PATH -p shared -A us --comment for us --open"),
        (["-w", "node7", "-V"], "--export=PATH -p shared -w node7 --open"),
    ],
)
def test_slurm_configuration(cluster, options, words):
    fake, work, env = cluster
    (work / "c.conf").write_text(CONFIG)
    done = launch("--config", "c.conf", *options, "a.log", "true", launcher=SLURM, cwd=work, env=env)
    assert done.returncode == 0, done.stderr
    assert words in (fake / "submitted").read_text()


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (CONFIG, ["--tmp", "3"], "option --tmp is not described in c.conf, or its value '3' not allowed"),
        ("option mem=* --mem $0\n", [], 'config file (c.conf) does not contain the line "command .*"'),
        ("command sbatch\nmem 3\n", [], "c.conf:2: 'mem 3' is neither"),
        (None, [], "cannot read the config file c.conf: No such file or directory"),
    ],
)
def test_slurm_bad_configuration(cluster, text, options, message):
    fake, work, env = cluster
    if text:
        (work / "c.conf").write_text(text)
    done = launch("--config", "c.conf", *options, "a.log", "true", launcher=SLURM, cwd=work, env=env)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (fake / "submitted").exists()


def test_slurm_is_not_installed(tmp_path):
    (tmp_path / "python3").symlink_to(sys.executable)
    env = {**os.environ, "PATH": str(tmp_path)}
    done = launch("a.log", "true", launcher=SLURM, cwd=tmp_path, env=env)
    assert done.returncode == 1
    assert "slurm.py: sbatch is not installed" in done.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "2 nodes need a Slurm job: set cuda_cmd to slurm.py in cmd.sh"),
        ({"SLURM_JOB_NUM_NODES": "1"}, "has 1 nodes"),
    ],
)
def test_nodes_need_a_slurm_job(tmp_path, given, message):
    words = ["--nodes", 2, "a.log", ROOT / "utils" / "run_ranks.sh", 2, 1, "-m", "avsv.bin.train"]
    done = launch(*words, cwd=tmp_path, env={**os.environ, **given})
    assert done.returncode == 1
    assert message in done.stderr


def test_doctests_of_the_launcher():
    code = textwrap.dedent("""
        import doctest, launcher, progress, slurm, sys
        sys.exit(sum(doctest.testmod(module).failed for module in (launcher, progress, slurm)))
    """)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT / "utils", check=True)
