"""What a stage more takes: one class and its place in the tuple. Everything else follows from it."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ray import cloudpickle

from pipeline import run
from pipeline.config import RunConfig
from pipeline.engine.stage import PoolSpec, Row, Stage
from pipeline.stages.rows import SEGMENTED_SCHEMA, from_ipc, to_ipc

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


class Shout(Stage):
    """Writes every answer in capitals; stands for whatever users will ask for between Segment and Write."""

    name = "shout"
    input_schema = SEGMENTED_SCHEMA
    output_schema = SEGMENTED_SCHEMA
    pool = PoolSpec(worker="shouter", gpu_share=0)

    def process(self, row: Row) -> Row:
        rows = from_ipc(row["rows"].as_buffer())
        index = rows.schema.get_field_index("answer")
        answers = [answer and answer.upper() for answer in rows["answer"].to_pylist()]
        shouted = rows.set_column(index, rows.schema.field(index), [answers])
        return {**row, "rows": to_ipc(shouted.replace_schema_metadata(rows.schema.metadata))}

    @classmethod
    def failed(cls, row: Row, message: str) -> Row:
        return {**row, "rows": row["rows"].as_py()}


@pytest.mark.usefixtures("shared_ray")
def test_a_stage_is_one_class_and_one_entry(clips: Path, untrained: Path, tmp_path: Path, monkeypatch):
    ground, segment, write = run.PIPELINE
    monkeypatch.setattr(run, "PIPELINE", (ground, segment, Shout, write))
    lines: list[str] = []
    output = tmp_path / "out"
    run.annotate(
        RunConfig(manifest=str(clips / "manifest.jsonl"), model=str(untrained), output=str(output)),
        report_line=lines.append,
    )
    answers = pq.read_table(output / "masks", columns=["answer"])["answer"].to_pylist()
    assert set(answers) == {"SURE, [SEG].<|IM_END|>"}
    timings = json.loads((output / "run.json").read_text())["timings"]
    assert timings["shout_seconds"] > 0
    assert {"ground_seconds", "segment_seconds", "wall_seconds"} < set(timings)
    assert any("1 shouter(s) on CPU" in line for line in lines)
