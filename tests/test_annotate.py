"""jobs/annotate.py from end to end, on a real local Ray, as a user runs it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from pycocotools import mask as coco

from pipeline.schema import MASKS_SCHEMA
from tests.bad_inputs import write_inputs
from tests.conftest import run_job


@pytest.fixture(scope="module")
def run(clips: Path, untrained: Path, ray_address: str, tmp_path_factory: pytest.TempPathFactory):
    """Good clips with everything of :mod:`tests.bad_inputs` between them, annotated once for all tests here."""
    folder = tmp_path_factory.mktemp("annotate") / "alone"  # nothing but this run writes into the folder above
    shutil.copytree(clips, folder, dirs_exist_ok=True)
    inputs = write_inputs(folder, next((folder / "videos").glob("*.mp4")))
    good = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    free = json.loads(good[0])["video_id"]
    good = [json.dumps({**json.loads(line), **({"license": "cc0-1.0"} if f'"{free}"' in line else {})}) + "\n"
            for line in good]  # fmt: skip
    half = len(good) // 2
    lines = [*good[:half], *(one.line() for one in inputs), *good[half:]]
    (folder / "manifest.jsonl").write_text("".join(lines))
    arguments = ["--manifest", folder / "manifest.jsonl", "--model", untrained, "--output", folder / "out"]
    arguments += ["--license", "cc-by-4.0", "--source", "https://example.com/clips"]
    result = run_job("annotate", *arguments, RAY_ADDRESS=ray_address)
    return SimpleNamespace(folder=folder, good=len(good), free=free, inputs=inputs, result=result, arguments=arguments)


def _rows(folder: Path) -> list[dict]:
    return pq.read_table(folder / "out" / "masks", schema=MASKS_SCHEMA).to_pylist()


def _failed(run: SimpleNamespace) -> int:
    return sum(one.cause is not None for one in run.inputs)


def test_exit_code_and_last_line_tell_what_failed(run) -> None:
    assert run.result.returncode == 1, run.result.stderr
    assert f"{_failed(run)} expressions failed" in run.result.stdout.splitlines()[-1]


def test_every_expression_has_its_row(run) -> None:
    keys = [(row["video_id"], row["expression_id"]) for row in _rows(run.folder)]
    assert len(keys) == len(set(keys)) == run.good + len(run.inputs)


def test_every_input_meets_its_fate(run) -> None:
    rows = {(row["video_id"], row["expression_id"]): row for row in _rows(run.folder)}
    for one in run.inputs:
        row = rows[one.video_id or one.name, one.expression_id]
        assert row["expression"] == one.expression
        if one.cause is None:
            assert row["status"] == "ok", (one.name, row["error"])
        else:
            assert row["status"] == "failed", one.name
            assert one.cause in row["error"], (one.name, row["error"])
            assert one.video in row["error"] or "expression" in row["error"], (one.name, row["error"])


@pytest.mark.slow
def test_good_clips_are_what_they_are_without_bad_ones(run, clips: Path, untrained: Path, tmp_path: Path) -> None:
    clean = run_job(
        "annotate", "--manifest", clips / "manifest.jsonl", "--model", untrained, "--output", tmp_path / "out"
    )
    assert clean.returncode == 0, clean.stderr
    rows = {(row["video_id"], row["expression_id"]): row for row in _rows(run.folder)}
    alone = _rows(tmp_path)
    assert len(alone) == run.good
    for row in alone:
        terms = {name: rows[row["video_id"], row["expression_id"]][name] for name in ("license", "video_source")}
        assert rows[row["video_id"], row["expression_id"]] == row | terms


def test_nothing_is_written_outside_the_output(run) -> None:
    assert list(run.folder.parent.iterdir()) == [run.folder]
    assert not any("climbs" in path.name or "stream" in path.name for path in run.folder.iterdir())
    assert all(path.suffix == ".parquet" and len(path.name) < 80 for path in (run.folder / "out" / "masks").iterdir())


def test_every_row_says_its_terms_and_the_manifest_comes_first(run) -> None:
    for row in _rows(run.folder):
        expected = "cc0-1.0" if row["video_id"] == run.free else "cc-by-4.0"
        assert (row["license"], row["video_source"]) == (expected, "https://example.com/clips"), row["video_id"]
    card = (run.folder / "out" / "README.md").read_text()
    assert "license: other" in card
    assert "| licence | cc0-1.0 |" in card
    assert "| source | https://example.com/clips |" in card


def test_masks_have_the_size_and_length_of_the_video(run) -> None:
    for row in (row for row in _rows(run.folder) if row["video_id"].startswith("clip")):
        assert len(row["frames"]) == len(row["masks"]) == len(row["areas"]) == len(row["scores"]) == 8
        assert row["keyframes"] == [0, 1, 3, 5, 7]
        for rle, area in zip(row["masks"], row["areas"], strict=True):
            decoded = coco.decode(rle) if rle else np.zeros((row["height"], row["width"]))
            assert decoded.shape == (192, 256) == (row["height"], row["width"])
            assert decoded.sum() == area


def test_datasets_and_duckdb_read_it(run) -> None:
    loaded = load_dataset(str(run.folder / "out"), split="train", cache_dir=str(run.folder / "cache"))
    assert len(loaded) == run.good + len(run.inputs)
    query = f"select count(*) from read_parquet('{run.folder}/out/masks/*.parquet') where status = 'failed'"
    assert duckdb.connect().execute(query).fetchall() == [(_failed(run),)]


def test_run_json_says_what_was_run(run) -> None:
    record = json.loads((run.folder / "out" / "run.json").read_text())
    assert record["counts"]["expressions"] == run.good + len(run.inputs)
    assert record["identity"]["num_keyframes"] == 5
    assert {"torch", "ray", "sam2"} <= record["versions"].keys()


def test_started_again_nothing_is_done_twice(run) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run.folder / "out" / "masks").iterdir()}
    result = run_job("annotate", *run.arguments, timeout_s=120)
    assert result.returncode == 1
    videos = len(pq.read_table(run.folder / "out" / "masks", columns=["video_id"])["video_id"].unique())
    assert f"{videos} videos in the manifest, {videos} of them already done" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in (run.folder / "out" / "masks").iterdir()} == before


def test_another_configuration_does_not_mix_in(run) -> None:
    result = run_job("annotate", *run.arguments, "--num-keyframes", "3", timeout_s=120)
    assert result.returncode == 2
    assert "num_keyframes: 5 -> 3" in result.stderr


def _manifest(folder: Path, *rows: dict) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROW = {"video_id": "a", "video": "a.mp4", "expression_id": "0", "expression": "the dog"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([ROW, ROW], "manifest.jsonl"),
        ([{k: v for k, v in ROW.items() if k != "expression"}], "expression"),
    ],
    ids=["duplicate key", "missing column"],
)
def test_bad_manifests_are_one_line_usage_errors(rows, expected, untrained: Path, tmp_path: Path) -> None:
    result = run_job(
        "annotate", "--manifest", _manifest(tmp_path, *rows), "--model", untrained, "--output", tmp_path / "o"
    )
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["--model", "/"], 3, "config.json"),
        (["--model", "/no/such/model"], 3, "/no/such/model"),
        (["--model", "m", "--num-keyframes", "0"], 2, "num_keyframes"),
        (["--model", "m", "--prompt-template", "Please segment it."], 2, "{expression}"),
        (["--model", "m", "--procedure", "sam3"], 2, "procedure"),
    ],
    ids=["not a model", "no such model", "keyframes", "prompt", "procedure"],
)
def test_bad_arguments_are_one_line(arguments, code, expected, tmp_path: Path) -> None:
    result = run_job("annotate", "--manifest", _manifest(tmp_path, ROW), "--output", tmp_path / "o", *arguments)
    assert result.returncode == code, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert expected in result.stderr
