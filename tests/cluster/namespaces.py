"""Ray nodes that have a network of their own each: namespaces of this machine on one bridge, as far apart as hosts."""

import itertools
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
BRIDGE = "sa2va0"
NETWORK = "10.77.0"
PORT = 6379
START_S = 120
_NUMBERS = itertools.count(1)
"""Names are not used twice: the kernel takes its time to forget one."""


def can_make_namespaces() -> bool:
    """Whether this user may make network namespaces and bridges here."""
    name = f"probe{os.getpid()}"
    commands = (["ip", "netns", "add", name], ["ip", "link", "add", name[:15], "type", "bridge"])
    try:
        made = [subprocess.run(command, capture_output=True).returncode == 0 for command in commands]
    except FileNotFoundError:
        return False
    for command in (["ip", "link", "del", name[:15]], ["ip", "netns", "del", name]):
        subprocess.run(command, capture_output=True)
    return all(made)


@dataclass
class Node:
    """A Ray node in a namespace.

    Attributes:
        name: Of the namespace and of the interface that leads to it.
        address: In the network of all nodes.
        processes: Started in it.
    """

    name: str
    address: str
    folder: Path
    environment: Mapping[str, str]
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *command: str, log: str, **environment: str) -> subprocess.Popen:
        """Start a program in the namespace; what it says goes to ``log`` in the node's folder."""
        with (self.folder / log).open("ab") as sink:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                env={**os.environ, **self.environment, **environment},
                stdout=sink,
                stderr=sink,
                cwd="/",
            )
        self.processes.append(process)
        return process

    def text(self, log: str) -> str:
        """What a program said."""
        return (self.folder / log).read_text(errors="replace")

    def cut_off(self) -> None:
        """Take the node's cable out."""
        _ip("link", "set", f"{self.name}-b", "down")

    def reconnect(self) -> None:
        """Put it back."""
        _ip("link", "set", f"{self.name}-b", "up")

    def end(self) -> None:
        """End everything in the namespace, and remove it."""
        for process in self.processes:
            try:
                for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
                    one.kill()
            except psutil.Error:
                continue
        inside = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True).stdout.split()
        subprocess.run(["kill", "-9", *inside], capture_output=True)
        for process in self.processes:
            process.wait(30)
        for command in (["link", "del", f"{self.name}-b"], ["netns", "del", self.name]):
            subprocess.run(["ip", *command], capture_output=True)


class Nodes:
    """A head and the nodes that join it, with token authentication.

    Args:
        folder: For temporary files; short, since Unix sockets live in it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: list[Node] = []
        self._token = secrets.token_hex(16)
        self.head = self._node()
        self._start_ray(self.head, "--head", f"--port={PORT}", "--include-dashboard=false", "--num-cpus=1")
        self._wait_until(lambda: self.living() >= 1, self.head)

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self.head.address}:{PORT}"

    def add(self, *options: str, **environment: str) -> Node:
        """A node more; returns when it has joined."""
        before = self.living()
        node = self._node()
        self._start_ray(node, f"--address={self.address}", "--num-cpus=1", *options, **environment)
        self._wait_until(lambda: self.living() > before, node)
        return node

    def annotate(self, *arguments: object) -> subprocess.Popen:
        """Start the job on the head; its output is in ``annotate.log``."""
        command = [sys.executable, str(ROOT / "jobs" / "annotate.py"), "--address", self.address]
        return self.head.start(*command, *map(str, arguments), log="annotate.log", PYTHONPATH=str(ROOT))

    def living(self) -> int:
        """Nodes that the head takes for living."""
        program = f"import ray; ray.init('{self.address}', logging_level='ERROR'); "
        program += "print(sum(node['Alive'] for node in ray.nodes()))"
        command = ["ip", "netns", "exec", self.head.name, sys.executable, "-c", program]
        environment = {**os.environ, **self.head.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/")
        return int(done.stdout.split()[-1]) if done.returncode == 0 else 0

    def end(self) -> None:
        """End all nodes."""
        for node in reversed(self._nodes):
            node.end()

    def _node(self) -> Node:
        number = len(self._nodes) + 1
        name, address = f"r{os.getpid()}-{next(_NUMBERS)}", f"{NETWORK}.{number}"
        folder = self._folder / str(number)
        folder.mkdir()
        environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token, "RAY_TMPDIR": str(folder)}
        node = Node(name, address, folder, environment)
        self._nodes.append(node)
        _ip("netns", "add", name)
        _ip("link", "add", f"{name}-b", "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", f"{name}-b", "master", BRIDGE, "up")
        for command in (["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            _ip("-n", name, *command)
        _ip("-n", name, "link", "set", "lo", "up")
        return node

    def _start_ray(self, node: Node, *options: str, **environment: str) -> None:
        command = [str(Path(sys.executable).with_name("ray")), "start", "--block", *options]
        command += [f"--node-ip-address={node.address}", "--object-store-memory=100000000"]
        node.start(*command, f"--temp-dir={node.folder}", log="ray.log", **{"PYTHONPATH": str(ROOT), **environment})

    def _wait_until(self, condition: object, node: Node) -> None:
        assert callable(condition)
        deadline = time.monotonic() + START_S
        while not condition():
            assert time.monotonic() < deadline, node.text("ray.log")
            time.sleep(0.5)


@contextmanager
def ray_nodes(folder: Path) -> Iterator[Nodes]:
    """A cluster of one head, which others can join until the block ends."""
    _ip("link", "add", BRIDGE, "type", "bridge")
    nodes = None
    try:
        _ip("link", "set", BRIDGE, "up")
        nodes = Nodes(folder)
        yield nodes
    finally:
        if nodes is not None:
            nodes.end()
        _ip("link", "del", BRIDGE)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
