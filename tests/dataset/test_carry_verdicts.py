"""Verdicts of a second model go along into curated sets and new versions, for rows that are the same there."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curate import Rules
from pipeline.curate.run import curate
from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.dataset.layout import part_of, verdict_file
from pipeline.dataset.verdicts import Verdicts, row_digest
from pipeline.schema import VERDICTS_SCHEMA
from pipeline.versions import make_version
from pipeline.versions.edits import parse_edits
from tests.dataset.conftest import build_row

PARTS = 3
NOTED = {b"sa2va_i_pipeline.verified_by": b'{"d": {"model": "judge"}}'}


@pytest.fixture
def source(tmp_path: Path) -> str:
    """Five videos of two rows, each of which has a verdict, but for the last one."""
    url = tmp_path / "out"
    with OutputDirectory(str(url)) as output:
        output.begin(identity={"model_fingerprint": "3f2a"}, description={}, parts=2)
        for number in range(5):
            rows = [build_row(f"v{number}", str(e), seed=10 * number + e, score=0.9 - 0.4 * e) for e in range(2)]
            output.commit(rows)
        output.finish({})
    by_part: dict[int, list[dict]] = {}
    for row in MaskDataset(str(url)).iter_rows():
        if row["video_id"] != "v4":
            verdict = dict.fromkeys(VERDICTS_SCHEMA.names, "d")
            verdict |= {name: row[name] for name in ("video_id", "expression_id", "object_id", "expression")}
            verdict |= {"verdict": 0.25, "outlined": True, "frames": [], "votes": [], "row_digest": row_digest(row)}
            by_part.setdefault(part_of(row["video_id"], PARTS), []).append(verdict)
    (url / "verdicts").mkdir()
    for part, rows in by_part.items():
        schema = VERDICTS_SCHEMA.with_metadata({**VERDICTS_SCHEMA.metadata, **NOTED})
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), url / verdict_file(part, PARTS))
    return str(url)


def judged(url: Path) -> set[tuple[str, str]]:
    """Rows that have a verdict that counts; there are no others."""
    verdicts = Verdicts.of_dataset(str(url))
    rows = [row for row in MaskDataset(str(url)).iter_rows() if verdicts.of_row(row) is not None]
    assert len(verdicts) == len(rows)
    return {(row["video_id"], row["expression_id"]) for row in rows}


def test_a_curated_set_has_those_of_its_rows(source: str, tmp_path: Path) -> None:
    curation = curate(source, str(tmp_path / "new"), Rules(min_score=0.6))
    assert judged(tmp_path / "new") == {(f"v{number}", "0") for number in range(4)}
    assert curation.verdicts == "verdicts of a second model: 4 taken along, 4 not, whose rows are gone or were changed"
    file = next((tmp_path / "new" / "verdicts").iterdir())
    assert pq.read_schema(file).metadata[b"sa2va_i_pipeline.verified_by"] == NOTED[b"sa2va_i_pipeline.verified_by"]


def test_a_new_version_has_those_of_rows_that_no_edit_changed(source: str, tmp_path: Path) -> None:
    changes = [
        {"video_id": "v0", "expression_id": "0", "action": "drop"},
        {"video_id": "v1", "expression_id": "0", "action": "rename", "expression": "another"},
        {"video_id": "v2", "expression_id": "0", "object_id": 0, "action": "frames", "frames": ["00002", "00003"]},
        {"video_id": "v3", "expression_id": "0", "action": "keep"},
    ]
    edits = parse_edits(map(json.dumps, changes), name="edits")
    version = make_version(source, edits, str(tmp_path / "new"))
    rows = {(f"v{number}", str(e)) for number in range(4) for e in range(2)}
    assert judged(tmp_path / "new") == rows - {("v0", "0"), ("v1", "0"), ("v2", "0")}
    assert version.verdicts.startswith("verdicts of a second model: 5 taken along, 3 not")
    own = next((tmp_path / "new" / "verdicts").iterdir())
    own.write_bytes(pq_with_verdict(own, 0.75))  # verified again since
    make_version(source, edits, str(tmp_path / "new"))
    assert set(pq.read_table(own)["verdict"].to_pylist()) == {0.75}


def pq_with_verdict(file: Path, verdict: float) -> bytes:
    table = pq.read_table(file)
    values = pa.array([verdict] * table.num_rows, pa.float32())
    sink = pa.BufferOutputStream()
    pq.write_table(table.set_column(table.schema.get_field_index("verdict"), "verdict", values), sink)
    return sink.getvalue().to_pybytes()


def test_nothing_is_said_where_there_are_none(tmp_path: Path) -> None:
    with OutputDirectory(str(tmp_path / "out")) as output:
        output.begin(identity={"model_fingerprint": "3f2a"}, description={}, parts=1)
        output.commit([build_row("v0", "0")])
        output.finish({})
    curation = curate(str(tmp_path / "out"), str(tmp_path / "new"), Rules())
    assert curation.verdicts == ""
    assert not (tmp_path / "new" / "verdicts").exists()
