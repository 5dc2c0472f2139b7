"""A run that is told to end shows what it has done, and goes on from there."""

import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.state import statuses
from tests.chaos.material import write_material
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_what_was_staged_is_visible_after_an_interrupt(tmp_path, number):
    arguments, output, log = write_material(tmp_path), tmp_path / "out", tmp_path / "log"
    command = [sys.executable, str(ROOT / "jobs" / "annotate.py"), *arguments, "--output", str(output)]
    with log.open("wb") as sink:
        run = subprocess.Popen([*command, "--address", "local"], stdout=sink, stderr=sink, cwd="/")
    try:
        deadline = time.monotonic() + 600
        while not (done := statuses(str(output))):
            assert run.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        run.send_signal(number)
        assert run.wait(timeout=200) == 130, log.read_text()
    finally:
        run.kill()
    assert log.read_text().strip().splitlines()[-1].endswith("interrupted; the same command goes on where it was")
    visible = set(pq.read_table(output / "masks", columns=["video_id"])["video_id"].to_pylist())
    assert visible >= set(done)
    assert [path.name for path in (output / "_state").iterdir()] == ["owner.json"]
