"""jobs/annotate.py from end to end, on a real local Ray, as a user runs it."""

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from PIL import Image
from pycocotools import mask as coco

from pipeline.schema import MASKS_SCHEMA
from tests.conftest import run_job

BAD = {
    "missing": ("no such", "missing.mp4"),
    "empty": ("empty", "empty.mp4"),
    "truncated": ("truncated.mp4", "truncated.mp4"),
    "no_frames": ("no_frames", "no_frames"),
    "mixed_sizes": ("mixed_sizes", "mixed_sizes"),
}


def _bad_inputs(folder: Path, clip: Path) -> list[dict]:
    (folder / "empty.mp4").touch()
    (folder / "truncated.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    (folder / "no_frames").mkdir()
    (folder / "mixed_sizes").mkdir()
    for name, size in (("00000", (32, 24)), ("00001", (48, 24))):
        Image.new("RGB", size).save(folder / "mixed_sizes" / f"{name}.jpg")
    return [
        {"video_id": video_id, "video": name, "expression_id": "0", "expression": "the red circle"}
        for video_id, (_, name) in BAD.items()
    ]


@pytest.fixture(scope="module")
def run(clips: Path, untrained: Path, tmp_path_factory: pytest.TempPathFactory):
    """Good clips with bad ones between them, and an empty expression; annotated once for all tests here."""
    folder = tmp_path_factory.mktemp("annotate")
    shutil.copytree(clips, folder, dirs_exist_ok=True)
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    good = len(lines)
    lines[1:1] = _bad_inputs(folder, next((folder / "videos").glob("*.mp4")))
    lines.append({**lines[0], "expression_id": "blank", "expression": "  "})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = ["--manifest", folder / "manifest.jsonl", "--model", untrained, "--output", folder / "out"]
    result = run_job("annotate", *arguments)
    return folder, good, result, arguments


def _rows(folder: Path) -> list[dict]:
    return pq.read_table(folder / "out" / "masks", schema=MASKS_SCHEMA).to_pylist()


def test_exit_code_and_last_line_tell_what_failed(run) -> None:
    _, _, result, _ = run
    assert result.returncode == 1, result.stderr
    assert "6 expressions failed" in result.stdout.splitlines()[-1]


def test_every_expression_has_its_row_and_good_ones_are_ok(run) -> None:
    folder, good, _, _ = run
    rows = _rows(folder)
    assert len({(row["video_id"], row["expression_id"]) for row in rows}) == good + 6
    assert sum(row["status"] == "ok" for row in rows) == good


def test_bad_inputs_say_which_file_and_why(run) -> None:
    folder, _, _, _ = run
    errors = {row["video_id"]: row["error"] for row in _rows(folder) if row["status"] == "failed"}
    for video_id, (cause, name) in BAD.items():
        assert cause in errors[video_id], errors[video_id]
        assert name in errors[video_id], errors[video_id]
    assert "expression is empty" in errors["clip0"]


def test_masks_have_the_size_and_length_of_the_video(run) -> None:
    folder, _, _, _ = run
    for row in (row for row in _rows(folder) if row["status"] == "ok"):
        assert len(row["frames"]) == len(row["masks"]) == len(row["areas"]) == len(row["scores"]) == 8
        assert row["keyframes"] == [0, 1, 3, 5, 7]
        for rle, area in zip(row["masks"], row["areas"], strict=True):
            decoded = coco.decode(rle) if rle else np.zeros((row["height"], row["width"]))
            assert decoded.shape == (192, 256) == (row["height"], row["width"])
            assert decoded.sum() == area


def test_datasets_and_duckdb_read_it(run) -> None:
    folder, good, _, _ = run
    loaded = load_dataset(str(folder / "out"), split="train", cache_dir=str(folder / "cache"))
    assert len(loaded) == good + 6
    query = f"select count(*) from read_parquet('{folder}/out/masks/*.parquet') where status = 'ok'"
    assert duckdb.connect().execute(query).fetchall() == [(good,)]


def test_run_json_says_what_was_run(run) -> None:
    folder, good, _, _ = run
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["counts"]["expressions"] == good + 6
    assert record["identity"]["num_keyframes"] == 5
    assert {"torch", "ray", "sam2"} <= record["versions"].keys()


def test_started_again_nothing_is_done_twice(run) -> None:
    folder, _, _, arguments = run
    before = {path: path.stat().st_mtime_ns for path in (folder / "out" / "masks").iterdir()}
    result = run_job("annotate", *arguments, timeout_s=60)
    assert result.returncode == 1
    assert "8 of them already done" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in (folder / "out" / "masks").iterdir()} == before


def test_another_configuration_does_not_mix_in(run) -> None:
    *_, arguments = run
    result = run_job("annotate", *arguments, "--num-keyframes", "3", timeout_s=60)
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
