"""MaskDataset as training code, evaluation and export use it."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import DatasetWriter, MaskDataset, decode_masks
from pipeline.dataset.verification import DamagedDatasetError
from pipeline.errors import UsageError
from pipeline.schema import Expression, VideoTask, failed_rows


@pytest.fixture
def out(tmp_path, make_row):
    (tmp_path / "masks").mkdir()
    writer = DatasetWriter(str(tmp_path))
    for video in ("a", "../b", "c"):
        writer.commit([make_row(video, str(index), seed=index, score=index / 4) for index in range(4)])
    task = VideoTask(video_id="d", video="x", expressions=(Expression(expression_id="0", text="t"),))
    writer.commit(failed_rows(task, "VideoError: x: gone"))
    return tmp_path


def test_records_decode_to_what_was_written(out, make_row):
    dataset = MaskDataset(str(out))
    assert len(dataset) == 13
    record = next(record for record in dataset if (record.row.video_id, record.row.expression_id) == ("../b", "2"))
    expected = make_row("../b", "2", seed=2, score=0.5)
    assert record.row == expected
    masks = decode_masks(expected.masks, 12, 17)
    assert (record.decode() == masks).all()
    assert masks.any()
    assert (record.decode([1, -1]) == masks[[1, 3]]).all()
    assert (record.decode(["00002", 1]) == masks[[2, 1]]).all()
    assert record.decode([]).shape == (0, 12, 17)
    with pytest.raises(KeyError, match="00009"):
        record.decode(["00009"])


def test_indexing_is_that_of_a_sequence(out):
    dataset = MaskDataset(str(out))
    assert dataset[-1].row == dataset[12].row
    for index in (13, -14):
        with pytest.raises(IndexError, match="13 rows"):
            dataset[index]


def test_a_failed_row_says_why_it_has_no_masks(out):
    (record,) = MaskDataset(str(out), filters=[("status", "==", "failed")])
    with pytest.raises(ValueError, match="VideoError: x: gone"):
        record.decode()


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ([("score", ">=", 0.5)], 6),
        ([("score", ">=", 0.5), ("video_id", "==", "c")], 2),
        ([("status", "!=", "ok")], 1),
        ([("expression_id", "in", ["1", "9"])], 3),
        ([("video_id", "==", "nobody")], 0),
    ],
)
def test_filters_select_rows_and_batches_alike(out, filters, count):
    dataset = MaskDataset(str(out), filters=filters)
    assert len(dataset) == count
    rows = list(dataset.iter_rows(["video_id", "expression_id"]))
    assert rows == [{"video_id": r.row.video_id, "expression_id": r.row.expression_id} for r in dataset]


def test_named_videos_open_only_their_files(out):
    for path in (out / "masks").glob("c-*.parquet"):
        path.write_bytes(b"never read")
    dataset = MaskDataset(str(out), video_ids=["../b"])
    assert [record.row.video_id for record in dataset] == ["../b"] * 4


def test_named_videos_are_found_in_files_of_any_name(out, tmp_path):
    table = pa.concat_tables(pq.read_table(path) for path in sorted((out / "masks").iterdir()))
    other = tmp_path / "other"
    (other / "masks").mkdir(parents=True)
    pq.write_table(table, other / "masks" / "part-0.parquet", row_group_size=2)
    dataset = MaskDataset(str(other), video_ids=["c", "a"])
    assert {record.row.video_id for record in dataset} == {"a", "c"}
    assert len(dataset) == len(list(dataset.iter_rows(["score"]))) == 8


def test_a_filtered_row_group_is_not_read_further(out, monkeypatch):
    read = []
    original = pq.ParquetFile.read_row_group

    def spy(self, group, columns=None, **options):
        read.append(tuple(columns))
        return original(self, group, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    rows = list(MaskDataset(str(out), filters=[("status", "==", "failed")]).iter_rows(["masks", "error"]))
    assert [row["error"] for row in rows] == ["VideoError: x: gone"]
    assert read.count(("masks", "error")) == 1


def test_batches_come_one_row_group_at_a_time(out, monkeypatch, make_row):
    monkeypatch.setattr("pipeline.dataset.tables.ROW_GROUP_BYTES", 1)
    DatasetWriter(str(out)).commit([make_row("a", "0")])
    sizes = [(batch["video_id"][0].as_py(), batch.num_rows) for batch in MaskDataset(str(out)).iter_row_batches()]
    assert sorted(sizes) == [("../b", 4), ("a", 1), ("a", 1), ("a", 1), ("a", 1), ("c", 4), ("d", 1)]


def test_rows_have_the_columns_asked_for(out):
    first = next(MaskDataset(str(out)).iter_rows(["masks", "video_id"]))
    assert list(first) == ["masks", "video_id"]
    assert len(next(MaskDataset(str(out)).iter_rows())) == 21
    with pytest.raises(UsageError, match="no column 'mask'"):
        next(MaskDataset(str(out)).iter_rows(["mask"]))


def test_a_broken_file_ends_reading_unless_it_may_be_skipped(out, caplog):
    (broken,) = (out / "masks").glob("c-*.parquet")
    broken.write_bytes(b"PAR1")
    for read in (len, list, lambda dataset: list(dataset.iter_rows(["score"]))):
        with pytest.raises(DamagedDatasetError, match=broken.name):
            read(MaskDataset(str(out)))
    dataset = MaskDataset(str(out), skip_damaged=True)
    assert len(dataset) == len(list(dataset.iter_rows(["score"]))) == 9
    assert [file.url for file in dataset.damaged.values()] == [str(broken)]
    assert broken.name in caplog.text


def test_one_damaged_row_group_costs_only_its_own_rows(tmp_path, monkeypatch, make_row):
    monkeypatch.setattr("pipeline.dataset.tables.ROW_GROUP_BYTES", 1)
    rows = [make_row("v", str(number), seed=number) for number in range(3)]
    (tmp_path / "masks").mkdir()
    DatasetWriter(str(tmp_path)).commit(rows)
    (file,) = (tmp_path / "masks").glob("*.parquet")
    with pq.ParquetFile(file) as parquet:
        names = [parquet.metadata.row_group(1).column(i).path_in_schema for i in range(parquet.metadata.num_columns)]
        column = parquet.metadata.row_group(1).column(names.index("masks.list.element.counts"))
        assert parquet.num_row_groups == 3
    data = bytearray(file.read_bytes())
    middle = (column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 3
    data[middle] ^= 255
    file.write_bytes(data)
    assert len(MaskDataset(str(tmp_path))) == 3  # ids are whole
    with pytest.raises(DamagedDatasetError, match="'v'"):
        list(MaskDataset(str(tmp_path)))
    dataset = MaskDataset(str(tmp_path), skip_damaged=True)
    assert [row["expression_id"] for row in dataset.iter_rows()] == ["0", "2"]
    assert [file.videos for file in dataset.damaged.values()] == [("v",)]


def test_a_file_of_a_newer_schema_is_refused_and_says_so(out):
    (file,) = (out / "masks").glob("c-*.parquet")
    table = pq.read_table(file)
    pq.write_table(table.replace_schema_metadata({"sa2va_i_pipeline.schema_version": "3"}), file)
    with pytest.raises(DamagedDatasetError, match=r"schema version '3'.*update"):
        len(MaskDataset(str(out)))


def test_what_is_no_dataset_is_refused(tmp_path):
    for url in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="not a mask dataset"):
            len(MaskDataset(str(url)))


def _to_array(record):
    return record.row.video_id, record.row.expression_id, record.decode([1])


def test_a_dataloader_with_workers_gives_every_row_once(out):
    from torch.utils.data import DataLoader

    dataset = MaskDataset(str(out), filters=[("status", "==", "ok")])
    expected = {(r.row.video_id, r.row.expression_id): r.decode([1]) for r in dataset}
    loader = DataLoader(
        dataset, batch_size=None, shuffle=True, num_workers=2, collate_fn=_to_array, multiprocessing_context="spawn"
    )
    got = {(video, expression): np.asarray(mask) for video, expression, mask in loader}
    assert got.keys() == expected.keys()
    assert all((got[key] == expected[key]).all() for key in expected)


def test_pickling_leaves_the_cache_behind(out):
    dataset = MaskDataset(str(out))
    assert len(dataset) == 13
    small = len(pickle.dumps(dataset))
    dataset[0].decode()
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[0].row == dataset[0].row
    assert len(pickle.dumps(dataset)) == small
