"""Settings of a run on the command line and in ``--config``: one line and exit code 2 for what is wrong."""

import json
from pathlib import Path

import pytest

from pipeline.config import RunConfig
from pipeline.dataset.output import OutputDirectory
from pipeline.errors import UsageError

TWO_TEMPLATES = ["--prompt-template", "Please segment {expression}.", "--prompt-template", "Where is {expression}?"]
LINE = '{"video_id": "a", "video": "a.mp4", "expression_id": "0", "expression": "x"}\n'


@pytest.fixture
def annotate(job_here, tmp_path: Path):
    """``sa2va-i annotate`` with a YAML file of these lines and a good manifest, model and output."""
    (tmp_path / "m.jsonl").write_text(LINE)
    command = job_here("annotate")

    def run(text: str, *arguments: str) -> tuple[int, str, str]:
        good = {"manifest": tmp_path / "m.jsonl", "model": "nano", "output": tmp_path / "out"}
        lines = [f"{name}: {value}\n" for name, value in good.items() if not text.startswith(f"{name}:")]
        (tmp_path / "run.yaml").write_text("".join(lines) + text + "\n")
        return command("--config", tmp_path / "run.yaml", "--dry-run", *arguments)

    return run


@pytest.mark.parametrize(
    "line",
    [
        "manifest: 5",
        "videos: 3",
        "output: [a]",
        "output: 2026-01-01",
        "model: 1.5",
        "prompt_template: 7",
        "prompt_template: []",
        "prompt_template: [7]",
        "limit: .inf",
        "limit: 0",
        "num_keyframes: 5.0",
        "num_keyframes: 2.5",
        "num_keyframes: true",
        "num_keyframes: '5'",
        "num_keyframes: null",
        "gpus_per_grounder: .inf",
        "gpus_per_grounder: 1.5",
        "gpus_per_segmenter: 2",
        "decode_timeout_s: .inf",
        "decode_timeout_s: .nan",
        "decode_timeout_s: 0",
        "placement_timeout_s: .nan",
        "placement_timeout_s: -1",
        "retry_failed: 'no'",
        "retry_failed: no",
        "split_expressions: on",
        "split_expressions: 0",
        "grounders: 8:1",
        "grounders: [1, 2, 3]",
        "grounders: 1.0",
        "ground_on: 7",
        "ground_on: big=nan",
        "merge_tracks: 0",
        "procedure: sa3va",
        "expression: the dog",
        "video: a.mp4",
        "number_of_keyframes: 5",
        "limit: 3\nlimit: 4",
        "x: !!python/object/apply:os.getpid []",
        "limit: {",
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(line, annotate) -> None:
    code, said, errors = annotate(line)
    assert (code, said) == (2, "")
    assert len(errors.splitlines()) == 1
    named = line.split(":")[0]
    assert ("run.yaml" if named in ("x", "limit") else named) in errors


def test_words_and_numbers_of_yaml_mean_what_they_say(tmp_path: Path, annotate) -> None:
    code, said, errors = annotate("grounders: 1:8\nsplit_expressions: off\ndecode_timeout_s: 1e2\nretry_failed: true")
    assert code == 0, errors
    assert "1 videos with 1 expressions" in said


def test_the_command_line_wins_over_the_file(annotate) -> None:
    code, _, errors = annotate("num_keyframes: 3", "--num-keyframes", "0")
    assert (code, errors) == (
        2,
        "sa2va-i annotate: num_keyframes is 0; it must be a whole number of at least 1\n",
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--model, --output missing"),
        (["--model", "m", "--output", "o"], "--manifest"),
        (["--model", "m", "--output", "o", "--video", "v.mp4"], "--expression"),
        (["--model", "m", "--output", "o", "--expression", "the dog"], "--video"),
        (["--model", "m", "--output", "o", "--manifest", "m", "--video", "v", "--expression", "e"], "either"),
        (["--model", "m", "--output", "o", "--manifest", "m", "--gpus-per-grounder", "inf"], "gpus_per_grounder"),
        (["--model", "m", "--output", "o", "--manifest", "m", "--num-keyframes", "5.0"], "num_keyframes is '5.0'"),
        (["--model", "m", "--output", "o", "--manifest", "m", "--num-key", "5"], "--num-key"),
        (["--model", "m", "--output", "o", "--manifest", "m", "--seconds-per-frame", "1"], "--dry-run"),
        (["--model", "m", "--output", "o", "--manifest", "m", "--dry-run", "--price-per-gpu-hour", "1"], "--rate-of"),
        (["--model", "m", "--output", "o", "--manifest", "m", "--keyframe-offset", "0.6"], "keyframe_offset"),
        (
            ["--model", "m", "--output", "o", "--manifest", "m", "--keyframes", "first", "--keyframe-seed", "1"],
            "the first ones are not",
        ),
        (["--model"], "--model"),
        (["--model", "m", "--output", "o", "--manifest", "m", *TWO_TEMPLATES[:2], *TWO_TEMPLATES[:2]], "given twice"),
        (["--model", "m", "--output", "o", "--manifest", "m", *TWO_TEMPLATES, "--masks", "d"], "no language model"),
        (
            ["--model", "m", "--output", "o", "--manifest", "m", *TWO_TEMPLATES, "--prompt-template", "Segment it."],
            "{expression} exactly once, got 'Segment it.'",
        ),
    ],
)
def test_wrong_options_are_one_line_with_code_2(arguments, says, job_here) -> None:
    code, said, errors = job_here("annotate")(*arguments)
    assert (code, said) == (2, "")
    assert len(errors.splitlines()) == 1
    assert says in errors


def _config(output: Path, **settings: object) -> RunConfig:
    return RunConfig(**{"manifest": "m", "model": "nano", "output": str(output), **settings})


def _begin(output: Path, config: RunConfig) -> None:
    with OutputDirectory(str(output)) as directory:
        directory.begin(identity=config.identity("f"), description={})


def test_limits_that_decide_no_mask_do_not_bind_an_output(tmp_path: Path) -> None:
    _begin(tmp_path / "out", _config(tmp_path / "out"))
    _begin(tmp_path / "out", _config(tmp_path / "out", max_side=16384, decode_timeout_s=5, retry_failed=True))
    with pytest.raises(UsageError, match="num_keyframes: 5 -> 4"):
        _begin(tmp_path / "out", _config(tmp_path / "out", num_keyframes=4))


def test_an_output_that_an_older_version_bound_to_max_side_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    _begin(out, _config(out))
    run = json.loads((out / "run.json").read_text())
    run["identity"]["max_side"], run["identity_hash"], run["schema_version"] = 8192, "of another rule", "1"
    (out / "run.json").write_text(json.dumps(run))
    _begin(out, _config(out, max_side=100))


def test_an_output_is_bound_to_what_it_was_bound_to_before(tmp_path: Path) -> None:
    assert _config(tmp_path).identity("f") == {
        "model_fingerprint": "f",
        "keyframes": "uniform",
        "handover": "masks",
        "propagation_decoder": "original",
        "num_keyframes": 5,
        "prompt_template": "Please segment {expression}.",
        "objects": "all",
        "dtype": "auto",
        "frame_stride": 1,
        "max_frames": None,
    }
    moved = _config(tmp_path, keyframes="uniform+", keyframe_offset=0.5, keyframe_seed=0).identity("f")
    assert (moved["keyframes"], moved["keyframe_offset"], moved["keyframe_seed"]) == ("uniform+", 0.5, 0)
    assert _config(tmp_path, merge_tracks=1).identity("f")["merge_tracks"] == 1.0
    assert _config(tmp_path, max_objects_per_expression=7).identity("f")["max_objects_per_expression"] == 7
