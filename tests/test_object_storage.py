"""The whole job on ``s3://``: manifest, videos, model and output, on a real S3-protocol server that misbehaves."""

import subprocess
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import s3fs

from tests.conftest import run_job
from tests.dataset.conftest import KEY, SECRET, FaultyProxy, rclone_server, set_s3_environment  # noqa: F401

ROWS = 6  # of the three drawn clips


@pytest.fixture
def bucket(rclone_server, clips: Path, untrained: Path, monkeypatch):  # noqa: F811
    """Everything a run needs, in a bucket; requests go through a proxy that fails a twentieth of them."""
    port, folder = rclone_server
    for source, name in ((clips, "clips"), (untrained, "model")):
        subprocess.run(["cp", "-r", str(source), str(folder / "bucket" / name)], check=True)
    proxy = FaultyProxy(port, share=0.05, seed=3)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    set_s3_environment(monkeypatch, proxy.server_address[1])
    yield folder / "bucket", proxy
    proxy.shutdown()
    proxy.server_close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_faulty_object_storage_loses_and_doubles_nothing(bucket, tmp_path: Path) -> None:
    folder, proxy = bucket
    arguments = ["--manifest", "s3://bucket/clips/manifest.jsonl", "--model", "s3://bucket/model"]
    cache = {"SA2VA_I_CACHE": str(tmp_path / "cache")}
    result = run_job("annotate", *arguments, "--output", "s3://bucket/out", timeout_s=600, **cache)
    assert result.returncode == 0, result.stdout + result.stderr
    assert proxy.faults > 0
    rows = pq.read_table(folder / "out" / "masks").to_pylist()
    keys = {(row["video_id"], row["expression_id"]) for row in rows}
    assert len(keys) == len(rows) == ROWS
    assert {row["status"] for row in rows} == {"ok"}
    written = "".join(path.read_text(errors="ignore") for path in (folder / "out").glob("*.*"))
    for secret in (KEY, SECRET):
        assert secret not in written + result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("manifest", "secret", "expected"),
    [("s3://bucket/clips/none.jsonl", SECRET, "none.jsonl"), ("s3://bucket/clips/manifest.jsonl", "wrong", "manifest")],
    ids=["missing", "denied"],
)
def test_what_is_not_there_or_not_allowed_fails_at_once_with_the_url(
    bucket, untrained: Path, monkeypatch, manifest, secret, expected
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    s3fs.S3FileSystem.clear_instance_cache()
    result = run_job("annotate", "--manifest", manifest, "--model", untrained, "--output", "s3://bucket/none")
    assert result.returncode in (2, 3)
    assert expected in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
