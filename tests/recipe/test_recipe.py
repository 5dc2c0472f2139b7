"""A recipe from drawn clips to a checked zip, interrupted before each of its steps."""

import re
from pathlib import Path

import pytest

from pipeline.dataset import MaskDataset
from pipeline.export import check
from pipeline.recipe.read import read_recipe
from pipeline.recipe.run import RecipeRun

RECIPE = """\
title: Drawn clips
benchmark: mevis-v2
format: mevis-v2
model: nano
choose: {manifest: choose/meta_expressions.json, ground_truth: choose}
submit: {manifest: submit/meta_expressions.json}
runs: {k1: {num_keyframes: 1, objects: first}, k2: {num_keyframes: 2, objects: first}}
combine: {mode: average}
threshold: choose
published: {nano: nothing}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.workshop.shapes.benchmark import write_benchmark

    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("choose", "submit")):
        write_benchmark(folder / name, num_videos=2, seed=30 + number, num_frames=(4, 4), expressions_per_video=7)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.mark.slow
def test_interrupted_before_every_step_it_ends_with_a_checked_zip(data, tmp_path, shared_ray) -> None:
    recipe, output = read_recipe(str(data / "recipe.yaml")), tmp_path / "out"
    interrupted: list[str] = []

    def stop_at_a_new_step(line: str) -> None:
        if line.startswith("== ") and line not in interrupted:
            interrupted.append(line)
            raise KeyboardInterrupt

    for _ in range(20):
        run = RecipeRun(recipe, data=str(data), output=str(output), address=None, report_line=stop_at_a_new_step)
        try:
            outcome = run.run()
            break
        except KeyboardInterrupt:
            continue
    assert [re.sub(r"below .*", "below", line) for line in interrupted] == [
        "== choose: annotate k1",
        "== choose: annotate k2",
        "== choose: combine k1, k2",
        "== choose: evaluate k1",
        "== choose: evaluate k2",
        "== choose: evaluate combined",
        "== choose: evaluate combined, --reject-below",
        "== submit: annotate k1",
        "== submit: annotate k2",
        "== submit: combine k1, k2",
        "== submit: export mevis-v2",
        "== submit: check",
    ]
    assert outcome.faults == []
    assert outcome.submission is not None
    assert check(outcome.submission, str(data / "submit/meta_expressions.json"), "mevis-v2") == []
    assert len(MaskDataset(outcome.datasets["submit/combined"])) == len(MaskDataset(outcome.datasets["submit/k1"]))
    page = (output / "summary.md").read_text()
    for name in ("k1", "k2", "combined"):
        assert f"| {name} | {100 * outcome.numbers[name]['final']:.2f} |" in page
    assert f"`--reject-below {outcome.threshold:.6g}`" in page
    assert "no faults" in page
    zip_before, page_before = Path(outcome.submission).read_bytes(), page
    again = RecipeRun(recipe, data=str(data), output=str(output), address=None, report_line=lambda _: None).run()
    assert Path(again.submission or "").read_bytes() == zip_before
    assert (output / "summary.md").read_text() == page_before
