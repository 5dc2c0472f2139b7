"""Nodes with networks of their own: one joins late, one is cut off for a minute, one has other code."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespaces import ROOT, Nodes, can_make_namespaces, ray_nodes

from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.state import statuses
from pipeline.workshop.shapes.demo import write_demo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not can_make_namespaces(), reason="network namespaces cannot be made here (root is needed)"),
]
VIDEOS = 12
CUT_OFF_S = 60
PATIENCE_S = 900


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="n", dir="/tmp"))
    with ray_nodes(folder) as nodes:
        yield nodes
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def arguments(untrained: Path, tmp_path: Path) -> list[object]:
    manifest = write_demo(tmp_path / "clips", num_videos=VIDEOS, num_frames=30, expressions_per_video=2)
    return [
        *("--manifest", manifest, "--model", untrained, "--output", tmp_path / "out"),
        *("--ground-on", "room=6", "--segment-on", "room=1", "--segmenters", "1:2"),
    ]


def wait_for_rows(output: Path, videos: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (output / "masks").is_dir() or len(statuses(str(output))) < videos:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def assert_complete(output: Path) -> None:
    rows = [record.row for record in MaskDataset(str(output))]
    keys = [(row.video_id, row.expression_id, row.object_id) for row in rows]
    assert len(keys) == len(set(keys))
    assert len({key[:2] for key in keys}) == 2 * VIDEOS
    assert {row.status for row in rows} <= {"ok", "no_object"}


def test_one_joins_late_and_one_is_cut_off_for_a_minute(nodes: Nodes, arguments, tmp_path: Path) -> None:
    first = nodes.add('--resources={"room": 10}')
    job = nodes.annotate(*arguments, "--grounders", "1:2")
    wait_for_rows(tmp_path / "out", 1)
    nodes.add('--resources={"room": 10}')
    first.cut_off()
    time.sleep(CUT_OFF_S)
    first.reconnect()
    assert job.wait(PATIENCE_S) == 0, nodes.head.text("annotate.log")
    assert_complete(tmp_path / "out")


def test_one_has_another_version_of_the_code(nodes: Nodes, arguments, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(ROOT / "pipeline", other / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "pipeline" / "schema.py").open("a") as file:
        file.write("\nCHANGED = True\n")
    nodes.add('--resources={"room": 10}')
    mixed = nodes.add('--resources={"room": 10}', PYTHONPATH=str(other))
    job = nodes.annotate(*arguments, "--grounders", "2")
    assert job.wait(PATIENCE_S) == 3
    last = nodes.head.text("annotate.log").strip().splitlines()[-1]
    assert "runs other software than the driver: code" in last
    mixed.end()
    assert nodes.annotate(*arguments, "--grounders", "1").wait(PATIENCE_S) == 0, nodes.head.text("annotate.log")
    assert_complete(tmp_path / "out")
