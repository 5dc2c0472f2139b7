"""Manifest, output and reader against a real S3-protocol server, also with injected faults."""

import json

import fsspec
import pytest

from pipeline import storage
from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.dataset.lock import RunLock
from pipeline.errors import StorageError, UsageError
from pipeline.manifest import read_manifest
from pipeline.schema import Expression, VideoTask

TASKS = [
    VideoTask(video_id=f"v{index}", video="x", expressions=(Expression(expression_id="0", text="the thing 0"),))
    for index in range(12)
]


def quick_lock(url):
    return RunLock(url, beat_s=0.5, watch_s=2, settle_s=0.3)


def run(url, make_row, *, stop_after=None):
    output = OutputDirectory(url, lock=quick_lock(url))
    output.begin(identity={"model": "m"}, description={})
    for number, task in enumerate(output.remaining(TASKS, retry_failed=False)):
        if number == stop_after:
            output.release()
            return None
        output.commit([make_row(task.video_id, "0")])
    return output.finish({})


def keys(url):
    return sorted(row["video_id"] for row in MaskDataset(url).iter_rows(["video_id"]))


def test_a_run_its_resume_and_the_reader(s3, make_row):
    run(s3, make_row, stop_after=5)
    assert len(keys(s3)) == 5
    counts = run(s3, make_row)
    assert (counts.videos, counts.rows) == (12, 12)
    assert keys(s3) == sorted(task.video_id for task in TASKS)
    dataset = MaskDataset(s3, filters=[("video_id", "==", "v3")])
    assert (dataset[0].decode() == MaskDataset(s3, video_ids=["v3"])[0].decode()).all()
    run_file = json.loads(storage.read_bytes(f"{s3}/run.json"))
    assert run_file["state"] == "finished"
    assert "test-secret-value" not in json.dumps(run_file)
    with pytest.raises(UsageError, match="model: m -> n"):
        OutputDirectory(s3, lock=quick_lock(s3)).begin(identity={"model": "n"}, description={})


def test_two_runs_at_once(s3):
    first = OutputDirectory(s3, lock=quick_lock(s3))
    first.begin(identity={}, description={})
    with pytest.raises(UsageError, match="in use by run"):
        OutputDirectory(s3, lock=quick_lock(s3)).begin(identity={}, description={})
    first.release()
    second = OutputDirectory(s3, lock=quick_lock(s3))
    second.begin(identity={}, description={})
    second.release()


def test_a_dead_runs_lock_is_taken_over(s3):
    entry = {"run_id": "far", "host": "h", "machine": "m", "pid": 1, "process_started": 0, "beat": 3, "heartbeat": "t"}
    storage.atomic_write(f"{s3}/_state/lock.json", json.dumps(entry).encode())
    run_lock = quick_lock(s3)
    run_lock.acquire()
    assert json.loads(storage.read_bytes(f"{s3}/_state/lock.json"))["run_id"] == run_lock.run_id
    run_lock.release()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_with_faults_nothing_is_lost_and_nothing_doubled(faulty_s3, make_row, seed):
    url, proxy = faulty_s3
    proxy.random.seed(seed)
    run(url, make_row, stop_after=5)
    run(url, make_row)
    assert keys(url) == sorted(task.video_id for task in TASKS)
    assert proxy.faults > 10


def test_manifests_are_read_with_faults(faulty_s3):
    url, proxy = faulty_s3
    rows = [{"video_id": str(i), "video": "a/../b.mp4", "expression_id": "0", "expression": "x"} for i in range(50)]
    storage.atomic_write(f"{url}/m.jsonl", "\n".join(map(json.dumps, rows)).encode())
    for _ in range(5):
        tasks = read_manifest(f"{url}/m.jsonl")
        assert len(tasks) == 50
    assert tasks[0].video == f"{url}/b.mp4"
    assert proxy.faults


def test_a_missing_bucket_fails_at_once_with_the_url(s3):
    with pytest.raises(StorageError, match=r"s3://no-such-bucket/out/_state/lock.json: cannot write: .*404"):
        OutputDirectory("s3://no-such-bucket/out", lock=quick_lock("s3://no-such-bucket/out")).begin(
            identity={}, description={}
        )
    with pytest.raises(UsageError, match=r"s3://bucket/none.jsonl: cannot read: no such file"):
        read_manifest("s3://bucket/none.jsonl")


def test_a_wrong_secret_fails_at_once_and_is_never_shown(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-value")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    attempts = []
    monkeypatch.setattr("pipeline.storage.retries.time.sleep", attempts.append)
    with pytest.raises(StorageError, match=r"run.json: cannot look up: access denied .403.") as caught:
        OutputDirectory(s3, lock=quick_lock(s3)).begin(identity={}, description={})
    assert not attempts
    for secret in ("wrong-secret-value", "test-key-id", "test-secret-value"):
        assert secret not in str(caught.value)


def test_a_storage_that_stays_away_ends_with_the_url(faulty_s3, monkeypatch):
    url, proxy = faulty_s3
    monkeypatch.setattr("pipeline.storage.retries.ATTEMPTS", 3)
    proxy.share = 1.0
    with pytest.raises(StorageError, match=f"{url}/x: cannot (write|read)"):
        storage.atomic_write(f"{url}/x", b"x")
    assert proxy.requests >= 3


def test_columns_of_a_large_file_are_fetched_alone(faulty_s3, make_row):
    url, proxy = faulty_s3
    proxy.share = 0
    rows = [make_row("big", str(index), frames=2500, seed=index) for index in range(20)]
    with OutputDirectory(url, lock=quick_lock(url)) as output:
        output.begin(identity={}, description={})
        output.commit(rows)
    (file,) = storage.list_files(f"{url}/masks")
    assert file.size_bytes > 2**20
    proxy.sent_bytes = proxy.requests = 0
    assert OutputDirectory(url).done() == {"big": {str(index): "ok" for index in range(20)}}
    assert proxy.sent_bytes < file.size_bytes / 10
    assert proxy.requests < 12
    assert MaskDataset(url)[7].row == sorted(rows, key=lambda row: row.expression_id)[7]


def _first_masks(record):
    return record.row.video_id


def test_a_dataloaders_forked_workers_read_from_s3(s3, make_row):
    from torch.utils.data import DataLoader

    run(s3, make_row)
    dataset = MaskDataset(s3)
    assert len(dataset) == 12  # this process has used the storage's client before the workers are forked
    loader = DataLoader(dataset, batch_size=None, num_workers=2, collate_fn=_first_masks, timeout=60)
    assert sorted(loader) == sorted(task.video_id for task in TASKS)
