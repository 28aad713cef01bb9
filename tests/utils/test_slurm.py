"""Slurm itself, on this machine: stages of the recipe, and messages when jobs are killed, wait or move."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import ROOT
from ranks import join_ranks, start_ranks
from slurm_cluster import Cluster, why_not
from synthetic import make_data_dir, make_trials, trained_weights, write_config

from avsv.io.ark import read_rows
from avsv.io.lists import read_list
from avsv.train.material import Sources
from avsv.train.run import train_system

pytestmark = pytest.mark.cluster

# Seconds in which a lost task must be noticed.
NOTICED = 30.0


@pytest.fixture(scope="module")
def cluster():
    if reason := why_not():
        pytest.skip(f"no Slurm here: {reason}")
    with Cluster() as running:
        yield running


@pytest.fixture
def work(tmp_path) -> Path:
    """A folder with an empty path.sh to run jobs in."""
    (tmp_path / "path.sh").touch()
    return tmp_path


class Launch:
    """A running command of the recipe, in its own session, with the environment of the cluster."""

    def __init__(self, cluster: Cluster, folder: Path, *words: str | Path) -> None:
        self.cluster = cluster
        self.begin = time.monotonic()
        environment = {**cluster.environment, "PATH": f"{ROOT}/utils:{cluster.environment['PATH']}"}
        self._log = folder / f".launch-{time.monotonic_ns()}"
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                list(map(str, words)),
                cwd=folder if (folder / "path.sh").exists() else ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def said(self) -> str:
        """The output so far."""
        return self._log.read_text()

    def until(self, condition: Callable[[], object], seconds: float = 120.0) -> None:
        """Wait for a condition while it runs."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"ended too early:\n{self.said()}"
            assert time.monotonic() < deadline, f"waited too long; so far:\n{self.said()}\n{self.cluster.run('squeue')}"
            time.sleep(0.02)

    def end(self, seconds: float = 180.0) -> int:
        """Wait for its end and return the exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"not at its end; so far:\n{self.said()}\n{self.cluster.run('squeue')}") from None

    def job(self) -> str:
        """The id of the only job in the queue, when there is one."""
        self.until(lambda: self.cluster.run("squeue", "-h", "-o", "%F").split())
        (job,) = set(self.cluster.run("squeue", "-h", "-o", "%F").split())
        return job


# ------------------------------------------------------------------------------------------------------------- tasks


def assert_stage_runs(cluster: Cluster, folder: Path, launcher: str) -> None:
    """Make features in two jobs and compare them with features that were made here."""
    source = make_data_dir(folder / "source", 2, 2)
    data = folder / "data"
    data.mkdir()
    shutil.copy(source / "wav.scp", data)
    step = ["steps/make_fbank.sh", "--nj", "2", "--cmd", launcher, "--config", source / "fbank.yaml", data]
    launched = Launch(cluster, folder, *step)
    assert launched.end() == 0, launched.said()
    assert "# SLURM_ARRAY_TASK_ID=2\n" in (data / "log" / "make_fbank.2.log").read_text()
    expected, made = read_list(source / "feats.scp"), read_list(data / "feats.scp")
    assert expected.keys() == made.keys() and len(made) == 4
    for key, where in made.items():
        np.testing.assert_array_equal(read_rows(where), read_rows(expected[key]))


def test_a_parallel_stage_of_the_recipe(cluster, tmp_path):
    (tmp_path / "a folder").mkdir()
    assert_stage_runs(cluster, tmp_path / "a folder", "slurm.py --mem 3G")


def test_a_parallel_stage_with_kaldis_own_slurm_pl(cluster, tmp_path):
    root = os.environ.get("KALDI_ROOT")
    if not root:
        pytest.skip("KALDI_ROOT is not set: Kaldi's own slurm.pl is not tried")
    assert_stage_runs(cluster, tmp_path, f"{root}/egs/wsj/s5/utils/parallel/slurm.pl --mem 3G")


def test_lost_tasks_are_noticed_told_and_tried_again(cluster, work):
    """One task is killed, one canceled, one takes too much memory, one fails; only these four run again."""
    (work / "task.sh").write_text("""
