"""The shipped model finds what the words say: alone, through the whole job, and better than chance by far."""

import csv
from pathlib import Path

import pytest
import torch

from pipeline.dataset.reader import MaskDataset
from pipeline.model.checkpoint.locate import NANO_DIRECTORY
from pipeline.model.sa2va import Sa2VA
from pipeline.workshop.nano.validation import ShapesBenchmark, by_kind
from pipeline.workshop.shapes.benchmark import write_benchmark
from tests.conftest import run_job, run_workshop

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four short clips, each with a combination that training never shows; in no split that the card reports."""
    directory = tmp_path_factory.mktemp("held-out")
    write_benchmark(directory, num_videos=4, seed=7, split="test", num_frames=(16, 16), expressions_per_video=5)
    return directory


def test_it_fits_the_repository_and_has_a_card() -> None:
    size = sum(path.stat().st_size for path in NANO_DIRECTORY.rglob("*") if path.is_file())
    assert size <= 12e6
    card = (NANO_DIRECTORY / "README.md").read_text(encoding="utf-8")
    for heading in ("Held-out results", "Training", "Limits", "python -m pipeline.workshop.nano"):
        assert heading in card


def test_it_segments_what_is_asked_for(held_out: Path) -> None:
    benchmark = ShapesBenchmark(held_out)
    found = by_kind(benchmark.score(Sa2VA.from_checkpoint(NANO_DIRECTORY), "sa2va-i"))
    chance = by_kind(benchmark.chance())
    assert found["answerable"].mean > 60
    assert found["answerable"].mean > chance["answerable"].mean + 25


@pytest.mark.slow
def test_the_whole_job_is_right_and_its_scores_rank(held_out: Path, tmp_path: Path) -> None:
    output, table = tmp_path / "out", tmp_path / "scores.csv"
    manifest = held_out / "meta_expressions.json"
    videos = held_out / "JPEGImages"
    done = run_job("annotate", "--manifest", manifest, "--videos", videos, "--model", "nano", "--output", output)
    assert done.returncode == 0, done.stderr
    scored = run_job(
        "evaluate", "--benchmark", "mevis", "--ground-truth", held_out, "--predictions", output,
        "--csv", table, "--workers", "1",
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    with table.open(encoding="utf-8", newline="") as file:
        truth = {
            (row["video_id"], row["expression_id"]): (float(row["J"]) + float(row["F"])) / 2
            for row in csv.DictReader(file)
        }
    rows = [row for row in MaskDataset(str(output)).iter_rows() if row["status"] == "ok"]
    ranked = sorted(rows, key=lambda row: -row["score"])
    values = [truth[row["video_id"], row["expression_id"]] for row in ranked]
    assert sum(values) / len(values) > 0.55
    half = len(values) // 2
    assert sum(values[:half]) / half >= sum(values) / len(values)


def test_the_paper_in_miniature_is_one_command(tmp_path: Path) -> None:
    done = run_workshop("compare_procedures", "--output", tmp_path, "--videos", 1, "--workers", 1)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert table.strip() == done.stdout.strip()
    for column in ("Sa2VA", "+ uniform keyframes", "+ original weights (Sa2VA-i)", "12 keyframes", "chance"):
        assert column in table
    assert "95 % interval" in table
