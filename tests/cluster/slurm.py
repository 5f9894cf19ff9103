"""A Slurm cluster of two nodes on this machine, in a folder of its own, beside any others.

Its nodes are named 127.0.0.1 and 127.0.0.2: JAX connects to the first name of the node list, and
these need no name service.
"""

import contextlib
import getpass
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

NODES = ("127.0.0.1", "127.0.0.2")
DAEMONS, CLIENTS = (
    ("slurmctld", "slurmd"), ("sbatch", "srun", "scontrol", "sinfo", "squeue", "scancel"),
)  # fmt: skip
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
UNFINISHED = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED"}
BOUNDED = 400
"""Seconds in which a job of a test must be where the test expects it."""

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
MinJobAge=86400
SchedulerParameters=bf_interval=1,batch_sched_delay=0
GresTypes=gpu
FirstJobId={first_job}
NodeName=127.0.0.1 NodeHostname={host} Port={ports[1]} CPUs=64 Gres=gpu:8
NodeName=127.0.0.2 NodeHostname={host} Port={ports[2]} CPUs=64 Gres=gpu:8
PartitionName=all Nodes=ALL Default=YES
"""


def missing():
    """What this machine lacks to run Slurm, in words; empty if nothing."""
    programs = [name for name in DAEMONS + CLIENTS if not shutil.which(name, path=PATH)]
    if programs:
        return f"no {', '.join(programs)}: install slurm-wlm"
    try:
        for name in NODES:
            with socket.socket() as s:
                s.bind((name, 0))
    except OSError:
        return f"{name} is not a loopback address here"
    return ""


class Cluster:
    """A running cluster; ``environment`` has what Slurm's programs need to find it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.daemons = {}
        others = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH"))}
        self.environment = others | {
            "PATH": PATH, "SLURM_CONF": f"{folder}/slurm.conf", "MCJAX_CACHE": f"{folder}/cache",
        }  # fmt: skip
        self._configure()

    def _configure(self):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            for s in sockets:
                s.bind(("127.0.0.1", 0))
            ports = [s.getsockname()[1] for s in sockets]
        text = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname().split(".")[0],
            user=getpass.getuser(),
            ports=ports,
            first_job=random.SystemRandom().randrange(1000, 10**7),
        )  # fmt: skip  (JAX's port depends on the job's number: other clusters need others)
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(text)
        for i in range(8):
            (self.folder / f"gpu{i}").touch()  # Slurm only counts them
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-7]\n")

    def start(self):
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for node in NODES:
            self.start_node(node)

    def start_node(self, node):
        (self.folder / node).mkdir(exist_ok=True)
        self._start(node, "slurmd", "-D", "-N", node)
        self.wait_for(lambda: self.node_state(node) == "idle", f"{node} is not idle")

    def _start(self, name, program, *options):
        with (self.folder / f"{name}.err").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(program, path=PATH), *options], stdout=log, stderr=log,
                env=self.environment, cwd=self.folder,
            )  # fmt: skip

    def node_state(self, node):
        return self.run("sinfo", "-h", "-N", "-n", node, "-o", "%T", check=False).strip()

    def wait_for(self, condition, message, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(p.read_text()[-2000:] for p in sorted(self.folder.glob("*.log")))
                raise AssertionError(f"after {seconds} s: {message}\n{logs}")
            time.sleep(0.2)

    def run(self, *command, check=True):
        """Runs one of Slurm's programs; returns its standard output."""
        found = subprocess.run(
            command, env=self.environment, text=True, capture_output=True, timeout=BOUNDED
        )
        assert found.returncode == 0 or not check, found.stderr
        return found.stdout

    def submit(self, script, *options):
        """Submits a script, its text or a path, from the current folder; returns the `Job`."""
        path = Path(script)
        if "\n" in str(script):
            path = self.folder / f"{len([*self.folder.glob('*.sh')])}.sh"
            path.write_text(script)
        output = f"--output={self.folder}/%A.%a.out"
        return Job(self, self.run("sbatch", "--parsable", output, *options, str(path)).strip())

    def processes(self):
        """Every process of a job of this cluster, by the variable that all of them inherit."""
        mine = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        ours = {os.getpid(), *(p.pid for p in self.daemons.values())}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mine in path.read_bytes().split(b"\0") and int(path.parent.name) not in ours:
                    yield int(path.parent.name)

    def stop(self):
        """Ends all jobs and daemons by their process ids."""
        controller, *nodes = self.daemons.values()
        self._end(controller)
        for node in nodes:
            node.terminate()  # it waits for its jobs
        self.wait_for(self._killed, "jobs are still running")
        for node in nodes:
            self._end(node)

    def _end(self, daemon):
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(timeout=10)
        daemon.kill()
        daemon.wait()

    def _killed(self):
        left = [*self.processes()]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left


class Job(NamedTuple):
    """A submitted job, or an array of them."""

    cluster: Cluster
    id: str

    def tasks(self):
        """What Slurm knows of it, a dictionary for each task of an array: JobState, ExitCode ..."""
        lines = self.cluster.run("scontrol", "show", "job", "-o", self.id).splitlines()
        return [dict(word.partition("=")[::2] for word in line.split()) for line in lines]

    def states(self):
        return [task["JobState"] for task in self.tasks()]

    def wait(self, state=None, seconds=BOUNDED):
        """Waits until all of it has the state, or is finished; returns the states."""

        def there():
            states = {*self.states()}
            return states == {state} if state else not states & UNFINISHED

        self.cluster.wait_for(there, f"{self.states()}\n{self.output()}", seconds)
        return self.states()

    def output(self):
        """What it has written so far, on both streams."""
        paths = sorted(self.cluster.folder.glob(f"{self.id}.*.out"))
        return "".join(path.read_text() for path in paths)
