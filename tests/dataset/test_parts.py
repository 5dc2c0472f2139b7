"""Parts of a video wait beside the dataset until all are there; readers see the video whole or not at all."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from pipeline.dataset import MaskDataset
from pipeline.dataset.parts import PARTS_FOLDER, PartStore
from pipeline.dataset.writer import DatasetWriter
from pipeline.schema import Expression, MaskRow, Status, VideoTask, failed_rows

WHOLE = ("0", "1", "2")


def row(expression_id: str, answer: str = "It is [SEG].", text: str | None = None) -> MaskRow:
    text = text or f"thing {expression_id}"
    return MaskRow(video_id="a/b", expression_id=expression_id, expression=text, status=Status.NO_OBJECT, answer=answer)


def store(tmp_path) -> PartStore:
    (tmp_path / "masks").mkdir(exist_ok=True)
    return PartStore(DatasetWriter(str(tmp_path)))


def committed(tmp_path) -> list[tuple[str, str]]:
    files = list((tmp_path / "masks").glob("*.parquet"))
    return [(r["expression_id"], r["answer"]) for file in files for r in pq.read_table(file).to_pylist()]


def task(*ids: str) -> VideoTask:
    items = tuple(Expression(expression_id=i, text=f"thing {i}") for i in ids)
    return VideoTask(video_id="a/b", video="/v.mp4", expressions=items)


def test_nothing_is_committed_before_the_last_part(tmp_path):
    parts = store(tmp_path)
    assert not parts.add([row("2")], WHOLE)
    assert not parts.add([row("0")], WHOLE)
    assert not parts.add([row("0")], WHOLE)  # repeated, because a worker died
    assert committed(tmp_path) == []
    assert parts.add([row("1")], WHOLE)
    assert [key for key, _ in committed(tmp_path)] == ["0", "1", "2"]
    assert not list((tmp_path / PARTS_FOLDER).iterdir())


def test_writers_that_do_not_see_each_other_lose_nothing(tmp_path, monkeypatch):
    parts = store(tmp_path)
    with monkeypatch.context() as late:  # a network folder that shows files a while after they were written
        late.setattr(PartStore, "held", lambda *_: {})
        assert not any([parts.add([row("0"), row("1")], WHOLE), parts.add([row("2")], WHOLE)])
    assert committed(tmp_path) == []
    assert parts.finish([task(*WHOLE)], {"a/b": WHOLE}) == []
    assert [key for key, _ in committed(tmp_path)] == ["0", "1", "2"]


def test_a_part_that_is_lost_is_told_when_the_run_ends(tmp_path):
    parts = store(tmp_path)
    parts.add([row("0")], WHOLE)
    whole_video = replace(task("0"), video_id="w")
    assert parts.finish([task(*WHOLE), whole_video], {"a/b": WHOLE}) == ["a/b"]
    assert committed(tmp_path) == []
    (left,), _ = parts.resume([task(*WHOLE)])
    assert [item.expression_id for item in left.expressions] == ["1", "2"]


def test_a_part_repeated_after_the_commit_doubles_nothing(tmp_path):
    parts = store(tmp_path)
    for expression_id in WHOLE:
        parts.add([row(expression_id)], WHOLE)
    assert not parts.add([row("0")], WHOLE)
    assert len(committed(tmp_path)) == 3
    parts.clear()
    assert not (tmp_path / PARTS_FOLDER).exists()
    parts.clear()


def test_the_next_run_goes_on_with_the_parts_it_finds(tmp_path):
    store(tmp_path).add([row("1", answer="from before")], WHOLE)
    (left,), whole = store(tmp_path).resume([task(*WHOLE)])
    assert [item.expression_id for item in left.expressions] == ["0", "2"]
    assert whole == {"a/b": WHOLE}
    assert store(tmp_path).add([row("0"), row("2")], whole["a/b"])
    assert ("1", "from before") in committed(tmp_path)


def test_a_video_cut_off_just_before_its_commit_is_committed(tmp_path):
    parts = store(tmp_path)
    for expression_id in WHOLE:
        parts.add([row(expression_id)], ("never complete", *WHOLE))
    assert parts.resume([task(*WHOLE)]) == ([], {})
    assert len(committed(tmp_path)) == 3


def test_parts_of_no_use_are_forgotten(tmp_path):
    stale = {
        "another text": [row("1", text="other")],
        "an expression that is done": [row("9")],
        "failed": failed_rows(task("1"), "boom"),
    }
    for name, rows in stale.items():
        parts = store(tmp_path)
        parts.add(rows, WHOLE)
        assert parts.resume([task(*WHOLE)]) == ([task(*WHOLE)], {}), name
        assert parts.held("a/b") == {}, name


def test_a_damaged_part_is_done_again(tmp_path):
    parts = store(tmp_path)
    parts.add([row("0")], WHOLE)
    (file,) = (tmp_path / PARTS_FOLDER).glob("*/*.parquet")
    file.write_bytes(file.read_bytes()[:-40])
    assert parts.resume([task(*WHOLE)])[0] == [task(*WHOLE)]


@pytest.mark.parametrize("storage", ["s3", "faulty_s3"])
def test_parts_on_object_storage(storage, request):
    given = request.getfixturevalue(storage)
    url = given[0] if storage == "faulty_s3" else given
    parts = PartStore(DatasetWriter(f"{url}/out"))
    parts.clear()
    assert parts.resume([task(*WHOLE)]) == ([task(*WHOLE)], {})
    parts.add([row("1")], WHOLE)
    ((left,), whole) = parts.resume([task(*WHOLE)])
    assert [item.expression_id for item in left.expressions] == ["0", "2"]
    assert not parts.add([row("0")], whole["a/b"])
    assert parts.add([row("2")], whole["a/b"])
    found = [(item["expression_id"], item["status"]) for item in MaskDataset(f"{url}/out").iter_rows()]
    assert sorted(found) == [(expression_id, "no_object") for expression_id in WHOLE]
    parts.clear()
    assert parts.held("a/b") == {}