echo "$1" >>ran
echo "this is task $1"
mkdir "been.$1" || exit 0
case $1 in
  1) ;;
  2) echo $BASHPID >pid; exec sleep 600 ;;
  3) touch waits; exec sleep 600 ;;
  4) exec python3 -c 'import time; block = bytearray(200_000_000); time.sleep(600)' ;;
  5) exit 5 ;;
esac
""")
    words = ["--mem", "100M", "--num-tries", "2", "JOB=1:5", "log/a.JOB.log", "bash", "task.sh", "JOB"]
    launched = Launch(cluster, work, "slurm.py", *words)
    launched.until(lambda: (work / "pid").exists() and (work / "pid").read_text() and (work / "waits").exists())
    os.kill(int((work / "pid").read_text()), signal.SIGKILL)
    cluster.run("scancel", f"{launched.job()}_3")
    begin = time.monotonic()
    launched.until(lambda: "try 2 of 2" in launched.said())
    assert time.monotonic() - begin < NOTICED
    assert launched.end() == 0, launched.said()
    lines = launched.said().splitlines()
    assert lines[0] == "slurm.py: 4 / 5 failed: try 2 of 2 (old logs: log/a.*.log.try1)"
    assert lines[1] == "slurm.py: job 2 ended with status 137 (killed by signal 9: out of memory?)"
    assert lines[2].startswith("slurm.py: job 3 ended with state CANCELLED: by you or an administrator (Slurm job ")
    # If Slurm confines jobs with cgroups, the state is OUT_OF_MEMORY; here it kills jobs that it finds too large.
    assert lines[3].startswith("slurm.py: job 4 ended with state FAILED: killed by signal 9, out of memory? (Slurm ")
    assert lines[4:] == ["slurm.py: job 5 ended with status 5"]
    assert sorted((work / "ran").read_text().split()) == list("122334455")
    assert "\nthis is task 5\n" in (work / "log" / "a.5.log").read_text()


def test_the_end_of_the_log_is_shown(cluster, work):
    launched = Launch(cluster, work, "slurm.py", "JOB=1:2", "a.JOB.log", "echo", "why JOB", "&&", "exit", "JOB")
    assert launched.end() == 1
    assert launched.said().splitlines() == [
        "slurm.py: 2 / 2 failed, log is in a.*.log",
        "slurm.py: job 1 ended with status 1",
        "slurm.py: job 2 ended with status 2",
        "slurm.py: the last lines of a.1.log:",
        "  why 1",
    ]


def test_drained_nodes_are_told(cluster, work):
    cluster.run("scontrol", "update", "nodename=one,two", "state=drain", "reason=testing")
    try:
        launched = Launch(cluster, work, "slurm.py", "a.log", "echo", "at last")
        launched.until(lambda: "\n" in launched.said())
        job = launched.job()
        assert launched.said().startswith(
            f"slurm.py: Slurm job {job}: waiting in the queue: the nodes for it are down, drained or reserved,"
            " see 'sinfo -R' (Slurm's reason: "
        )
    finally:
        cluster.run("scontrol", "update", "nodename=one,two", "state=resume")
    assert launched.end() == 0
    assert "\nat last\n" in (work / "a.log").read_text()


def test_resources_reach_the_job(cluster, work):
    command = [
        "echo",
        "has",
        "$CUDA_VISIBLE_DEVICES",
        "$SLURM_CPUS_PER_TASK",
        "$OMP_NUM_THREADS",
        "$SLURM_MEM_PER_NODE",
    ]
    words = ["--gpu", "2", "--num-threads", "3", "--mem", "200M", "--time", "5:00", "a.log", *command]
    assert Launch(cluster, work, "slurm.py", *words).end() == 0
    assert "\nhas 0,1 3 3 200\n" in (work / "a.log").read_text()


def test_limits_reach_the_job(cluster, work, monkeypatch):
    """Commands in lists are turned off on the nodes too; limits that are not set keep their defaults."""
    monkeypatch.setitem(cluster.environment, "AVSV_NO_COMMANDS", "1")
    words = ["a.log", "echo", "no commands $AVSV_NO_COMMANDS, megabytes ${AVSV_MAX_MEGABYTES-not set}"]
    assert Launch(cluster, work, "slurm.py", "--config", ROOT / "conf/slurm.conf", *words).end() == 0
    assert "\nno commands 1, megabytes not set\n" in (work / "a.log").read_text()


@pytest.mark.slow
def test_work_continues_after_the_time_limit(cluster, work):
    """Slurm's shortest limit is a minute. SIGTERM comes first; --num-tries submits the job again."""
    (work / "task.sh").write_text("""
[ ! -e saved ] || { echo "going on"; exit 0; }
trap 'touch saved; exit 143' TERM
sleep 600 & wait
""")
    launched = Launch(cluster, work, "slurm.py", "--time", "1", "--num-tries", "2", "a.log", "bash", "task.sh")
    assert launched.end() == 0, launched.said()
    assert "slurm.py: job 1 ended with state TIMEOUT: use more jobs, or --time (Slurm job " in launched.said()
    assert "\ngoing on\n" in (work / "a.log").read_text()


