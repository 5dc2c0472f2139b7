"""Committing a video's rows: schema, nulls, merging, names, and what is left when a write fails."""

import errno
import os
import subprocess
import sys
import time
from dataclasses import asdict

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import DatasetWriter, decode_masks, encode_masks
from pipeline.dataset.files import BrokenFileError
from pipeline.dataset.layout import video_file
from pipeline.dataset.notes import notes_from_metadata
from pipeline.errors import StorageError
from pipeline.schema import MASKS_SCHEMA, Expression, VideoTask, failed_rows
from tests.dataset.conftest import damage_masks


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out" / "masks").mkdir(parents=True)
    return tmp_path / "out"


def only_file(out):
    (file,) = (out / "masks").iterdir()
    return file


def stored(out):
    return pq.read_table(only_file(out)).to_pylist()


def test_rows_read_back_exactly(out, make_row):
    empty = make_row(expression_id="1", masks=[None] * 4, bboxes=[None] * 4, areas=[0] * 4, status="no_object")
    failed = failed_rows(
        VideoTask(video_id="clip", video="x", expressions=(Expression(expression_id="2", text="a"),)),
        "VideoError: x: cut short",
    )
    rows = [make_row(), make_row(object_id=1, seed=1), empty, *failed]
    DatasetWriter(str(out), {"note": "kept"}).commit(rows)
    assert stored(out) == [asdict(row) for row in rows]
    schema = pq.read_schema(only_file(out))
    assert schema.equals(MASKS_SCHEMA)
    assert schema.metadata[b"sa2va_i_pipeline.schema_version"] == b"2"
    assert schema.metadata[b"note"] == b"kept"
    assert pq.ParquetFile(only_file(out)).metadata.row_group(0).column(0).compression == "ZSTD"


def test_duckdb_and_datasets_see_the_same_nulls(out, make_row, tmp_path):
    import datasets

    row = make_row()
    DatasetWriter(str(out)).commit([row])
    expected = (row.masks, row.bboxes, row.score)
    assert duckdb.sql(f"select masks, bboxes, score from '{out}/masks/*.parquet'").fetchall() == [expected]
    loaded = datasets.load_dataset(
        "parquet", data_files=f"{out}/masks/*.parquet", split="train", cache_dir=str(tmp_path / "cache")
    )
    assert (loaded[0]["masks"], loaded[0]["bboxes"], loaded[0]["score"]) == expected
    assert loaded[0]["masks"][0] is None


def test_the_same_commit_twice_leaves_the_same_bytes(out, make_row):
    rows = [make_row(), make_row(expression_id="1")]
    DatasetWriter(str(out)).commit(rows)
    first = only_file(out).read_bytes()
    DatasetWriter(str(out)).commit(rows)
    assert only_file(out).read_bytes() == first


def test_later_expressions_join_and_retried_ones_replace(out, make_row):
    writer = DatasetWriter(str(out))
    writer.commit([make_row(expression_id="1"), make_row(expression_id="1", object_id=1), make_row(expression_id="0")])
    writer.commit([make_row(expression_id="2"), make_row(expression_id="1", seed=5)])
    assert [(row["expression_id"], row["object_id"]) for row in stored(out)] == [("0", 0), ("1", 0), ("2", 0)]
    assert stored(out)[1]["masks"] == make_row(seed=5).masks


def test_the_note_on_shared_tracks_goes_with_its_rows(out, make_row):
    writer = DatasetWriter(str(out))
    writer.commit([make_row(expression_id=e) for e in "0123"], {("1", 0): ("0", 0), ("2", 0): ("0", 0)})
    writer.commit([make_row(expression_id="1"), make_row(expression_id="4")], {("4", 0): ("1", 0)})
    note = notes_from_metadata(pq.read_schema(only_file(out)).metadata)["clip"].shared
    assert note == {("2", 0): ("0", 0), ("4", 0): ("1", 0)}
    writer.commit([make_row(expression_id=e) for e in "24"])
    assert notes_from_metadata(pq.read_schema(only_file(out)).metadata) == {}


def test_the_order_of_commits_does_not_show(tmp_path, make_row):
    contents = []
    for order in (["0", "1", "10"], ["10", "0", "1"]):
        out = tmp_path / order[0]
        (out / "masks").mkdir(parents=True)
        for expression_id in order:
            DatasetWriter(str(out)).commit([make_row(expression_id=expression_id)])
        contents.append(only_file(out).read_bytes())
    assert contents[0] == contents[1]


def test_a_broken_file_is_not_replaced(out, make_row):
    target = out / video_file("clip")
    target.write_bytes(b"PAR1 cut short")
    with pytest.raises(BrokenFileError, match=rf"{target.name}: does not read back"):
        DatasetWriter(str(out)).commit([make_row()])
    assert target.read_bytes() == b"PAR1 cut short"


def test_damage_is_not_carried_into_a_new_file(out, make_row):
    """Only a checksum of a page shows it."""
    DatasetWriter(str(out)).commit([make_row(frames=400)])
    damage_masks(only_file(out))
    with pytest.raises(BrokenFileError, match="does not read back"):
        DatasetWriter(str(out)).commit([make_row(expression_id="1")])


