"""Manifest, videos, output and reader on real Google Cloud and Azure storage servers, also with injected faults.

What these tests ask of S3 is in ``test_s3_output.py``. The servers are those of ``cloud_emulators``; without one its
tests are skipped and say so.
"""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from pipeline import storage
from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.dataset.lock import RunLock
from pipeline.errors import AccessDeniedError, StorageError, StorageUnavailableError, UsageError, VideoError
from pipeline.manifest import read_manifest
from pipeline.schema import Expression, VideoTask
from pipeline.storage import retries
from pipeline.video.source import open_video
from tests.conftest import ROOT
from tests.dataset.cloud_emulators import ACCOUNT_KEY, BUCKET, Emulator, azure, google_cloud, use
from tests.dataset.conftest import FaultyProxy, build_row

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TASKS = [
    VideoTask(video_id=f"v{index}", video="x", expressions=(Expression(expression_id="0", text="the thing 0"),))
    for index in range(12)
]
NAMES = sorted(task.video_id for task in TASKS)


@pytest.fixture(scope="module", params=[google_cloud, azure], ids=["gs", "az"])
def emulator(request, tmp_path_factory):
    with request.param(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def folder(emulator: Emulator, monkeypatch, request) -> str:
    """URL of an empty folder."""
    use(monkeypatch, emulator.environment(emulator.port))
    name = request.node.name.partition("[")[0]
    return f"{emulator.scheme}://{BUCKET}/{name}-{random.randrange(10**9)}"


@pytest.fixture
def faulty(emulator: Emulator, folder: str, monkeypatch):
    """As ``folder``, through a proxy that fails a third of all requests; also gives the proxy."""
    proxy = FaultyProxy(emulator.port, share=0.3, seed=1)
    proxy.kinds = (500, 503, 429, "drop", "after", "short")
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    use(monkeypatch, emulator.environment(proxy.server_port))
    monkeypatch.setattr(retries, "FIRST_PAUSE_S", 0.002)
    monkeypatch.setattr(retries, "ATTEMPTS", 14)  # real storages fail less often than this proxy
    yield folder, proxy
    proxy.shutdown()
    proxy.server_close()


def quick_lock(url):
    return RunLock(url, beat_s=0.5, watch_s=2, settle_s=0.3)


def run(url, *, stop_after=None, say=lambda video_id: None):
    """Write a row a video, as a run does; returns its counts, or None where it stops early."""
    output = OutputDirectory(url, lock=quick_lock(url))
    output.begin(identity={"model": "m"}, description={})
    for number, task in enumerate(output.remaining(TASKS, retry_failed=False)):
        if number == stop_after:
            output.release()
            return None
        output.commit([build_row(task.video_id, "0")])
        say(task.video_id)
    return output.finish({})


def written(url):
    return sorted(row["video_id"] for row in MaskDataset(url).iter_rows(["video_id"]))


def test_a_run_its_resume_and_the_reader(folder):
    run(folder, stop_after=5)
    assert len(written(folder)) == 5
    counts = run(folder)
    assert (counts.videos, counts.rows) == (12, 12)
    assert written(folder) == NAMES
    chosen = MaskDataset(folder, video_ids=["v3"])[0]
    assert chosen.row == build_row("v3", "0")
    assert json.loads(storage.read_bytes(f"{folder}/run.json"))["state"] == "finished"
    with pytest.raises(UsageError, match="model: m -> n"):
        OutputDirectory(folder, lock=quick_lock(folder)).begin(identity={"model": "n"}, description={})


def test_a_killed_run_is_taken_over_and_loses_and_doubles_nothing(folder):
    program = (
        f"from tests.dataset.test_google_and_azure import run; run({folder!r}, say=lambda v: print(v, flush=True))"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    done = [killed.stdout.readline().strip() for _ in range(5)]
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert all(done)
    run(folder)
    assert written(folder) == NAMES


def test_with_faults_nothing_is_lost_and_nothing_doubled(faulty):
    url, proxy = faulty
    run(url, stop_after=5)
    run(url)
    assert written(url) == NAMES
    assert [record.row for record in MaskDataset(url, video_ids=["v7"])] == [build_row("v7", "0")]
    assert proxy.faults > 10


def test_a_lost_answer_costs_the_products_pause_and_not_the_clients(faulty, monkeypatch):
    url, proxy = faulty
    proxy.share = 0
    storage.atomic_write(f"{url}/x", b"x")
    requests = proxy.requests
    storage.read_bytes(f"{url}/x")
    for_one_read = proxy.requests - requests
    proxy.outage = 503
    pauses = []
    monkeypatch.setattr(retries.time, "sleep", pauses.append)
    requests = proxy.requests
    with pytest.raises(StorageUnavailableError, match=f"{url}/x: cannot read: .*HTTP 503"):
        storage.read_bytes(f"{url}/x")
    assert len(pauses) == retries.ATTEMPTS - 1
    assert proxy.requests - requests == retries.ATTEMPTS * for_one_read


@pytest.mark.parametrize(
    "use_storage",
    [
        lambda url: storage.read_bytes(f"{url}/x"),
        lambda url: storage.atomic_write(f"{url}/y", b"y"),
        lambda url: storage.list_files(url),
        lambda url: storage.list_tree(url),
        lambda url: storage.is_folder(url),
        lambda url: storage.exists(f"{url}/x"),
        lambda url: storage.delete(f"{url}/x"),
        lambda url: storage.move(f"{url}/x", f"{url}/z"),
        lambda url: storage.matching_files(f"{url}/*"),
    ],
    ids=["read", "write", "list", "tree", "is_folder", "exists", "delete", "move", "glob"],
)
def test_refused_credentials_are_told_at_once_and_never_taken_for_an_empty_folder(faulty, monkeypatch, use_storage):
    url, proxy = faulty
    proxy.share = 0
    storage.atomic_write(f"{url}/x", b"x")
    proxy.outage = 403
    monkeypatch.setattr(retries.time, "sleep", lambda seconds: pytest.fail("slept"))
    with pytest.raises(AccessDeniedError, match=r"access denied .403.") as caught:
        use_storage(url)
    assert ACCOUNT_KEY not in str(caught.value)


def test_a_wrong_account_key_is_refused_and_never_shown(folder, emulator, monkeypatch):
    if emulator.scheme == "gs":
        pytest.skip("gcp-storage-emulator takes requests without credentials")
    wrong = ACCOUNT_KEY[:-6] + "AAAA=="
    use(monkeypatch, emulator.environment(emulator.port, account_key=wrong))
    with pytest.raises(AccessDeniedError) as caught:
        OutputDirectory(folder, lock=quick_lock(folder)).begin(identity={}, description={})
    for secret in (wrong, ACCOUNT_KEY):
        assert secret not in str(caught.value)


def test_manifests_are_read_with_faults(faulty):
    url, proxy = faulty
    rows = [{"video_id": str(i), "video": "a/../b.mp4", "expression_id": "0", "expression": "x"} for i in range(50)]
    storage.atomic_write(f"{url}/m/part-0.jsonl", "\n".join(map(json.dumps, rows[:20])).encode())
    storage.atomic_write(f"{url}/m/part-1.jsonl", "\n".join(map(json.dumps, rows[20:])).encode())
    assert storage.matching_files(f"{url}/m/*-?.jsonl") == [f"{url}/m/part-0.jsonl", f"{url}/m/part-1.jsonl"]
    for manifest, base in ((f"{url}/m", url), (f"{url}/m/part-*.jsonl", f"{url}/m")):
        tasks = read_manifest(manifest)
        assert len(tasks) == 50
        assert {task.video for task in tasks} == {f"{base}/b.mp4"}
    assert proxy.faults


def test_videos_are_read_with_faults_and_every_pixel_is_right(faulty, tmp_path, clips):
    url, proxy = faulty
    (file,) = clips.rglob("*.mp4")
    storage.atomic_write(f"{url}/clip.mp4", file.read_bytes())
    pictures = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), dtype=np.uint8)
    for index, picture in enumerate(pictures):
        content = io.BytesIO()
        Image.fromarray(picture).save(content, "PNG")
        storage.atomic_write(f"{url}/frames/{index:05d}.png", content.getvalue())
    with open_video(str(file)) as local, open_video(f"{url}/clip.mp4") as remote:
        assert remote.frame_names == local.frame_names
        expected = list(local.read(range(len(local)), side=None))
        assert all(map(np.array_equal, remote.read(range(len(remote)), side=None), expected))
    with open_video(f"{url}/frames") as frames:
        assert all(map(np.array_equal, frames.read(range(3), side=None), pictures))
    with pytest.raises(VideoError, match=r"none.mp4: no such file"):
        open_video(f"{url}/none.mp4")
    assert proxy.faults


def test_a_moved_file_is_whole_and_has_one_name(faulty):
    url, _ = faulty
    content = os.urandom(2**20)
    storage.atomic_write(f"{url}/old", content)
    storage.move(f"{url}/old", f"{url}/new")
    assert storage.list_names(url) == ["new"]
    assert storage.read_bytes(f"{url}/new") == content


def test_a_missing_bucket_fails_at_once_with_the_url(folder):
    url = folder.replace(f"//{BUCKET}/", "//no-such-bucket/")
    with pytest.raises(StorageError, match=f"{url}/_state/lock.json: cannot write: .*404"):
        OutputDirectory(url, lock=quick_lock(url)).begin(identity={}, description={})
    with pytest.raises(UsageError, match=r"none.jsonl: cannot read: no such file"):
        read_manifest(f"{folder}/none.jsonl")
