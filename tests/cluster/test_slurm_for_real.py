"""cluster/slurm/annotate.sbatch submitted to a real Slurm of several nodes, and what goes wrong on such clusters."""

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cluster_files import ROOT, SLURM
from slurm_cluster import SlurmCluster, missing_programs

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

NODES = 4
WITHIN_S = 400


def _names_of_a_node(name: str, address: str) -> str:
    """Lines of /etc/hosts as sites have them: Debian's 127.0.1.1, two addresses, an IPv6 address first."""
    first = {"n1": "127.0.1.1", "n2": "fd00:77::12"}.get(name)
    return "".join(f"{each} {name}\n" for each in (first, address) if each)


@pytest.fixture(scope="module")
def slurm() -> Iterator[SlurmCluster]:
    lacking = missing_programs()
    if lacking:
        pytest.skip(f"a real Slurm needs {', '.join(lacking)} (apt-get install slurm-wlm munge iproute2)")
    with SlurmCluster(NODES, visible=[ROOT], hosts=_names_of_a_node) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def manifest(slurm: SlurmCluster) -> Path:
    from pipeline.workshop.shapes.demo import write_demo

    return write_demo(slurm.folder / "clips", num_videos=16, num_frames=12, expressions_per_video=2)


def submit(slurm: SlurmCluster, nodes: int, *arguments: object) -> tuple[str, Path]:
    """Submit the script as a user does; its job and what it prints."""
    log = slurm.folder / f"job-{time.monotonic_ns()}.log"
    options = ["--parsable", f"--nodes={nodes}", "--cpus-per-task=1", "--oversubscribe", "--time=30"]
    options += [f"--output={log}", f"--chdir={ROOT}"]
    python = Path(__import__("sys").executable).parent.parent
    job = slurm.run("sbatch", *options, SLURM, *map(str, arguments), SA2VA_VENV=str(python), OMP_NUM_THREADS="1")
    return job, log


def annotate(slurm: SlurmCluster, nodes: int, manifest: Path, output: Path) -> tuple[str, Path]:
    return submit(slurm, nodes, "--manifest", manifest, "--model", "nano", "--output", output)


def keys(output: Path) -> list[tuple[str, str, int]]:
    columns = ["video_id", "expression_id", "object_id"]
    return sorted(tuple(row.values()) for row in pq.read_table(output / "masks", columns=columns).to_pylist())


def complete(output: Path) -> None:
    rows = keys(output)
    assert len(rows) == len(set(rows)), "a row is doubled"
    assert len({row[:2] for row in rows}) == 32, "an expression is missing"


def quiet(slurm: SlurmCluster) -> None:
    """Nothing of a job is left on any node."""
    left: dict[str, list[str]] = {}

    def none_left() -> bool:
        left.clear()
        left.update({name: found for name in slurm.nodes if (found := slurm.processes(name))})
        return not left

    slurm.wait_until(none_left, within_s=60, what=f"no process of a job is left: {left}")


def begun(output: Path) -> bool:
    return (output / "masks").is_dir() and any((output / "masks").glob("*.parquet"))


@pytest.mark.parametrize("nodes", [2, NODES])
def test_a_job_over_several_nodes_ends_complete(slurm, manifest, tmp_path_of, nodes):
    output = tmp_path_of(f"out-{nodes}")
    job, log = annotate(slurm, nodes, manifest, output)
    assert slurm.wait_ended(job, within_s=WITHIN_S) == "COMPLETED", log.read_text()
    complete(output)
    quiet(slurm)


def test_a_node_lost_in_the_middle_and_a_requeue(slurm, manifest, tmp_path_of):
    output = tmp_path_of("out-lost")
    job, log = annotate(slurm, 3, manifest, output)
    slurm.wait_until(lambda: begun(output), within_s=WITHIN_S, what="the first video is committed")
    slurm.kill_node("n3")
    slurm.wait_until(
        lambda: slurm.state(job) != "RUNNING" or len(keys(output)) >= 30, within_s=WITHIN_S, what="goes on"
    )
    slurm.start_node("n3")
    assert slurm.wait_ended(job, within_s=WITHIN_S) == "COMPLETED", log.read_text()
    complete(output)
    quiet(slurm)


def test_requeued_in_the_middle_it_goes_on(slurm, manifest, tmp_path_of):
    output = tmp_path_of("out-requeued")
    job, log = annotate(slurm, 2, manifest, output)
    slurm.wait_until(lambda: begun(output), within_s=WITHIN_S, what="the first video is committed")
    slurm.run("scontrol", "requeue", job)
    assert slurm.wait_ended(job, within_s=WITHIN_S) == "COMPLETED", log.read_text()
    assert "already done" in log.read_text()
    complete(output)
    quiet(slurm)


def test_two_jobs_on_the_same_nodes(slurm, manifest, tmp_path_of):
    outputs = [tmp_path_of("out-first"), tmp_path_of("out-second")]
    jobs = [annotate(slurm, 2, manifest, output) for output in outputs]
    for (job, log), output in zip(jobs, outputs, strict=True):
        assert slurm.wait_ended(job, within_s=2 * WITHIN_S) == "COMPLETED", log.read_text()
        complete(output)
    quiet(slurm)


def test_a_wrong_path_fails_with_the_exit_code_and_one_line(slurm, tmp_path_of):
    job, log = submit(slurm, 2, "--manifest", "/nowhere/m.jsonl", "--model", "nano", "--output", tmp_path_of("out-x"))
    assert slurm.wait_ended(job, within_s=WITHIN_S) == "FAILED"
    assert slurm.exit_code(job) == 2
    assert "/nowhere/m.jsonl" in log.read_text()
    quiet(slurm)


@pytest.fixture
def tmp_path_of(slurm: SlurmCluster):
    """Folders that all nodes see."""
    return lambda name: slurm.folder / name
