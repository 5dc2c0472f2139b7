"""Rows picked for a person: which, why, and always the same."""

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.curate import Rules
from pipeline.curate.review import ReviewPicker
from pipeline.curate.run import curate
from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.dataset.verdicts import row_digest
from pipeline.schema import VERDICTS_SCHEMA
from tests.dataset.conftest import build_row


def facts(video_id: str, expression: str, **changes: object) -> dict:
    row = {"video_id": video_id, "expression_id": "0", "object_id": 0, "expression": expression, "status": "ok"}
    return {**row, "score": 0.8, "presence": None, **changes}


def picked(rows: list[dict], count: int, **options: object) -> list[tuple[str, str]]:
    picker = ReviewPicker(count, **options)
    for row in rows:
        picker.add(row)
    return [(pick.video_id, pick.reason) for pick in picker.picked()]


ROWS = [
    facts("good", "the dog", score=0.85, presence=0.99),
    facts("low", "the cat", score=0.1, presence=0.95),
    facts("doubtful", "the horse", score=0.7, presence=0.45),
    facts("nothing", "the whale", status="no_object", score=0.0, presence=0.9),
    facts("rightly nothing", "the shark", status="no_object", score=0.0, presence=0.05),
]


def test_each_reason_has_its_turn() -> None:
    assert picked(ROWS, 3) == [
        ("nothing", "answered with nothing, but presence 0.90"),
        ("doubtful", "presence 0.45, threshold 0.5"),
        ("low", "score 0.10"),
    ]
    assert picked(ROWS, 1, threshold=0.93)[0][0] == "low"
    assert picked(ROWS, 2, other_iou={("good", "0", 0): 0.3})[0] == (
        "good", "another run's masks differ, IoU 0.30"
    )  # fmt: skip


def test_the_order_of_rows_does_not_matter_and_nothing_is_picked_twice() -> None:
    rows = [facts(f"v{i}", f"thing {i % 7}", score=(i * 37 % 100) / 100, presence=(i * 61 % 100) / 100)
            for i in range(500)]  # fmt: skip
    first = picked(rows, 40)
    random.Random(3).shuffle(rows)
    assert picked(rows, 40) == first
    assert len({video for video, _ in first}) == 40
    assert len(picked(rows, 600)) == 500


def test_one_kind_of_sentence_does_not_fill_the_list() -> None:
    dogs = [facts(f"dog{i}", f"the dog number {i}", score=0.01) for i in range(20)]
    others = [facts(name, f"the {name}", score=0.4) for name in ("cat", "horse", "car")]
    kinds = Counter(video[:3] for video, _ in picked([*dogs, *others], 4))
    assert kinds == {"dog": 1, "cat": 1, "hor": 1, "car": 1}


def test_another_run_and_a_second_model_are_asked(tmp_path: Path) -> None:
    for name in ("out", "other"):
        with OutputDirectory(str(tmp_path / name)) as output:
            output.begin(identity={"model_fingerprint": name}, description={}, parts=2)
            for i in range(6):
                seed = 50 if (name, i) == ("other", 3) else i
                output.commit([build_row(f"v{i}", "0", seed=seed, expression=f"thing{i}", score=0.8)])
            output.finish({})
    judged = next(MaskDataset(str(tmp_path / "out"), video_ids=["v4"]).iter_rows())
    values = dict.fromkeys(VERDICTS_SCHEMA.names, "") | {name: judged[name] for name in ("video_id", "expression_id")}
    values |= {"object_id": 0, "verdict": 0.1, "outlined": True, "frames": [], "votes": []}
    table = pa.Table.from_pylist([values | {"row_digest": row_digest(judged)}], schema=VERDICTS_SCHEMA)
    (tmp_path / "out" / "verdicts").mkdir()
    pq.write_table(table, tmp_path / "out" / "verdicts" / "part-00000-of-00001.parquet")
    curate(str(tmp_path / "out"), str(tmp_path / "new"), Rules(for_review=2, against=str(tmp_path / "other")))
    lines = [json.loads(line) for line in (tmp_path / "new" / "review.jsonl").read_text().splitlines()]
    assert [line["video_id"] for line in lines] == ["v4", "v3"]
    assert lines[0]["reason"] == "verdict of a second model 0.10"
    assert lines[1]["reason"].startswith("another run's masks differ, IoU 0.")


def test_a_dataset_for_review_is_small_and_says_why(tmp_path: Path) -> None:
    source = tmp_path / "out"
    with OutputDirectory(str(source)) as output:
        output.begin(identity={"model_fingerprint": "3f2a"}, description={})
        for i in range(12):
            rows = [build_row(f"v{i:02d}", str(e), seed=10 * i + e, score=(i * 10 + e) / 200) for e in range(2)]
            output.commit(rows)
        output.finish({})
    curation = curate(str(source), str(tmp_path / "new"), Rules(for_review=5))
    lines = [json.loads(line) for line in (tmp_path / "new" / "review.jsonl").read_text().splitlines()]
    assert curation.after.rows == len(lines) == 5
    assert curation.dropped["not picked for review"] == 19
    keys = {(record.row.video_id, record.row.expression_id) for record in MaskDataset(str(tmp_path / "new"))}
    assert keys == {(line["video_id"], line["expression_id"]) for line in lines}
    assert (lines[0]["reason"], lines[0]["action"]) == ("score 0.00", "undecided")
    curate(str(source), str(tmp_path / "again"), Rules(for_review=5))
    for file in ("review.jsonl", "masks/train-00000.parquet"):
        assert (tmp_path / "new" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
