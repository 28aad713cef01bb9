"""A private Slurm cluster on this machine: munged, slurmctld and two slurmd on loopback, which end with their parent.

Nothing outside a temporary folder is read or written, and an existing Slurm of the machine is not affected. By hand,
``python tests/helpers/slurm_cluster.py COMMAND...`` runs a command with such a cluster around it.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ports import free_ports

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
# Debian installs the daemons in a folder that only root has in its PATH.
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
NODES = ("one", "two")
SECONDS_TO_START = 20.0

CONFIG = """\
ClusterName=private
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=100000,batch_sched_delay=0
DefMemPerCPU=100
GresTypes=gpu
KillWait=10
SlurmdTimeout=6
InactiveLimit=0
ReturnToService=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=1:00:00 State=UP
PartitionName=urgent Nodes={names} PriorityTier=9 MaxTime=1:00:00 State=UP
"""
NODE = (
    "NodeName={name} NodeAddr=127.0.0.1 NodeHostname={host} Port={port} CPUs=4 RealMemory=4000 Gres=gpu:2 State=UNKNOWN"
)


def why_not() -> str | None:
    """Why no cluster can be started here; None if it can."""
    if os.geteuid() != 0:
        return "only root can start Slurm's daemons"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=SEARCH)]
    if missing:
        return f"{', '.join(missing)} not installed: tools/setup.sh --tests"
    return None


def _marked(mark: str) -> list[int]:
    """Processes with ``mark`` in their environment: daemons, steps and jobs of one cluster."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found


class Cluster:
    """A running cluster of two nodes with four CPUs, 4,000 MB and two (simulated) GPUs each; a context manager.

    Attributes:
        folder: folder of its configuration, key, state and logs.
        environment: environment variables for programs that use it.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": SEARCH}
        self._daemons: dict[str, subprocess.Popen] = {}
        self._guard = -1

    def __enter__(self) -> "Cluster":
        self._start_guard()
        try:
            self._configure()
            self._start("munged", "--foreground", *self._munge_options())
            self._until("munged", lambda: (self.folder / "munge.socket").exists())
            self._start("slurmctld", "-D")
            for name in NODES:
                self.start_node(name)
            self._until("nodes", lambda: all(self.node_state(name) == "IDLE" for name in NODES))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, error, trace) -> None:
        os.close(self._guard)
        os.waitpid(self._guard_pid, 0)
        for process in self._daemons.values():
            process.wait()

    def _start_guard(self) -> None:
        """A process that cleans up as soon as this one closes its pipe or ends."""
        end, self._guard = os.pipe()
        self._guard_pid = os.fork()
        if self._guard_pid == 0:
            try:
                os.setsid()
                os.close(self._guard)
                null = os.open(os.devnull, os.O_RDWR)
                for descriptor in range(3):
                    os.dup2(null, descriptor)
                os.read(end, 1)
                self._clean_up()
            finally:
                os._exit(0)
        os.close(end)

    def _clean_up(self) -> None:
        while marked := _marked(self._mark):
            for pid in marked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _mark(self) -> str:
        return f"SLURM_CONF={self.environment['SLURM_CONF']}"

    def _munge_options(self) -> list[str]:
        names = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        return [f"--{option}={self.folder}/munge.{name}" for option, name in names.items()]

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        controller, *ports = free_ports(1 + len(NODES))
        nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports, strict=True)]
        (self.folder / "slurm.conf").write_text(
            CONFIG.format(
                host=host, controller=controller, folder=self.folder, nodes="\n".join(nodes), names=",".join(NODES)
            )
        )
        for number in range(2):
            (self.folder / f"gpu{number}").symlink_to("/dev/null")  # must be a device
        (self.folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu File={self.folder}/gpu[0-1]\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "state").mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(64))
        key.chmod(0o600)
        # All users must be able to access the socket of munged.
        self.folder.chmod(0o755)

    def _start(self, program: str, *options: str, name: str = "") -> None:
        path = shutil.which(program, path=SEARCH)
        with (self.folder / f"{program}{name}.out").open("ab") as output:
            self._daemons[program + name] = subprocess.Popen(
                [path, *options], env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def start_node(self, name: str) -> None:
        """Start the daemon of a node."""
        self._start("slurmd", "-D", "-N", name, name=f".{name}")

    def kill_node(self, name: str) -> None:
        """Kill the daemon of a node and everything that runs on it, like a power failure."""
        self._daemons[f"slurmd.{name}"].kill()
        self._daemons[f"slurmd.{name}"].wait()
        jobs = set(_marked(f"SLURMD_NODENAME={name}\0")) & set(_marked(self._mark))
        # First the processes that Slurm itself runs for a job: they would report how it ended.
        parents = {int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in jobs}
        for pid in [*(pid for pid in parents - jobs if "slurmstepd" in Path(f"/proc/{pid}/comm").read_text()), *jobs]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, *words: str) -> str:
        """Run a Slurm command and return its output."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def node_state(self, name: str) -> str:
        """State of a node, such as IDLE."""
        return self.run("sinfo", "-h", "-n", name, "-o", "%T").strip().upper()

    def _until(self, what: str, condition) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not condition():
            gone = [name for name, process in self._daemons.items() if process.poll() is not None]
            if gone or time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.[ol][uo][tg]"))
                raise RuntimeError(f"private Slurm: {what} not ready, {gone or 'none'} gone:\n{logs}")
            time.sleep(0.05)


if __name__ == "__main__":
    if reason := why_not():
        sys.exit(f"no private Slurm: {reason}")
    with Cluster() as cluster:
        sys.exit(subprocess.run(sys.argv[1:], env=cluster.environment, check=False).returncode)
