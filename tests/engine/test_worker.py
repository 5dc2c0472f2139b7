"""What a worker makes of trouble, without a cluster: rests, attempts and results."""

import types
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from pipeline.engine import guard, worker
from pipeline.engine.guard import Patience
from pipeline.engine.stage import SECONDS, Row, Stage
from pipeline.engine.worker import Worker
from pipeline.errors import NodeError, VideoError

SCHEMA = pa.schema(
    [("video_id", pa.string()), ("expression_ids", pa.list_(pa.string())), ("error", pa.string()), SECONDS]
)


class Scripted(Stage):
    """Raises what the script says of a video."""

    name = "scripted"
    input_schema = SCHEMA
    output_schema = SCHEMA
    pool = None
    script: ClassVar[dict[str, Exception]] = {}
    start: ClassVar[Exception | None] = None

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        if self.start:
            raise self.start

    def process(self, row: Row) -> Row:
        if row["video_id"] in self.script:
            raise self.script[row["video_id"]]
        return {**row, "error": None}

    @classmethod
    def failed(cls, row: Row, message: str) -> Row:
        return {**row, "error": message}


class Counted:
    """Stands for the ledger; remembers what workers say."""

    def __init__(self, *_: object, **__: object) -> None:
        self.ended: list[tuple[str, str | None]] = []
        self.cannot_start: list[str] = []

    def begin(self, row: Row) -> None:
        pass

    def end(self, row: Row, trouble: str | None = None) -> None:
        self.ended.append((row["video_id"], trouble))

    def broken(self, trouble: str) -> None:
        self.cannot_start.append(trouble)


@pytest.fixture
def rests(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(worker, "Attempts", Counted)
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: slept.append(seconds) if seconds else None)
    monkeypatch.setattr(guard.socket, "gethostname", lambda: "h")
    return slept


def made(script: dict[str, Exception], start: Exception | None = None) -> Worker:
    settings = types.SimpleNamespace(
        software={},
        config=types.SimpleNamespace(max_attempts=3, video_timeout_s=None),
        patience=Patience(node_s=(), rest_s=30),
    )
    stage = type("Stage", (Scripted,), {"script": script, "start": start})
    return Worker(stage, settings, object())  # type: ignore[arg-type]


def errors(of: Worker, *videos: str) -> list[str | None]:
    rows = [{"video_id": video, "expression_ids": ["0"], "error": None, "seconds": []} for video in videos]
    return [of(pa.Table.from_pylist([row], schema=SCHEMA))["error"][0].as_py() for row in rows]


def test_a_machine_in_trouble_rests_longer_and_longer_and_is_reported(rests):
    full = NodeError("disk full")
    of = made({"a": full, "b": full, "c": full, "f": VideoError("cut short")})
    assert errors(of, "a", "b", "c", "d", "e", "f") == [
        *["NodeError: node h: disk full"] * 3,
        None,
        None,
        "VideoError: cut short",
    ]
    assert rests == [30.0, 60.0, 120.0]
    assert [trouble for _, trouble in of._attempts.ended] == ["NodeError: node h: disk full"] * 3 + [None] * 3


def test_a_rest_has_a_bound():
    assert [Patience().rest(failures) for failures in (0, 1, 4, 50)] == [0.0, 30.0, 240.0, 300.0]


def test_a_stage_that_cannot_start_costs_no_video_and_takes_few(rests):
    of = made({}, start=NodeError("the GPU cannot be used"))
    assert of._attempts.cannot_start == ["NodeError: node h: the GPU cannot be used"]
    assert errors(of, "a", "b") == ["NodeError: node h: the GPU cannot be used"] * 2
    assert rests == [30.0, 60.0]
    of.close()


def test_a_failure_of_an_earlier_stage_goes_on_without_work_or_rest(rests):
    of = made({"a": NodeError("must not be reached")})
    row = {"video_id": "a", "expression_ids": ["0"], "error": "VideoError: gone", "seconds": [("ground", 1.0)]}
    result = of(pa.Table.from_pylist([row], schema=SCHEMA)).to_pylist()[0]
    assert result["error"] == "VideoError: gone"
    assert dict(result["seconds"]).keys() == {"ground", "scripted"}
    assert (rests, of._attempts.ended) == ([], [])
