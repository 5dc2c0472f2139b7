"""A run that splits videos ends with the masks of one that does not, also when it goes on from some of them."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.layout import staged_name
from pipeline.dataset.tables import rows_table, to_parquet
from pipeline.schema import MASKS_SCHEMA, MaskRow
from tests.conftest import run_job

pytestmark = pytest.mark.slow  # three whole jobs


def rows_of(output) -> dict[tuple[str, str, int], dict]:
    rows = pq.read_table(output / "masks", schema=MASKS_SCHEMA).to_pylist()
    found = {(row["video_id"], row["expression_id"], row["object_id"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def assert_same(rows: dict, expected: dict) -> None:
    """Everything equal, masks to the pixel; probabilities of a sentence differ in the last digit by its companions."""
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        for name in ("score", "scores", "presence"):
            assert row[name] == pytest.approx(expected[key][name], abs=1e-5)
        apart = {"score": None, "scores": None, "presence": None}
        assert row | apart == expected[key] | apart


@pytest.fixture(scope="module")
def unsplit(clips, untrained, ray_address, tmp_path_factory):
    output = tmp_path_factory.mktemp("unsplit") / "out"
    arguments = ["--manifest", clips / "manifest.jsonl", "--model", untrained]
    done = run_job("annotate", *arguments, "--split-expressions", "off", "--output", output, RAY_ADDRESS=ray_address)
    assert done.returncode == 0, done.stderr
    return arguments, rows_of(output)


def test_masks_are_the_same_and_stand_in_one_file(unsplit, ray_address, tmp_path):
    arguments, expected = unsplit
    # more attempts than allowed, were parts of one video counted as one
    options = ["--split-expressions", "1", "--max-attempts", "1", "--segmenters", "2", "--output", tmp_path / "out"]
    done = run_job("annotate", *arguments, *options, RAY_ADDRESS=ray_address)
    assert done.returncode == 0, done.stderr
    assert "3 long videos are annotated in parts" in done.stdout
    assert "3/3 videos" in done.stdout
    assert_same(rows_of(tmp_path / "out"), expected)
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["part-00000-of-00001.parquet"]
    assert not (tmp_path / "out" / "_state" / "staged").exists()


def test_a_run_cut_off_within_a_video_goes_on_from_there(unsplit, ray_address, tmp_path):
    arguments, expected = unsplit
    key = next(iter(expected))
    expression_id = key[1]
    part = [MaskRow(**row) for row in expected.values() if (row["video_id"], row["expression_id"]) == key[:2]]
    marked = [replace(row, answer="made before the run was cut off") for row in part]
    staged = tmp_path / "out" / staged_name(1, 1, key[0], [expression_id]).path()
    staged.parent.mkdir(parents=True)
    staged.write_bytes(to_parquet([rows_table(marked)], {}))
    done = run_job(
        "annotate", *arguments, "--split-expressions", "1", "--output", tmp_path / "out", RAY_ADDRESS=ray_address
    )
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out")
    assert rows.pop(key) == expected[key] | {"answer": "made before the run was cut off"}
    assert_same(rows, {other: row for other, row in expected.items() if other != key})
