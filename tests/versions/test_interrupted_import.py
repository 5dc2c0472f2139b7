"""An import that is cut off goes on where it was, on an object store too: each row is there once."""

import json
from collections import Counter

import pytest

from pipeline.dataset import MaskDataset, OutputDirectory
from pipeline.versions import diff, make_version
from pipeline.versions.edits import parse_edits
from tests.dataset.conftest import build_row, rclone_server, s3  # noqa: F401 - fixtures

VIDEOS = 8


def write_parent(url: str) -> None:
    with OutputDirectory(url) as output:
        output.begin(identity={"model_fingerprint": "3f2a"}, description={}, parts=3)
        for number in range(VIDEOS):
            output.commit([build_row(f"v{number}", str(e), seed=9 * number + e) for e in range(2)])
        output.finish({})


def test_two_versions_on_an_object_store(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    parent, new = f"{s3}/out", f"{s3}/new"
    write_parent(parent)
    lines = [{"video_id": f"v{i}", "expression_id": "1", "object_id": 0, "action": "drop"} for i in (0, 5)]
    edits = parse_edits(map(json.dumps, lines), name="edits")
    commit, committed = OutputDirectory.commit, []

    def cut_off(self: OutputDirectory, rows) -> None:
        if len(committed) == VIDEOS // 2:
            raise KeyboardInterrupt
        committed.append(rows["video_id"][0].as_py())
        commit(self, rows)

    monkeypatch.setattr(OutputDirectory, "commit", cut_off)
    with pytest.raises(KeyboardInterrupt):
        make_version(parent, edits, new)
    again = []
    monkeypatch.setattr(OutputDirectory, "commit", lambda self, rows: (again.append(rows), commit(self, rows)))
    version = make_version(parent, edits, new)
    assert len(again) == VIDEOS // 2
    rows = [(record.row.video_id, record.row.expression_id) for record in MaskDataset(new)]
    assert set(Counter(rows).values()) == {1}
    assert len(rows) == version.counts.rows == 2 * VIDEOS - 2
    found = diff(parent, new)
    assert (found.dropped, found.added, found.changed) == ([("v0", "1", 0), ("v5", "1", 0)], [], [])
    make_version(parent, edits, new)
    assert len(again) == VIDEOS // 2
