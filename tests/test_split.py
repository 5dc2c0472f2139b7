"""A run that splits videos ends with the masks of one that does not, also when it goes on from parts."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.parts import PartStore
from pipeline.dataset.writer import DatasetWriter
from pipeline.schema import MASKS_SCHEMA, MaskRow
from tests.conftest import run_job


def rows_of(output) -> dict[tuple[str, str, int], dict]:
    rows = pq.read_table(output / "masks", schema=MASKS_SCHEMA).to_pylist()
    found = {(row["video_id"], row["expression_id"], row["object_id"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def assert_same(rows: dict, expected: dict) -> None:
    """Everything equal, masks to the pixel; probabilities of a sentence differ in the last digit by its companions."""
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        assert row["score"] == pytest.approx(expected[key]["score"], abs=1e-6)
        assert row | {"score": None} == expected[key] | {"score": None}


@pytest.fixture(scope="module")
def unsplit(clips, untrained, tmp_path_factory):
    output = tmp_path_factory.mktemp("unsplit") / "out"
    arguments = ["--manifest", clips / "manifest.jsonl", "--model", untrained]
    done = run_job("annotate", *arguments, "--split-expressions", "off", "--output", output)
    assert done.returncode == 0, done.stderr
    return arguments, rows_of(output)


def test_masks_are_the_same_and_each_video_is_one_file(unsplit, tmp_path):
    arguments, expected = unsplit
    # more attempts than allowed, were parts of one video counted as one
    options = ["--split-expressions", "1", "--max-attempts", "1", "--segmenters", "2", "--output", tmp_path / "out"]
    done = run_job("annotate", *arguments, *options)
    assert done.returncode == 0, done.stderr
    assert "3 long videos are annotated in parts" in done.stdout
    assert "3/3 videos" in done.stdout
    assert_same(rows_of(tmp_path / "out"), expected)
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 3
    assert not (tmp_path / "out" / "_state" / "parts").exists()


def test_a_run_cut_off_between_parts_goes_on_from_them(unsplit, tmp_path):
    arguments, expected = unsplit
    key = next(iter(expected))
    expression_id = key[1]
    part = [MaskRow(**row) for row in expected.values() if (row["video_id"], row["expression_id"]) == key[:2]]
    marked = [replace(row, answer="made before the run was cut off") for row in part]
    PartStore(DatasetWriter(str(tmp_path / "out"))).add(marked, (expression_id, "not there"))
    done = run_job("annotate", *arguments, "--split-expressions", "1", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out")
    assert rows.pop(key) == expected[key] | {"answer": "made before the run was cut off"}
    assert_same(rows, {other: row for other, row in expected.items() if other != key})
