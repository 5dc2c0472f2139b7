"""Staging and merging: whatever is cut off at whatever step, no row is lost, and none is doubled at any moment."""

import itertools
import shutil
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.dataset import DatasetWriter, MaskDataset, OutputDirectory
from pipeline.dataset.files import mask_files, read_columns
from pipeline.dataset.layout import (
    number_of_parts,
    parse_staged,
    part_file,
    part_of,
    part_of_file,
    staged_name,
    video_file,
)
from pipeline.dataset.lock import RunLock
from pipeline.dataset.merging import Merging
from pipeline.dataset.state import DatasetState, statuses
from pipeline.errors import StorageError, UsageError
from pipeline.schema import Expression, VideoTask, failed_rows
from pipeline.storage import atomic, files

VIDEOS = ("a", "b/c", "d", "é", "f", "g")
PARTS = 2


def task(video_id: str, *expression_ids: str, text: str = "the thing {}") -> VideoTask:
    expressions = tuple(Expression(expression_id=key, text=text.format(key)) for key in expression_ids)
    return VideoTask(video_id=video_id, video=f"/videos/{video_id}", expressions=expressions)


TASKS = [task(video_id, "0", "1") for video_id in VIDEOS]


def begin(url: Path | str, parts: int = PARTS) -> OutputDirectory:
    output = OutputDirectory(str(url), lock=RunLock(str(url), settle_s=0.01))
    output.begin(identity={"model": "m"}, description={}, parts=parts)
    return output


def keys(url: Path | str) -> list[tuple[str, str, int]]:
    """Of all rows that a reader sees, in order."""
    columns = ["video_id", "expression_id", "object_id"]
    tables = [read_columns(file, columns) for file in mask_files(str(url))]
    return sorted(tuple(row.values()) for table in tables for row in table.to_pylist())


def run(url: Path | str, make_row, tasks=TASKS) -> None:
    """A run as the pipeline makes it: each video a commit, then the papers."""
    with begin(url) as output:
        todo = output.remaining(tasks, retry_failed=False)
        output.expect(todo)
        for one in todo:
            output.commit(
                [make_row(one.video_id, item.expression_id, expression=item.text) for item in one.expressions]
            )
        output.finish({})


EXPECTED = sorted((video_id, expression_id, 0) for video_id in VIDEOS for expression_id in "01")


class Stopped(BaseException):
    """A process that ends at this point: nothing of it catches this."""


class Doom:
    """Ends the "process" at a chosen operation on storage, before or after it took effect, and at every one after."""

    def __init__(self, monkeypatch, at: int, *, after: bool, see) -> None:
        self.operations = itertools.count()
        self.at, self.after, self.see = at, after, see
        self.is_over = False
        self.lock = threading.RLock()
        for owner, name in (
            (files, "replace_file"),
            (atomic, "_publish_local"),
            (Path, "unlink"),
            (Path, "replace"),
        ):
            self._guard(monkeypatch, owner, name)
        monkeypatch.setattr(LocalFileSystem, "rm_file", self._guarded(LocalFileSystem.rm_file))

    def _guard(self, monkeypatch, owner, name) -> None:
        monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name)))

    def _guarded(self, original):
        depth = threading.local()

        def operation(*arguments, **options):
            if getattr(depth, "inside", False) or "_state/lock" in str(arguments) or "probe" in str(arguments):
                return original(*arguments, **options)
            with self.lock:
                number = next(self.operations)
                if self.is_over or (number >= self.at and not self.after):
                    self.is_over = True
                    raise Stopped
                depth.inside = True
                try:
                    result = original(*arguments, **options)
                finally:
                    depth.inside = False
                self.see()
                if number >= self.at:
                    self.is_over = True
                    raise Stopped
                return result

        return operation


def _never_doubled(url: Path) -> None:
    assert max(Counter(keys(url)).values(), default=1) == 1


def _stopped_at(url: Path, work, at: int, *, after: bool) -> bool:
    """Run ``work``, stopped at operation ``at``; whether it came that far. Every state on the way is looked at."""
    with pytest.MonkeyPatch.context() as patch:
        doom = Doom(patch, at, after=after, see=lambda: _never_doubled(url))
        try:
            work()
        except (Stopped, Exception):
            if not doom.is_over:
                raise
        return doom.is_over


@pytest.mark.parametrize("after", [False, True])
def test_cut_off_at_every_step_and_resumed(tmp_path, make_row, after):
    steps = 0
    for at in range(0, 1000, 2):
        url = tmp_path / str(at)
        stopped = _stopped_at(url, lambda url=url: run(url, make_row), at, after=after)
        _never_doubled(url) if (url / "masks").exists() else None
        run(url, make_row)
        assert keys(url) == EXPECTED, at
        assert {part_of_file(file.url) for file in mask_files(str(url))} == {(0, 2), (1, 2)}
        assert not (url / "_state" / "staged").exists()
        shutil.rmtree(url)
        if not stopped:
            break
        steps += 1
    assert steps > 10