def test_no_job_outlives_the_launcher(cluster, work):
    launched = Launch(cluster, work, "slurm.py", "JOB=1:3", "a.JOB.log", "sleep", "600")
    job = launched.job()
    launched.until(lambda: (work / "a.3.log").exists())
    launched.process.kill()
    launched.process.wait()
    deadline = time.monotonic() + 20
    while job in cluster.run("squeue", "-h", "-t", "R,PD", "-o", "%F"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---------------------------------------------------------------------------------------------------------- training

EPOCHS = 12


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A folder with train, dev and the configuration of a system."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("a corpus")
    make_data_dir(folder / "train", 6, 4)
    make_data_dir(folder / "dev", 4, 3, seed=5)
    make_trials(folder / "dev")
    write_config(folder / "A.yaml", "A", train={"epochs": EPOCHS, "checkpoint_minutes": 1e-9})
    return folder


@pytest.fixture(scope="module")
def undisturbed(corpus) -> Callable[[int], dict]:
    """The weights of an undisturbed training in a number of processes."""
    known: dict[int, dict] = {}

    def weights(world: int) -> dict:
        def train(_rank: int) -> None:
            sources = Sources(corpus / "train", corpus / "dev", corpus / "train" / "fbank.yaml")
            train_system(corpus / "A.yaml", sources, corpus / f"in {world}")

        if world not in known:
            assert join_ranks(start_ranks(world, train)) == [0] * world
            known[world] = trained_weights(corpus / f"in {world}")
        return known[world]

    return weights


def train(cluster: Cluster, corpus: Path, exp: Path, *options: str, launcher: str = "slurm.py --mem 3G") -> Launch:
    options += ("--num-workers", "0", "--cmd", launcher, "--fbank-config", str(corpus / "train" / "fbank.yaml"))
    step = ["steps/train.sh", *options, corpus / "A.yaml", corpus / "train", corpus / "dev", exp]
    return Launch(cluster, exp.parent, *step)


def log_of(exp: Path) -> str:
    path = exp / "log" / "train.log"
    return path.read_text() if path.exists() else ""


def is_under_way(exp: Path) -> Callable[[], bool]:
    """Wait for a checkpoint that is newer than the existing ones."""
    before = set(exp.glob("checkpoints/epoch-*.pt"))
    return lambda: bool(set(exp.glob("checkpoints/epoch-*.pt")) - before)


def assert_same(exp: Path, expected: dict) -> None:
    weights = trained_weights(exp)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


def process_of(cluster: Cluster, rank: int | None = None) -> int:
    """The process of a rank of the training, or of a training without ranks."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = f"SLURM_CONF={cluster.environment['SLURM_CONF']}".encode() in variables
        # The launcher has these words too, but it is not in a job.
        ours = ours and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
        ours = ours and (rank is None or f"RANK={rank}".encode() in variables)
        if ours and b"avsv.bin.train" in words:
            return int(folder.name)
    raise AssertionError(f"no process of rank {rank}")


@contextlib.contextmanager
def held(pid: int) -> Iterator[None]:
    """Stop a process until it is requested to end or to continue."""
    os.kill(pid, signal.SIGSTOP)
    yield
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline, "not asked"
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if "T" not in status["State"] or int(status["ShdPnd"], 16) >> signal.SIGTERM - 1 & 1:
            break
        time.sleep(0.02)
    os.kill(pid, signal.SIGCONT)


def launcher_of(launched: Launch) -> int:
    """The process of slurm.py below a step: the first of two, the other being its guardian."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if os.getsid(int(folder.name)) == launched.process.pid and words[1:2] and words[1].endswith(b"slurm.py"):
                pids.append(int(folder.name))
    return min(pids)


def test_preempted_training_resumes_exactly(cluster, corpus, undisturbed, tmp_path):
    """A job with priority takes the nodes: the training saves, exits, and resumes when the nodes are free again."""
    exp = tmp_path / "exp"
    launched = train(cluster, corpus, exp)
    launched.until(is_under_way(exp))
    with held(process_of(cluster)):  # otherwise it may end before it is preempted
        cluster.run("sbatch", "-p", "urgent", "--nodes", "2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    launched.until(lambda: "train: stopped by SIGTERM; run again to resume\n" in log_of(exp))
    assert launched.end() == 0, launched.said()
    assert log_of(exp).count("# SLURM_RESTART_COUNT=1\n") == 1
    assert "resuming at epoch " in log_of(exp)
    assert_same(exp, undisturbed(1))


def test_a_killed_rank_ends_the_training_on_all_nodes(cluster, corpus, tmp_path):
    """Two nodes: kill -9 of a rank soon gives an error with its cause."""
    exp = tmp_path / "exp"
    launched = train(cluster, corpus, exp, "--nodes", "2")
    launched.until(is_under_way(exp))
    os.kill(process_of(cluster, 1), signal.SIGKILL)
    begin = time.monotonic()
    assert launched.end(60) == 1
    assert time.monotonic() - begin < NOTICED
    assert "slurm.py: job failed with status 137 (killed by signal 9: out of memory?), log is in " in launched.said()
    assert "run_ranks: rank 1 was killed by SIGKILL (out of memory?) on " in log_of(exp)
    assert not (exp / "final.pt").exists()


@pytest.mark.slow
def test_a_requeued_training_on_two_nodes_resumes_exactly(cluster, corpus, undisturbed, tmp_path):
    exp = tmp_path / "exp"
    launched = train(cluster, corpus, exp, "--nodes", "2")
    launched.until(is_under_way(exp))
    cluster.run("scontrol", "requeue", launched.job())
    assert launched.end() == 0, launched.said()
    assert log_of(exp).count("train: stopped by SIGTERM; run again to resume\n") == 2
    assert_same(exp, undisturbed(2))


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["job", "launcher", "script", "script and launcher", "rank 0", "rank 1", "torchrun"])
def test_killed_training_resumes_exactly(cluster, corpus, undisturbed, tmp_path, victim):
    """Kill -9 of the Slurm job, of slurm.py, of its parent, of either rank and of the torchrun of a node."""
    exp = tmp_path / "exp"
    launched = train(cluster, corpus, exp, "--nodes", "2")
    launched.until(is_under_way(exp))
    job = launched.job()
    if victim == "job":
        cluster.run("scancel", "--signal=KILL", "--full", job)
    elif victim == "launcher":
        os.kill(launcher_of(launched), signal.SIGKILL)
    elif victim == "script":
        launched.process.kill()
    elif victim == "script and launcher":
        os.killpg(launched.process.pid, signal.SIGKILL)
    else:
        pid = process_of(cluster, 1 if victim == "rank 1" else 0)
        if victim == "torchrun":
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(pid, signal.SIGKILL)
    assert launched.end(60) != 0
    # The jobs of killed launchers are canceled, which takes a moment; a new training waits in the queue meanwhile.
    again = train(cluster, corpus, exp, "--nodes", "2")
    assert again.end() == 0, again.said()
    assert "resuming at epoch " in log_of(exp)
    assert_same(exp, undisturbed(2))


@pytest.mark.slow
def test_training_moves_when_its_node_dies(cluster, corpus, undisturbed, tmp_path):
    exp = tmp_path / "exp"
    launched = train(cluster, corpus, exp)
    launched.until(is_under_way(exp))
    node = cluster.run("squeue", "-h", "-o", "%N").strip()
    cluster.kill_node(node)
    try:
        assert launched.end() == 0, launched.said()
    finally:
        cluster.start_node(node)
    assert log_of(exp).count("\n# SLURMD_NODENAME=") == 2
    assert "resuming at epoch " in log_of(exp)
    assert_same(exp, undisturbed(1))
