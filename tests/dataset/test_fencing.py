"""A run that slept while another one took its output over writes nothing when it wakes up: driver, workers, mergers."""

import json
import pickle

import pytest

from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.dataset.layout import OWNER_FILE
from pipeline.dataset.lock import RunLock
from pipeline.dataset.owner import LostOutputError, read_owner
from pipeline.errors import StorageError
from pipeline.schema import Expression, VideoTask


def task(video_id, text):
    return VideoTask(video_id=video_id, video="x", expressions=(Expression(expression_id="0", text=text),))


def begin(url, **changes):
    output = OutputDirectory(str(url), lock=RunLock(str(url), settle_s=0.01, **changes))
    output.begin(identity={"model": "m"}, description={})
    return output


@pytest.fixture
def slept(tmp_path, make_row):
    """A run that has staged one video, slept, and lost its output to another one, which has done everything."""
    first = begin(tmp_path, beat_s=0.1)
    first.writer.commit([make_row("a", "0", expression="old")])
    workers = pickle.loads(pickle.dumps((first.writer, first.merger)))
    first._merging.close()
    (tmp_path / "_state" / "lock.json").unlink()  # the second run takes the lock over, and removes it at its end
    with begin(tmp_path) as second:
        second.remaining([task("a", "new"), task("b", "new")], retry_failed=False)
        for video_id in "ab":
            second.commit([make_row(video_id, "0", expression="new")])
        second.finish({})
    yield first, *workers
    first._lock.release()


def texts(url):
    return [(row["video_id"], row["expression"]) for row in MaskDataset(str(url)).iter_rows(["video_id", "expression"])]


def test_a_worker_that_wakes_up_commits_nothing(slept, tmp_path, make_row):
    _, writer, _ = slept
    with pytest.raises(LostOutputError, match=r"run \w+ has taken this output over since run"):
        writer.commit([make_row("b", "0", expression="old")])
    assert not list((tmp_path / "_state").rglob("*.parquet"))
    assert texts(tmp_path) == [("a", "new"), ("b", "new")]


def test_a_merger_that_wakes_up_merges_nothing(slept, tmp_path):
    _, _, merger = slept
    before = {path: path.stat() for path in (tmp_path / "masks").iterdir()}
    with pytest.raises(LostOutputError):
        merger.merge(0)
    assert {path: path.stat() for path in (tmp_path / "masks").iterdir()} == before


def test_a_merger_that_falls_asleep_before_its_last_step_publishes_nothing(tmp_path, make_row, monkeypatch):
    first = begin(tmp_path)
    first.writer.commit([make_row("a", "0", expression="old")])
    (tmp_path / "masks").mkdir(exist_ok=True)

    def taken_over(url, owner, calls=[]):  # noqa: B006 - remembers that it was called
        calls.append(url)
        if len(calls) > 1:
            raise LostOutputError("another run")

    monkeypatch.setattr("pipeline.dataset.merge.check_owner", taken_over)
    with pytest.raises(LostOutputError):
        first.merger.merge(0)
    assert list((tmp_path / "masks").iterdir()) == []
    first._merging.close()
    first._lock.release()


def test_the_driver_that_wakes_up_stops_and_leaves_the_papers(slept, tmp_path):
    first, *_ = slept
    papers = {name: (tmp_path / name).read_text() for name in ("run.json", "README.md")}
    with pytest.raises(StorageError, match="this run stops"):
        first.finish({"late": True})
    first.release()
    assert {name: (tmp_path / name).read_text() for name in papers} == papers


def test_what_a_lost_run_still_managed_to_write_is_of_no_account(slept, tmp_path, make_row, monkeypatch):
    """Between the check and the write of a commit anything may happen; the file lies where nobody looks."""
    _, writer, _ = slept
    monkeypatch.setattr("pipeline.dataset.writer.check_owner", lambda *_: None)
    writer.commit([make_row("b", "0", expression="old")])
    assert list((tmp_path / "_state").rglob("*.parquet"))
    monkeypatch.undo()
    with begin(tmp_path) as third:
        assert third.remaining([task("a", "new"), task("b", "new")], retry_failed=False) == []
        third.finish({})
    assert texts(tmp_path) == [("a", "new"), ("b", "new")]


def test_what_a_dead_run_staged_is_taken_up_also_when_its_successor_dies_at_once(tmp_path, make_row):
    for video_id in "ab":
        run = begin(tmp_path)
        run.writer.commit([make_row(video_id, "0")])
        run._merging.close()
        run._lock.release()
    with begin(tmp_path) as last:
        last.finish({})
    assert [video_id for video_id, _ in texts(tmp_path)] == ["a", "b"]
    assert read_owner(str(tmp_path)).generation == 3


def test_a_damaged_record_of_runs_is_said_so(tmp_path):
    begin(tmp_path).release()
    (tmp_path / OWNER_FILE).write_text(json.dumps(["a"]))
    with pytest.raises(StorageError, match=r"owner.json: not readable"):
        begin(tmp_path)