def old_output(url: Path, make_row) -> None:
    """An output of the older layout, a file a video, with a part of what is to be done; one of them failed."""
    with begin(url, parts=0):
        pass
    writer = DatasetWriter(str(url))
    for video_id in VIDEOS[:4]:
        writer.commit([make_row(video_id, "0")])
    writer.commit(failed_rows(task("f", "0"), "VideoError: gone"))


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_output_of_the_older_layout_is_taken_over_cut_off_at_every_step(tmp_path, make_row, after):
    steps = 0
    for at in range(0, 1000, 2):
        url = tmp_path / str(at)
        old_output(url, make_row)
        assert len(keys(url)) == 5
        stopped = _stopped_at(url, lambda url=url: run(url, make_row), at, after=after)
        run(url, make_row)
        assert keys(url) == EXPECTED, at
        assert {part_of_file(file.url) for file in mask_files(str(url))} == {(0, 2), (1, 2)}
        assert statuses(str(url))["f"] == {"0": "failed", "1": "ok"}
        shutil.rmtree(url)
        if not stopped:
            break
        steps += 1
    assert steps > 10


def test_a_start_with_nothing_to_do_takes_an_older_output_over_too(tmp_path, make_row):
    old_output(tmp_path, make_row)
    before = [record.row for record in MaskDataset(str(tmp_path))]
    run(tmp_path, make_row, tasks=[])
    assert {part_of_file(file.url) for file in mask_files(str(tmp_path))} == {(0, 2), (1, 2)}
    key = lambda row: (row.video_id, row.expression_id)  # noqa: E731
    assert sorted([record.row for record in MaskDataset(str(tmp_path))], key=key) == sorted(before, key=key)


def test_a_part_is_sorted_and_a_videos_rows_are_found_in_one_file(tmp_path, make_row, monkeypatch):
    monkeypatch.setattr("pipeline.dataset.tables.ROW_GROUP_BYTES", 1)
    run(tmp_path, make_row)
    for file in (tmp_path / "masks").iterdir():
        ids = pq.read_table(file, columns=["video_id"])["video_id"].to_pylist()
        assert ids == sorted(ids)
        assert {part_of(video_id, PARTS) for video_id in ids} == {part_of_file(str(file))[0]}
    opened = []
    original = pq.ParquetFile.read_row_group

    def spy(self, group, **options):
        opened.append(group)
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    assert [record.row.expression_id for record in MaskDataset(str(tmp_path), video_ids=["d"])] == ["0", "1"]
    groups = sum(pq.ParquetFile(file).num_row_groups for file in (tmp_path / "masks").iterdir())
    assert groups == len(EXPECTED)
    assert len(set(opened)) == 2


def test_what_is_staged_is_held_and_not_visible_before_it_is_merged(tmp_path, make_row):
    with begin(tmp_path) as output:
        output.commit([make_row("a", "0")])
        assert keys(tmp_path) == []
        state = DatasetState(str(tmp_path))
        assert state.counts().rows == 1
        assert output.remaining([task("a", "0", "1")], retry_failed=False) == [task("a", "1")]
    assert keys(tmp_path) == [("a", "0", 0)]  # an interrupted run shows what it has


def test_a_complete_part_is_merged_while_the_run_goes_on(tmp_path, make_row):
    with begin(tmp_path) as output:
        output.expect(TASKS)
        first = [one for one in TASKS if part_of(one.video_id, PARTS) == 0]
        for one in first:
            output.commit([make_row(one.video_id, item.expression_id) for item in one.expressions])
        deadline = time.monotonic() + 20
        while len(keys(tmp_path)) < 2 * len(first):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not (tmp_path / part_file(1, PARTS)).exists()


def test_staged_rows_are_merged_when_they_have_waited():
    merged = []
    merging = Merging(lambda part, files: merged.append((part, files)) or Done(), visible_after_s=0.6)
    merging.expect({3: 2, 4: 1})
    merging.start()
    merging.staged(3)
    merging.staged(5)
    time.sleep(0.3)
    assert merged == []
    deadline = time.monotonic() + 10
    while len(merged) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert sorted(merged) == [(3, ()), (5, ())]
    merging.finish()
    assert len(merged) == 2


class Done:
    damage = ()


