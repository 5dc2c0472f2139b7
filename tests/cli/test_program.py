"""The program ``sa2va-i``: its verbs, help, exit codes, and what it prints of names that are not trusted."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import evaluate, export
from pipeline.cli.program import main, run_program
from pipeline.cli.terminal import printable
from pipeline.cli.verbs import VERBS, summary_of, verb_named
from pipeline.errors import StorageError, UsageError
from pipeline.evaluation.protocols import BENCHMARKS, PROTOCOLS
from pipeline.export.formats import FORMATS
from pipeline.manifest import read_tasks
from tests.conftest import ROOT

POSITIONAL = {("status", "output"), ("diff", "first"), ("diff", "second"), ("recipe", "recipe")}
HEAVY = ("ray", "torch", "transformers", "pandas", "scipy", "pyarrow", "rich", "sam2", "av", "decord")


def test_help_lists_every_verb(capsys) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name in VERBS:
        assert f"  {name:10} {summary_of(verb_named(name))}" in said


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_has_complete_help_and_a_program_of_its_own(name, job_here) -> None:
    code, said, _ = job_here(name)("--help")
    assert code == 0
    assert "exit codes:" in said
    flat = " ".join(said.split())
    for setting, text in _options_of(name):
        assert f"--{setting}" in flat or (name, setting) in POSITIONAL
        assert text
        assert text.rstrip(".") in flat
    program = ROOT / "jobs" / f"{name}.py"
    assert program.stat().st_mode & 0o111
    assert program.read_text().startswith("#!/usr/bin/env python3\n")


def _options_of(name: str) -> list[tuple[str, str]]:
    from pipeline.settings import help_texts, settings_of

    options = verb_named(name).Options
    texts = help_texts(options)
    return [(setting.name.replace("_", "-"), texts[setting.name]) for setting in settings_of(options)]


def test_help_and_usage_errors_import_nothing_heavy() -> None:
    """Help of all verbs in one process; in another, each heavy import would take longer than all of it."""
    code = f"""
import sys
from pipeline.cli.program import main
for arguments in (["--help"], *([verb, "--help"] for verb in {VERBS!r}), *([verb, "--no-such"] for verb in {VERBS!r})):
    try:
        main(arguments)
    except SystemExit:
        pass
print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["anotate"], "there is no verb 'anotate'"),
        (["status"], "OUT"),
        (["export", "--format", "gif", "--manifest", "m", "--check", "x"], "format is 'gif'; it must be one of mevis"),
        (["report", "--predictions", "o"], "nothing to do"),
        (["report", "--predictions", "o", "--output", "r", "--items", "0"], "items is 0"),
        (
            ["evaluate", "--benchmark", "mevis", "--ground-truth", "g", "--predictions", "o", "--workers", "0"],
            "workers",
        ),
        (["curate", "--predictions", "a", "--output", "b", "--min-score", "2"], "min_score is 2.0"),
        (["curate", "--predictions", "a", "--output", "b", "--val-share", "nan"], "val_share is nan"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments, says, capsys) -> None:
    assert main(arguments) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    assert len(errors.splitlines()) == 1
    assert says in errors


def test_no_verb_shows_the_help_and_ends_with_2(capsys) -> None:
    assert main([]) == 2
    assert "verbs:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("u"), 2), (StorageError("s"), 3), (ValueError("v"), 3), (KeyboardInterrupt(), 130)]
)
def test_every_outcome_has_its_exit_code(error, code, capsys) -> None:
    def work() -> int:
        raise error

    assert run_program("p", work) == code
    assert capsys.readouterr().err.startswith("p: ")


def test_control_characters_of_untrusted_names_are_escaped(capsys) -> None:
    assert printable("v\x1b]0;x\x07\n1/1 videos\u2028\x9b2J\u202e\tend\ud800") == (
        "v\\x1b]0;x\\x07\\n1/1 videos\\u2028\\x9b2J\\u202e\tend\\ud800"
    )

    def work() -> int:
        raise UsageError("clip\x1b[2J: not there")

    run_program("p", work)
    assert capsys.readouterr().err == "p: clip\\x1b[2J: not there\n"


def test_tables_of_names_in_the_help_are_complete() -> None:
    assert list(export.FORMATS) == list(FORMATS)
    assert evaluate.BENCHMARKS == BENCHMARKS
    assert sorted(evaluate.PROTOCOLS) == sorted({protocol.name for protocol in PROTOCOLS})


def test_a_configuration_names_one_video_instead_of_a_manifest(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (task,) = read_tasks({"video": "clips/dog.v2.mp4", "expression": ["the dog", "the cat"]})
    assert (task.video_id, task.video) == ("dog.v2", str(tmp_path / "clips/dog.v2.mp4"))
    assert [(e.expression_id, e.text) for e in task.expressions] == [("0", "the dog"), ("1", "the cat")]
    (task,) = read_tasks({"video": "a b", "expression": ["x"], "videos": "s3://bucket/videos"})
    assert (task.video_id, task.video) == ("a b", "s3://bucket/videos/a b")
    with pytest.raises(UsageError, match="no manifest"):
        read_tasks({})
