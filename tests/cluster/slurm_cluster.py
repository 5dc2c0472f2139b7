"""A real Slurm on one machine: a controller, and several nodes that have their own address, /tmp, processes and name.

Every node is a set of Linux namespaces (network, mounts, processes, host name) with a ``slurmd`` in it, joined to the
others by a bridge. Killing a node's first process ends everything on it, as a power failure would. Everything lies in
one temporary folder and goes away with the cluster. Needs root, ``slurm-wlm``, ``munge``, ``iproute2``, ``util-linux``.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "ip", "unshare", "nsenter")
SUBNET = "10.211.7"
CONTROLLER_PORT, NODE_PORT = 26817, 26818

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}({subnet}.1)
SlurmctldPort={controller_port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmUser=root
SlurmdUser=root
SlurmdPort={node_port}
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
SlurmdParameters=config_overrides
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout={node_timeout_s}
KillWait=5
MinJobAge=3600
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,batch_sched_delay=1
{nodes}
PartitionName=all Nodes=ALL Default=YES State=UP OverSubscribe=FORCE:4
"""


def missing_programs() -> list[str]:
    """Programs this cluster needs and the machine lacks; ``["root"]`` without the rights for namespaces."""
    lacking = [name for name in PROGRAMS if not _program(name)]
    return lacking if os.geteuid() == 0 else ["root", *lacking]


@dataclass
class _Node:
    name: str
    address: str
    init: subprocess.Popen[bytes]
    daemon: subprocess.Popen[bytes] | None = None