def test_one_merger_a_part_at_a_time():
    running, most = Counter(), Counter()

    def merge(part, files):
        running[part] += 1
        most[part] = max(most[part], running[part])
        time.sleep(0.05)
        running[part] -= 1
        return Done()

    merging = Merging(merge, visible_after_s=0)
    merging.start()
    for _ in range(40):
        merging.staged(1)
        merging.staged(2)
        time.sleep(0.02)
    merging.finish()
    assert most == {1: 1, 2: 1}


def test_a_merge_that_fails_ends_the_run():
    def merge(part, files):
        raise StorageError("no space left")

    merging = Merging(merge)
    merging.start()
    merging.staged(1)
    with pytest.raises(StorageError, match="no space left"):
        merging.finish()
    merging.close()


def test_retried_and_changed_expressions_replace_their_rows(tmp_path, make_row):
    with begin(tmp_path) as output:
        output.commit([make_row("a", "0", 0), make_row("a", "0", 1), *failed_rows(task("a", "1"), "boom")])
        output.finish({})
    other = task("a", "0", "1", text="other {}")
    with begin(tmp_path) as output:
        assert output.remaining([task("a", "0", "1")], retry_failed=True) == [task("a", "1")]
        assert output.remaining([other], retry_failed=False) == [other]
        output.commit([make_row("a", "0", expression="other 0", answer="new"), make_row("a", "1", answer="new")])
        output.finish({})
    rows = list(MaskDataset(str(tmp_path)).iter_rows(["expression_id", "object_id", "answer", "expression"]))
    assert [tuple(row.values()) for row in rows] == [("0", 0, "new", "other 0"), ("1", 0, "new", "the thing 1")]


def test_a_good_video_with_one_failed_expression_keeps_its_other_rows(tmp_path, make_row):
    """What was staged before a run was cut off stays, whatever became of an expression of the same video."""
    output = begin(tmp_path)
    output.writer.commit([make_row("a", "0")])
    output.writer.commit(failed_rows(task("a", "1"), "WorkerDied: thrice"))
    output._merging.close()
    output._lock.release()
    with begin(tmp_path) as resumed:
        assert resumed.remaining([task("a", "0", "1", "2")], retry_failed=False) == [task("a", "2")]
        assert resumed.remaining([task("a", "0", "1", "2")], retry_failed=True) == [task("a", "1", "2")]


def test_the_number_of_parts_stays(tmp_path, make_row):
    run(tmp_path, make_row)
    with begin(tmp_path, parts=7) as output:
        output.commit([make_row("z", "0")])
        output.finish({})
    assert {part_of_file(file.url)[1] for file in mask_files(str(tmp_path))} == {PARTS}
    shutil.copy(tmp_path / part_file(0, PARTS), tmp_path / part_file(0, 3))
    with pytest.raises(UsageError, match=r"part-00000-of-00003.parquet: is not a file of this output, which has 2"):
        begin(tmp_path)


def test_a_writer_without_a_run_keeps_out_of_a_runs_output(tmp_path, make_row):
    run(tmp_path, make_row)
    with pytest.raises(UsageError, match="output of a run"):
        DatasetWriter(str(tmp_path)).commit([make_row("z", "0")])


@pytest.mark.parametrize("storage_name", ["s3", "faulty_s3"])
def test_parts_on_object_storage(storage_name, request, make_row, monkeypatch):
    given = request.getfixturevalue(storage_name)
    url = given[0] if storage_name == "faulty_s3" else given
    run(url, make_row, tasks=TASKS[:3])
    output = begin(url)
    output.writer.commit([make_row("é", "0")])
    output._merging.close()
    output._lock.release()
    run(url, make_row)
    assert keys(url) == EXPECTED
    assert storage.list_names(f"{url}/masks") == ["part-00000-of-00002.parquet", "part-00001-of-00002.parquet"]
    assert storage.list_tree(f"{url}/_state/staged") == []


def test_names():
    assert [number_of_parts(videos) for videos in (0, 1, 250, 251, 10**6, 10**8)] == [1, 1, 1, 2, 4000, 20_000]
    assert part_file(3, 40) == "masks/part-00003-of-00040.parquet"
    assert part_of_file("s3://b/o/masks/part-00003-of-00040.parquet") == (3, 40)
    assert part_of_file(f"o/{video_file('part-00003-of-00040')}") is None
    name = staged_name(7, 40, "../../étc", ["1", "0", "1"])
    assert parse_staged(f"/out/{name.path()}") == name
    assert name == staged_name(7, 40, "../../étc", ["0", "1"])
    spread = Counter(part_of(f"video{index}", 8) for index in range(8000))
    assert len(spread) == 8
    assert max(spread.values()) < 1200
    assert part_of("dog", 20_000) == 5_352  # on every machine, for ever: files are named by it
