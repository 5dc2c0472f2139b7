"""Files of schema version 1 are read by everything, and an output of that version is continued."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.schema import MASKS_SCHEMA, Expression, VideoTask

VERSION_1 = Path(__file__).parent / "data" / "schema_version_1"
"""Two videos: ``a`` with two objects and an expression without one, ``b/c`` failed. Its identity has ``max_side``."""


def task(video_id: str, *expression_ids: str) -> VideoTask:
    expressions = tuple(Expression(expression_id=key, text=f"the thing {key}") for key in expression_ids)
    return VideoTask(video_id=video_id, video="x", expressions=expressions)


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VERSION_1, tmp_path / "out"))


def _kinds(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_struct(kind):
        return [kind, *(inner for field in kind for inner in _kinds(field.type))]
    return [kind, *(_kinds(kind.value_type) if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) else [])]


def test_no_list_has_a_fixed_size():
    """Arrow before 26 cannot read a fixed-size list below a null level back from Parquet."""
    kinds = [kind for field in MASKS_SCHEMA for kind in _kinds(field.type)]
    assert not any(map(pa.types.is_fixed_size_list, kinds))


def test_the_files_are_of_version_1():
    schemas = [pq.read_schema(path) for path in (VERSION_1 / "masks").iterdir()]
    assert {schema.metadata[b"sa2va_i_pipeline.schema_version"] for schema in schemas} == {b"1"}
    assert all(pa.types.is_fixed_size_list(schema.field("bboxes").type.value_type) for schema in schemas)


def test_version_1_reads_as_the_current_one(make_row):
    dataset = MaskDataset(str(VERSION_1))
    assert [record.row for record in dataset][:2] == [make_row("a", "0"), make_row("a", "0", 1, seed=1)]
    assert dataset[0].decode().any()
    assert all(batch.schema.equals(MASKS_SCHEMA) for batch in dataset.iter_row_batches())
    assert [row["presence"] for row in dataset.iter_rows(["presence"])] == [None] * 4
    assert len(MaskDataset(str(VERSION_1), filters=[("presence", ">", 0.5)])) == 0


def test_an_output_of_version_1_is_continued(version_1, make_row):
    identity = {"model_fingerprint": "3f2a", "procedure": "sa2va-i", "num_keyframes": 5}
    with OutputDirectory(str(version_1)) as output:
        output.begin(identity=identity, description={})
        tasks = [task("a", "0", "1", "2"), task("b/c", "0")]
        assert output.remaining(tasks, retry_failed=True) == [task("a", "2"), task("b/c", "0")]
        output.commit([make_row("a", "2", presence=0.25)])
        assert output.finish({}).rows == 5
    rows = list(MaskDataset(str(version_1)).iter_rows(["video_id", "expression_id", "presence"]))
    assert [tuple(row.values()) for row in rows] == [
        ("a", "0", None),
        ("a", "0", None),
        ("a", "1", None),
        ("a", "2", 0.25),
        ("b/c", "0", None),
    ]
    with OutputDirectory(str(version_1)) as output:
        output.begin(identity=identity, description={})