class SlurmCluster:
    """A running Slurm of ``nodes`` nodes, ended with the context.

    Args:
        nodes: How many.
        visible: Folders that all nodes see at their usual path, as on a shared file system.
        hosts: Extra text for a node's /etc/hosts, from its name and address.
        node_timeout_s: Seconds until the controller believes that a silent node is lost.
    """

    def __init__(
        self,
        nodes: int,
        *,
        visible: Sequence[Path] = (),
        hosts: Callable[[str, str], str] = lambda name, address: f"{address} {name}\n",
        node_timeout_s: int = 10,
    ) -> None:
        # not below /tmp, which every node has for itself; short, since paths of sockets are bounded
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/var/tmp"))
        self._visible = [path.resolve() for path in visible]
        self._hosts = hosts
        self._node_timeout_s = node_timeout_s
        self._bridge = f"sl{secrets.token_hex(3)}"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.nodes = {f"n{index}": f"{SUBNET}.{10 + index}" for index in range(1, nodes + 1)}
        self._running: dict[str, _Node] = {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self._running.values():
            _end(node.init)
        for daemon in reversed(self._daemons):
            _end(daemon)
        subprocess.run(["ip", "link", "delete", self._bridge], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *command: str | Path, check: bool = True, **environment: str) -> str:
        """Standard output of one of Slurm's commands, run against this cluster."""
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """A job's state: PENDING, RUNNING, COMPLETED, FAILED, ..."""
        fields = dict(part.split("=", 1) for part in self.run("scontrol", "show", "job", job).split() if "=" in part)
        return fields["JobState"]

    def exit_code(self, job: str) -> int:
        """What a job's script ended with."""
        fields = dict(part.split("=", 1) for part in self.run("scontrol", "show", "job", job).split() if "=" in part)
        return int(fields["ExitCode"].partition(":")[0])

    def wait_until(self, condition: Callable[[], bool], *, within_s: float, what: str) -> None:
        """Wait for ``condition``; an AssertionError with the daemons' last lines when it stays false."""
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in self.folder.glob("*.log"))
                raise AssertionError(f"not within {within_s:.0f} s: {what}\n{self.run('sinfo', '-N')}\n{logs}")
            time.sleep(0.5)

    def wait_ended(self, job: str, *, within_s: float) -> str:
        """The state a job ended in."""
        going = {"PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED"}
        self.wait_until(lambda: self.state(job) not in going, within_s=within_s, what=f"job {job} ends")
        return self.state(job)

    def kill_node(self, name: str) -> None:
        """End a node and everything on it at once, as a power failure would."""
        _end(self._running[name].init)

    def start_node(self, name: str) -> None:
        """Start a node, also one that was killed."""
        address = self.nodes[name]
        tmp = self.folder / f"tmp-{name}"
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir(mode=0o1777)
        hosts = self.folder / f"hosts-{name}"
        others = "".join(f"{ip} {node}\n" for node, ip in self.nodes.items() if node != name)
        hosts.write_text(
            f"127.0.0.1 localhost\n{self._hosts(name, address)}{others}{SUBNET}.1 {socket.gethostname()}\n"
        )
        lines = [f"hostname {name}", "mount --make-rprivate /", f"mount --bind {hosts} /etc/hosts"]
        for path in self._visible:
            if path.is_relative_to("/tmp"):
                inside = tmp / path.relative_to("/tmp")
                lines += [f"mkdir -p {inside}", f"mount --bind {path} {inside}"]
        lines += [
            f"mount --rbind {tmp} /tmp",
            "mount -t tmpfs tmpfs /dev/shm",
            "ip link set lo up",
            "exec sleep infinity",
        ]
        script = " && ".join(lines)
        command = ["unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        init = subprocess.Popen([*command, "bash", "-c", script], stdin=subprocess.DEVNULL)
        self._running[name] = node = _Node(name, address, init)
        deadline = time.monotonic() + 20
        while not (inner := _child_of(init.pid)) or "sleep" not in _command_of(inner):
            assert time.monotonic() < deadline, f"node {name} did not start"
            time.sleep(0.05)
        outside, inside_name = f"{self._bridge}{name[1:]}", f"{self._bridge}p{name[1:]}"
        self.run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside_name)
        self.run("ip", "link", "set", outside, "master", self._bridge, "up")
        self.run("ip", "link", "set", inside_name, "netns", str(inner))
        enter = ["nsenter", "--target", str(inner), "--net", "--uts", "--mount", "--pid"]
        self.run(*enter, "ip", "link", "set", inside_name, "name", "eth0")
        self.run(*enter, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        self.run(*enter, "ip", "link", "set", "eth0", "up")
        node.daemon = self._spawn(*enter, "slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def processes(self, name: str) -> list[str]:
        """Command lines of a node's processes other than its first one and Slurm's daemon."""
        inner = _child_of(self._running[name].init.pid)
        enter = ["nsenter", "--target", str(inner), "--mount", "--pid"]
        lines = self.run(*enter, "ps", "-eo", "args", "--no-headers").splitlines()
        ours = ("sleep infinity", "slurmd ", "ps ", "nsenter ")
        return [line for line in lines if not line.startswith(ours) and "<defunct>" not in line]

    def _start(self) -> None:
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(64))
        key.chmod(0o600)
        self.folder.chmod(0o755)
        self.run("ip", "link", "add", self._bridge, "type", "bridge")
        self.run("ip", "address", "add", f"{SUBNET}.1/24", "dev", self._bridge)
        self.run("ip", "link", "set", self._bridge, "up")
        nodes = "\n".join(
            f"NodeName={name} NodeAddr={address} NodeHostname={name} CPUs=4 RealMemory=4000 State=UNKNOWN"
            for name, address in self.nodes.items()
        )
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname(),
                subnet=SUBNET,
                folder=self.folder,
                nodes=nodes,
                controller_port=CONTROLLER_PORT,
                node_port=NODE_PORT,
                node_timeout_s=self._node_timeout_s,
            )
        )
        parts = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        munge = [f"--{option}={self.folder / name}" for option, name in {**parts, "seed-file": "munge.seed"}.items()]
        self._spawn("munged", "--foreground", "--force", *munge)
        self.wait_until((self.folder / "munge.socket").exists, within_s=20, what="munge starts")
        self._spawn("slurmctld", "-D", "-c", "-i", "-f", str(self.folder / "slurm.conf"))
        for name in self.nodes:
            self.start_node(name)
        everyone = len(self.nodes)
        self.wait_until(
            lambda: self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).count("n") == everyone,
            within_s=60,
            what="all nodes are idle",
        )

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        program = _program(command[0]) or command[0]
        log = (self.folder / f"{command[0]}.out").open("ab")
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        with log:
            daemon = subprocess.Popen(
                [program, *command[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        self._daemons.append(daemon)
        return daemon


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _child_of(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
    except OSError:
        return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)  # of a node: --kill-child ends its first process, and so all the others
        process.wait(20)