@pytest.mark.parametrize(
    "video_id",
    ["../../x", "/etc/passwd", "a\0b", "a\nb", "a:b", "v" * 5000, "..", ".hidden", "é狗", " ", "x.parquet", "CON", "*"],
)
def test_hostile_ids_decide_no_path(out, make_row, video_id):
    before = sorted(out.parent.rglob("*"))
    DatasetWriter(str(out)).commit([make_row(video_id=video_id)])
    new = [path for path in sorted(out.parent.rglob("*")) if path not in before]
    assert new == [only_file(out)]
    assert new[0].suffix == ".parquet"
    assert len(new[0].name) < 80
    assert not new[0].name.startswith(".")
    assert stored(out)[0]["video_id"] == video_id


def test_equal_slugs_are_different_files():
    names = {video_file(video_id) for video_id in ["a/b", "a-b", "a:b", "a b", "A/b", "v" * 100, "v" * 101]}
    assert len(names) == 7


def test_half_surrogates_from_file_names_are_stored_readably(out, make_row):
    row = make_row(error="VideoError: bad\udcff.mp4: no")
    row.frames[0] = "\udcff0"
    DatasetWriter(str(out)).commit([row])
    assert stored(out)[0]["error"] == "VideoError: bad?.mp4: no"


@pytest.mark.parametrize(
    "change",
    [{"scores": [0.5]}, {"masks": [None]}, {"areas": [1] * 5}, {"bboxes": [None] * 3}],
    ids=lambda change: next(iter(change)),
)
def test_lists_of_another_length_are_refused(out, make_row, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        DatasetWriter(str(out)).commit([make_row(**change)])


def test_mixed_or_doubled_rows_are_refused(out, make_row):
    for rows in ([], [make_row(), make_row()], [make_row(), make_row(video_id="other", expression_id="1")]):
        with pytest.raises(ValueError, match="commit"):
            DatasetWriter(str(out)).commit(rows)


def test_row_groups_are_bounded_in_bytes(out, make_row, monkeypatch):
    monkeypatch.setattr("pipeline.dataset.tables.ROW_GROUP_BYTES", 20_000)
    rows = [make_row(expression_id=f"{index:03d}", frames=40, seed=index) for index in range(30)]
    DatasetWriter(str(out)).commit(rows)
    metadata = pq.ParquetFile(only_file(out)).metadata
    sizes = [metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups)]
    assert len(sizes) > 5
    assert max(sizes) < 25_000
    assert [row["expression_id"] for row in stored(out)] == [row.expression_id for row in rows]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(out, make_row, monkeypatch):
    writer = DatasetWriter(str(out))
    writer.commit([make_row()])
    before = only_file(out).read_bytes()

    def no_space(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pipeline.storage.atomic.os.fsync", no_space)
    with pytest.raises(StorageError, match=r"clip-.*\.parquet: cannot write: no space left"):
        writer.commit([make_row(expression_id="1")])
    assert only_file(out).read_bytes() == before


def test_a_really_full_disk(tmp_path, make_row):
    (tmp_path / "masks").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tmp_path / "masks"], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        committed = 0
        with pytest.raises(StorageError, match="no space left"):  # noqa: PT012 - how many fit is the disk's affair
            for committed in range(100):
                DatasetWriter(str(tmp_path)).commit([make_row(str(committed), frames=300, seed=committed)])
        files = list((tmp_path / "masks").iterdir())
        assert {path.suffix for path in files} == {".parquet"}
        assert sorted(pq.read_table(path)["video_id"][0].as_py() for path in files) == sorted(
            map(str, range(committed))
        )
    finally:
        subprocess.run(["umount", tmp_path / "masks"], check=False)


KILLED_WRITER = """
import sys
from pipeline.dataset import DatasetWriter
from pipeline.schema import MaskRow
writer = DatasetWriter(sys.argv[1])
print("ready", flush=True)
index = 0
while True:
    text = "x" * 300_000 + str(index)
    writer.commit([MaskRow(video_id="v", expression_id=str(index % 7), expression=text, status="failed", error="e")])
    index += 1
"""


def test_a_killed_writer_never_leaves_half_a_file(out):
    for attempt in range(4):
        writer = subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(out)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 0.2 + 0.05 * attempt
        while time.monotonic() < deadline:
            for path in (out / "masks").glob("*.parquet"):
                assert pq.read_table(path, columns=["video_id"]).num_rows
        writer.kill()
        writer.wait()
        for path in (out / "masks").glob("*.parquet"):
            assert set(pq.read_table(path).column("video_id").to_pylist()) == {"v"}


def test_a_commit_of_large_masks_stays_exact(out, make_row):
    masks = np.zeros((3, 480, 854), bool)
    masks[1, 100:300, 200:500] = True
    encoded = encode_masks(masks)
    row = make_row(frames=3, height=480, width=854, masks=encoded, bboxes=[None] * 3, areas=[0, 60_000, 0])
    DatasetWriter(str(out)).commit([row])
    assert (decode_masks(stored(out)[0]["masks"], 480, 854) == masks).all()


def test_files_of_many_videos_form_one_dataset(out, make_row):
    import pyarrow.dataset as ds

    for index in range(5):
        DatasetWriter(str(out), {"run": str(index)}).commit([make_row(video_id=str(index))])
    table = ds.dataset(out / "masks", format="parquet").to_table(filter=ds.field("video_id") == "3")
    assert table.num_rows == 1
    assert table.schema.field("bboxes").type.equals(MASKS_SCHEMA.field("bboxes").type)
