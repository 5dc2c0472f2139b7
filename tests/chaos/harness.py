"""Runs of jobs/annotate.py on a real two-node Ray, disturbed at random moments, then started again until they end.

Nodes are real raylets on this machine (`ray.cluster_utils.Cluster`); kills are SIGKILL of the processes themselves.
"""

import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from ray.cluster_utils import Cluster

from pipeline.dataset.state import statuses
from pipeline.schema import MASKS_SCHEMA

ROOT = Path(__file__).resolve().parents[2]
VICTIMS = ("ground", "segment", "write", "driver", "node", "merge")
TITLES = {
    "ground": "MapBatches(Ground)",
    "segment": "MapBatches(Segment)",
    "write": "MapBatches(Write)",
    "merge": "ray::_merge",
}
PARTS = 4


@dataclass
class Outcome:
    """What happened in one disturbed run."""

    victim: str
    killed: bool
    starts: int
    rows: dict[tuple[str, str, int], dict]
    doubled: int
    """Rows that stood in masks/ more than once, at the end or at any moment."""


class Chaos:
    """A cluster with a head that only drives and one worker node that may die; workers are pinned to the worker."""

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.arguments = arguments
        self.folder = folder
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0})
        self.worker = self._add_worker()

    def _add_worker(self):
        worker = self.cluster.add_node(num_cpus=2, num_gpus=2)
        self.cluster.wait_for_nodes()
        return worker

    def close(self) -> None:
        self.cluster.shutdown()

    def start(self, output: Path) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / "jobs" / "annotate.py"), *self.arguments, "--parts", str(PARTS)]
        command += ["--output", str(output)]
        environment = {**os.environ, "RAY_ADDRESS": self.cluster.address}
        with (self.folder / f"{output.name}.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def undisturbed(self) -> dict[tuple[str, str, int], dict]:
        output = self.folder / "undisturbed"
        assert self.start(output).wait(timeout=900) == 0, (self.folder / "undisturbed.log").read_text()[-3000:]
        return read_rows(output)[0]

    def disturbed(self, seed: int) -> Outcome:
        chance = random.Random(seed)
        victim, output = VICTIMS[seed % len(VICTIMS)], self.folder / f"run{seed}"
        reader = Reader(output)
        driver, killed = self.start(output), False
        # videos on storage when the blow falls; grounding runs ahead and is soon over
        wanted = chance.randint(0, 2 if victim == "ground" else 30)
        deadline = time.monotonic() + 600
        while driver.poll() is None and time.monotonic() < deadline:
            if not killed and (victim == "merge" or _committed(output) >= wanted):
                time.sleep(0 if victim == "merge" else chance.random() * 0.3)
                killed = self._kill(victim, driver)
            time.sleep(0.002 if victim == "merge" else 0.1)
        starts = 1
        while driver.wait(timeout=60) != 0 and starts < 4:
            driver = self.start(output)
            driver.wait(timeout=600)
            starts += 1
        assert driver.returncode == 0, (self.folder / f"{output.name}.log").read_text()[-3000:]
        rows, doubled = read_rows(output)
        return Outcome(victim, killed, starts, rows, max(doubled, reader.stop()))

    def _kill(self, victim: str, driver: subprocess.Popen) -> bool:
        if victim == "driver":
            driver.kill()
            return True
        if victim == "node":
            self.cluster.remove_node(self.worker, allow_graceful=False)
            self.worker = self._add_worker()
            return True
        for process in psutil.Process().children(recursive=True):  # of this cluster, not of anybody else's
            try:
                if TITLES[victim] in " ".join(process.cmdline()):
                    process.kill()
                    return True
            except psutil.Error:
                continue
        return False


class Reader:
    """Looks at ``masks/`` all the time, as somebody does who reads a dataset that is being written."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> int:
        """The most rows that were ever there more than once."""
        self._over.set()
        self._thread.join()
        return self._most

    def _look(self) -> None:
        while not self._over.wait(0.1):
            keys = [key for path in (self._output / "masks").glob("*.parquet") for key in _keys(path)]
            self._most = max(self._most, len(keys) - len(set(keys)))


def _keys(path: Path) -> list[tuple[str, str, int]]:
    """Keys of a file's rows; a file that is replaced meanwhile is read as it was."""
    table = pq.read_table(path, columns=["video_id", "expression_id", "object_id"])
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _committed(output: Path) -> int:
    return len(statuses(str(output)))


def read_rows(output: Path) -> tuple[dict[tuple[str, str, int], dict], int]:
    """Rows by key, and how many stand there more than once."""
    rows = pq.read_table(output / "masks", schema=MASKS_SCHEMA).to_pylist()
    by_key = {(row["video_id"], row["expression_id"], row["object_id"]): row for row in rows}
    return by_key, len(rows) - len(by_key)
