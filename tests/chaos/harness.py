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

import fsspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from ray.cluster_utils import Cluster

from pipeline.dataset.state import statuses

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
    looks: int
    """Times that the reader found rows in masks/."""


@dataclass
class Store:
    """Where runs put their outputs.

    Attributes:
        url: What outputs are named under.
        filesystem: Reads them, past whatever disturbs the runs' own way to them.
    """

    url: str
    filesystem: fsspec.AbstractFileSystem

    def tables(self, name: str, columns: list[str] | None = None) -> list[pa.Table]:
        """The files in an output's ``masks/``; one that is replaced meanwhile is read as it was."""
        self.filesystem.invalidate_cache()
        found = []
        for path in self.filesystem.glob(f"{self.url}/{name}/masks/*.parquet"):
            with self.filesystem.open(path) as file:
                found.append(pq.read_table(file, columns=columns))
        return found


class Chaos:
    """A cluster with a head that only drives and one worker node that may die; workers are pinned to the worker."""

    def __init__(self, arguments: list[str], folder: Path, store: Store | None = None) -> None:
        self.arguments = arguments
        self.folder = folder
        self.store = store or Store(str(folder), fsspec.filesystem("file"))
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0})
        self.worker = self._add_worker()

    def _add_worker(self):
        worker = self.cluster.add_node(num_cpus=2, num_gpus=2)
        self.cluster.wait_for_nodes()
        return worker

    def close(self) -> None:
        self.cluster.shutdown()

    def start(self, name: str) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / "jobs" / "annotate.py"), *self.arguments, "--parts", str(PARTS)]
        command += ["--output", f"{self.store.url}/{name}"]
        environment = {**os.environ, "RAY_ADDRESS": self.cluster.address}
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def undisturbed(self) -> dict[tuple[str, str, int], dict]:
        assert self.start("undisturbed").wait(timeout=900) == 0, self._log("undisturbed")
        return self._rows("undisturbed")[0]

    def disturbed(self, seed: int) -> Outcome:
        chance = random.Random(seed)
        victim, name = VICTIMS[seed % len(VICTIMS)], f"run{seed}"
        reader = Reader(self.store, name)
        driver, killed = self.start(name), False
        # videos on storage when the blow falls; grounding runs ahead and is soon over
        wanted = chance.randint(0, 2 if victim == "ground" else 30)
        deadline = time.monotonic() + 600
        while driver.poll() is None and time.monotonic() < deadline:
            if not killed and (victim == "merge" or self._committed(name) >= wanted):
                time.sleep(0 if victim == "merge" else chance.random() * 0.3)
                killed = self._kill(victim, driver)
            time.sleep(0.002 if victim == "merge" else 0.1)
        starts = 1
        while driver.wait(timeout=60) != 0 and starts < 4:
            driver = self.start(name)
            driver.wait(timeout=600)
            starts += 1
        assert driver.returncode == 0, self._log(name)
        rows, doubled = self._rows(name)
        most, looks = reader.stop()
        return Outcome(victim, killed, starts, rows, max(doubled, most), looks)

    def _log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()[-3000:]

    def _committed(self, name: str) -> int:
        return len(statuses(f"{self.store.url}/{name}"))

    def _rows(self, name: str) -> tuple[dict[tuple[str, str, int], dict], int]:
        """Rows by key, and how many stand there more than once."""
        rows = [row for table in self.store.tables(name) for row in table.to_pylist()]
        by_key = {(row["video_id"], row["expression_id"], row["object_id"]): row for row in rows}
        return by_key, len(rows) - len(by_key)

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

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self._name = name
        self._most = self._looks = 0
        self._failure: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> tuple[int, int]:
        """The most rows that were ever there more than once, and how often it looked. Raises what went wrong."""
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        return self._most, self._looks

    def _look(self) -> None:
        columns = ["video_id", "expression_id", "object_id"]
        try:
            while not self._over.wait(0.1):
                tables = self._store.tables(self._name, columns)
                keys = [key for table in tables for key in zip(*(c.to_pylist() for c in table.columns), strict=True)]
                self._most = max(self._most, len(keys) - len(set(keys)))
                self._looks += bool(keys)
        except Exception as error:  # noqa: BLE001 - a reader that fails is what this looks for
            self._failure = error
