"""A recipe whose process is killed with SIGKILL in the middle of its steps ends as one that nothing disturbed."""

import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from pipeline.dataset import MaskDataset
from pipeline.evaluation import evaluate
from pipeline.export import check, export
from tests.conftest import ROOT, run_job

SUBMITTED = """\
title: Drawn clips
benchmark: mevis-v2
format: mevis-v2
submit: {manifest: submit/meta_expressions.json}
"""
ONE_RUN = (
    SUBMITTED
    + """\
choose: {manifest: submit/meta_expressions.json, ground_truth: submit}
runs: {k1: {num_keyframes: 1, objects: first}}
"""
)
"""What is scored is also what is submitted, so it is annotated once."""
COMBINED = (
    SUBMITTED
    + """\
choose: {manifest: choose/meta_expressions.json, ground_truth: choose}
runs: {k1: {num_keyframes: 1, objects: first}, k2: {num_keyframes: 2, objects: first}}
combine: {mode: average}
threshold: choose
"""
)
STEPS = (
    "choose: annotate k1",
    "choose: annotate k2",
    "choose: combine k1, k2",
    "choose: evaluate k1",
    "choose: evaluate k2",
    "choose: evaluate combined",
    "choose: evaluate combined, --reject-below",
    "submit: annotate k1",
    "submit: annotate k2",
    "submit: combine k1, k2",
    "submit: export mevis-v2",
    "submit: check",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.workshop.shapes.benchmark import write_benchmark

    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("choose", "submit")):
        write_benchmark(folder / name, num_videos=2, seed=30 + number, num_frames=(4, 4), expressions_per_video=7)
    return folder


def _kill_in(step: str, arguments: list[str], output: Path) -> None:
    """Start the recipe and kill it when ``step`` has written rows, or soon after it began."""
    before = _row_files(output)
    command = [sys.executable, str(ROOT / "jobs" / "recipe.py"), *arguments, "--output", str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith(f"== {step}"):
                break
        else:
            pytest.fail(f"{step} was not reached:\n{''.join(said)}")
        if "annotate" in step or "combine " in step:
            deadline = time.monotonic() + 240
            while not _row_files(output) - before:
                assert time.monotonic() < deadline, f"{step} writes nothing"
                time.sleep(0.02)
        else:
            time.sleep(random.uniform(0, 0.2))  # about as long as these steps take
        process.kill()


def _row_files(folder: Path) -> set[Path]:
    return set(folder.rglob("*.parquet"))


def _files(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def _contents(output: Path) -> dict[str, object]:
    """What a recipe made: all rows of all datasets, the files of the submission, and the page of numbers."""
    datasets = {path.parent.relative_to(output) for path in output.glob("*/*/run.json")}
    rows = {
        str(dataset): {
            (record.row.video_id, record.row.expression_id, record.row.object_id): record.row
            for record in MaskDataset(str(output / dataset))
        }
        for dataset in datasets
    }
    return {
        "rows": rows,
        "files": _files(output / "submission.zip"),
        "page": (output / "summary.md").read_text().replace(str(output), "OUT"),
    }


@pytest.fixture
def recipe_in(data: Path, ray_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Text of a recipe -> arguments of the command, but for the output."""
    monkeypatch.setenv("RAY_ADDRESS", ray_address)

    def write(text: str) -> list[str]:
        (tmp_path / "recipe.yaml").write_text(text)
        return [str(tmp_path / "recipe.yaml"), "--data", str(data), "--model", "nano"]

    return write


def _finish(arguments: list[str], output: Path) -> None:
    result = run_job("recipe", *arguments, "--output", str(output))
    assert result.returncode == 0, result.stderr


def test_killed_while_it_scores_and_while_it_exports(recipe_in, data, tmp_path) -> None:
    arguments, output, manifest = recipe_in(ONE_RUN), tmp_path / "out", str(data / "submit/meta_expressions.json")
    for step in ("choose: evaluate k1", "submit: export mevis-v2"):
        _kill_in(step, arguments, output)
    _finish(arguments, output)
    assert check(str(output / "submission.zip"), manifest, "mevis-v2") == []
    export(str(output / "choose/k1"), manifest, "mevis-v2", str(tmp_path / "expected.zip"))
    assert _files(output / "submission.zip") == _files(tmp_path / "expected.zip")
    numbers = evaluate("mevis-v2", str(data / "submit"), str(output / "choose/k1")).lines[0].values
    assert f"| k1 | {100 * numbers['final']:.2f} |" in (output / "summary.md").read_text()
    assert not (output / "submit").exists()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_in_each_step_it_ends_with_the_same_result(recipe_in, data, tmp_path) -> None:
    arguments, killed, undisturbed = recipe_in(COMBINED), tmp_path / "killed", tmp_path / "undisturbed"
    for step in STEPS:
        _kill_in(step, arguments, killed)
    _finish(arguments, killed)
    _finish(arguments, undisturbed)
    assert _contents(killed) == _contents(undisturbed)
    assert check(str(killed / "submission.zip"), str(data / "submit/meta_expressions.json"), "mevis-v2") == []
