"""A storage that goes away for a minute and then refuses the credentials for good costs no video."""

import json
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT, run_job
from tests.dataset.conftest import FaultyProxy, rclone_server, set_s3_environment  # noqa: F401

VIDEOS = 120
OUTAGE_S = 60


def write_video(path: Path, level: int) -> None:
    """Two frames of one grey."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for _ in range(2):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.fixture
def bucket(rclone_server, tmp_path: Path, monkeypatch):  # noqa: F811
    """A proxy before a bucket of small videos, and the manifest that names them."""
    port, folder = rclone_server
    videos = folder / "bucket" / "outage"
    videos.mkdir(parents=True)
    rows = []
    for number in range(VIDEOS):
        write_video(videos / f"{number}.mp4", number)
        row = {"video_id": f"v{number}", "video": f"s3://bucket/outage/{number}.mp4"}
        rows.append(row | {"expression_id": "0", "expression": "the grey thing"})
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    proxy = FaultyProxy(port, share=0, seed=0)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    set_s3_environment(monkeypatch, proxy.server_address[1])
    yield proxy, manifest
    proxy.shutdown()
    proxy.server_close()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_an_outage_ends_the_run_with_3_and_the_next_start_completes_it(bucket, untrained: Path, tmp_path: Path) -> None:
    proxy, manifest = bucket
    output = tmp_path / "out"
    arguments = ["--manifest", manifest, "--model", untrained, "--output", output, "--address", "local"]
    command = [sys.executable, str(ROOT / "jobs" / "annotate.py"), *map(str, arguments)]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
    assert job.stdout is not None
    for line in job.stdout:
        if "/120 videos, " in line and not line.startswith("0/"):
            break
    proxy.outage = 503
    time.sleep(OUTAGE_S)
    proxy.outage = 403
    _, stderr = job.communicate(timeout=900)
    assert job.returncode == 3, stderr
    assert "s3://bucket does not serve videos any more" in stderr.strip().splitlines()[-1]
    done = [row["status"] for row in pq.read_table(output / "masks", columns=["status"]).to_pylist()]
    assert 0 < len(done) < VIDEOS
    assert "failed" not in done

    proxy.outage = None
    again = run_job("annotate", *arguments, timeout_s=900)
    assert again.returncode == 0, again.stderr
    rows = pq.read_table(output / "masks", columns=["video_id", "status"]).to_pylist()
    assert sorted(row["video_id"] for row in rows) == sorted(f"v{number}" for number in range(VIDEOS))
    assert "failed" not in {row["status"] for row in rows}
