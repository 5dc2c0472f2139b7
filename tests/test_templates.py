"""Several prompt templates in one command: a dataset each, resumable, and what does not go together is refused."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.combine.run import combine
from pipeline.combine.settings import CombineSettings

TEMPLATES = ("Please segment {expression}.", "Where is {expression}?")
OPTIONS = [word for text in TEMPLATES for word in ("--prompt-template", text)]


def _rows(dataset: Path) -> list[dict]:
    return pq.read_table(dataset / "masks").to_pylist()


def _clip_manifest(clips: Path, folder: Path) -> Path:
    """The first drawn clip's expressions."""
    lines = [json.loads(line) for line in (clips / "manifest.jsonl").read_text().splitlines()]
    first = [
        {**line, "video": str(clips / line["video"])} for line in lines if line["video_id"] == lines[0]["video_id"]
    ]
    path = folder / "manifest.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in first))
    return path


@pytest.fixture
def annotate(job_here, ray_address, untrained, monkeypatch):
    """``sa2va-i annotate`` with the small untrained model on the tests' Ray."""
    monkeypatch.setenv("RAY_ADDRESS", ray_address)
    command = job_here("annotate")
    return lambda *arguments: command("--model", untrained, "--max-frames", 2, *arguments)


def test_each_template_has_a_dataset_that_its_own_command_would_have_made(annotate, clips, tmp_path) -> None:
    manifest, output = _clip_manifest(clips, tmp_path), tmp_path / "out"
    code, said, errors = annotate("--manifest", manifest, *OPTIONS, "--output", output)
    assert code == 0, errors
    assert sorted(path.name for path in output.iterdir()) == ["template-1", "template-2"]
    runs = [json.loads((output / f"template-{number}" / "run.json").read_text()) for number in (1, 2)]
    assert [run["identity"]["prompt_template"] for run in runs] == list(TEMPLATES)
    assert runs[0]["identity_hash"] != runs[1]["identity_hash"]
    assert "== prompt template 2 of 2: Where is {expression}?" in said
    code, _, errors = annotate("--manifest", manifest, *OPTIONS[2:], "--output", tmp_path / "alone")
    assert code == 0, errors
    assert _rows(output / "template-2") == _rows(tmp_path / "alone")
    combined = combine(
        [str(output / f"template-{number}") for number in (1, 2)], str(tmp_path / "c"), CombineSettings()
    )
    assert (combined.incomplete, combined.counts.failed) == (0, 0)

    # started again with a template more: what is there is kept, and only the new one is asked
    code, said, errors = annotate(
        "--manifest", manifest, *OPTIONS, "--prompt-template", "Segment {expression}", "--output", output
    )
    assert code == 0, errors
    assert said.count("1 videos in the manifest, 1 of them already done") == 2
    assert (output / "template-3" / "run.json").is_file()

    # datasets of one and of several templates do not lie in one another, and their order is part of the command
    for arguments, says in (
        ([*OPTIONS[2:], "--output", output], "holds the datasets of several prompt templates"),
        ([*OPTIONS, "--output", tmp_path / "alone"], "is a dataset of one prompt template"),
        ([*OPTIONS[2:], *OPTIONS[:2], "--output", output], "prompt_template: Please segment {expression}. -> Where"),
    ):
        code, _, errors = annotate("--manifest", manifest, *arguments)
        assert (code, len(errors.splitlines())) == (2, 1)
        assert says in errors


def test_the_exit_code_is_that_of_the_worst_run(annotate, clips, tmp_path) -> None:
    too_long = "very " * 40_000 + "{expression}"
    manifest, output = _clip_manifest(clips, tmp_path), tmp_path / "out"
    code, said, _ = annotate("--manifest", manifest, "--prompt-template", too_long, *OPTIONS[:2], "--output", output)
    assert code == 1
    assert {row["status"] for row in _rows(output / "template-1")} == {"failed"}
    assert "failed" not in {row["status"] for row in _rows(output / "template-2")}
    assert f"2 expressions failed; see status and error in {output}/template-1/masks" in said


def test_a_plan_is_told_for_each_template(annotate, clips, tmp_path) -> None:
    code, said, errors = annotate(
        "--manifest", _clip_manifest(clips, tmp_path), *OPTIONS, "--output", tmp_path / "o", "--dry-run"
    )
    assert code == 0, errors
    assert said.count("to do: 1 videos") == 2
    assert not (tmp_path / "o").exists()


def test_a_file_of_settings_may_hold_a_list(annotate, clips, tmp_path) -> None:
    (tmp_path / "run.yaml").write_text(f"prompt_template: {json.dumps(TEMPLATES)}\n")
    manifest = _clip_manifest(clips, tmp_path)
    code, said, errors = annotate(
        "--manifest", manifest, "--config", tmp_path / "run.yaml", "--output", "o", "--dry-run"
    )
    assert code == 0, errors
    assert "== prompt template 2 of 2: Where is {expression}?" in said
