"""Predictions in every form; what is missing or faulty is named, counted and scores 0."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.dataset import DatasetWriter, encode_masks
from pipeline.errors import PipelineError, UsageError
from pipeline.evaluation import evaluate
from pipeline.schema import MaskRow

CASES = Path(__file__).parent / "metric_cases"
TRUTH = CASES / "mevis_tiny" / "valid_u"
DAVIS = CASES / "refdavis_tiny"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def pictures(tmp_path):
    """The official predictions, to be damaged."""
    return Path(shutil.copytree(CASES / "mevis_tiny" / "pred", tmp_path / "pred"))


def score(predictions, **options):
    return evaluate("mevis", str(TRUTH), str(predictions), **options).as_json()


OFFICIAL = score(CASES / "mevis_tiny" / "pred")


def masks_of(expression):
    files = sorted((CASES / "mevis_tiny" / "pred" / "v0aa" / expression).glob("*.png"))
    return np.stack([np.asarray(Image.open(file)) > 0 for file in files])


def write_dataset(folder, changes=None, expressions=("0", "1", "2")):
    rows = [
        MaskRow(
            video_id="v0aa",
            expression_id=key,
            expression="any",
            status="ok",
            height=120,
            width=214,
            frames=[f"{number:05d}" for number in range(5)],
            masks=encode_masks(masks_of(key)),
        )
        for key in expressions
    ]
    for key, values in (changes or {}).items():
        for name, value in values.items():
            setattr(rows[int(key)], name, value)
    (folder / "masks").mkdir(parents=True)
    DatasetWriter(str(folder)).commit(rows)
    return folder


def write_results(path, changes=None):
    content = {key: {"prediction_masks": encode_masks(masks_of(key))} for key in ("0", "1", "2")}
    path.write_text(json.dumps({"v0aa": {**content, **(changes or {})}}))
    return path


def zipped(folder, path, root=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, root + str(file.relative_to(folder)))
    return path


@pytest.mark.parametrize("form", ["folder", "zip", "zip under Annotations", "dataset", "results"])
def test_every_form_of_the_same_masks_scores_the_same(tmp_path, pictures, form):
    predictions = {
        "folder": lambda: pictures,
        "zip": lambda: zipped(pictures, tmp_path / "s.zip"),
        "zip under Annotations": lambda: zipped(pictures, tmp_path / "s.zip", "Annotations/"),
        "dataset": lambda: write_dataset(tmp_path / "out"),
        "results": lambda: write_results(tmp_path / "results.json"),
    }[form]()
    assert score(predictions)["per_expression"] == OFFICIAL["per_expression"]


def assert_missing(result, expression, why):
    """One expression is named and scores 0; the others score as ever; all of them are in the mean."""
    assert [(entry["video_id"], entry["expression_id"]) for entry in result["missing"]] == [("v0aa", expression)]
    assert why in result["missing"][0]["why"]
    expected = {**OFFICIAL["per_expression"], f"v0aa_{expression}": {"J": 0, "F": 0}}
    assert result["per_expression"] == expected
    assert result["n_expressions"] == 3
    assert result["J"] == pytest.approx(sum(values["J"] for values in expected.values()) / 3, abs=1e-12)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda folder: shutil.rmtree(folder), "00000.png is missing"),  # a whole expression
        (lambda folder: (folder / "00003.png").unlink(), "00003.png is missing"),  # one frame
        (
            lambda folder: Image.new("L", (10, 20)).save(folder / "00002.png"),
            "is 10x20 pixels, the ground truth 214x120",
        ),
        (lambda folder: (folder / "00002.png").write_bytes(b"\x89PNG cut"), "00002.png is not a picture"),
    ],
)
@pytest.mark.parametrize("as_zip", [False, True])
def test_faulty_pictures_cost_their_expression(tmp_path, pictures, damage, why, as_zip):
    damage(pictures / "v0aa" / "1")
    assert_missing(score(zipped(pictures, tmp_path / "s.zip") if as_zip else pictures), "1", why)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"status": "failed", "error": "VideoError: clip.mp4: cut short", "masks": []},
            "VideoError: clip.mp4: cut short",
        ),
        ({"frames": ["00000", "00001", "00002", "00003", "x"]}, "1 of 5 frames are missing, the first is '00004'"),
        ({"masks": [{"size": [120, 214], "counts": "zzz"}] * 5}, "frame 0"),
        ({"masks": encode_masks(np.ones((5, 214, 120), bool))}, "is 120x214 pixels"),  # swapped
    ],
)
def test_faulty_rows_cost_their_expression(tmp_path, changes, why):
    assert_missing(score(write_dataset(tmp_path / "out", {"1": changes})), "1", why)


def test_rows_that_are_not_there_cost_their_expression(tmp_path):
    assert_missing(score(write_dataset(tmp_path / "out", expressions=("0", "2"))), "1", "not among the predictions")


def test_no_object_is_an_answer(tmp_path):
    result = score(write_dataset(tmp_path / "out", {"2": {"status": "no_object", "masks": []}}))
    assert result["n_missing"] == 0
    assert result["per_expression"]["v0aa_2"] == {"J": 1, "F": 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "no list of prediction_masks"),
        ({"prediction_masks": None}, "no list of prediction_masks"),
        ({"prediction_masks": [None] * 4}, "4 masks for 5 frames"),
        ({"prediction_masks": [{"size": [9, 9], "counts": "05"}] * 5}, "runs sum to"),
        ({"prediction_masks": [{"size": [2**20, 2**20], "counts": "0"}] * 5}, "size"),
    ],
)
def test_faulty_results_cost_their_expression(tmp_path, change, why):
    assert_missing(score(write_results(tmp_path / "results.json", {"1": change})), "1", why)


def test_strict_fails_by_name(pictures):
    shutil.rmtree(pictures / "v0aa" / "1")
    with pytest.raises(PipelineError, match=r"1 of 3 expressions.*'1' of video 'v0aa'"):
        score(pictures, strict=True)


def test_a_missing_expression_scores_0_against_every_davis_object(tmp_path):
    pred = Path(shutil.copytree(DAVIS / "pred_expr", tmp_path / "pred"))
    shutil.rmtree(pred / "pair" / "5")  # object 2 as annotator 1 named it
    result = evaluate("ref-davis17", str(DAVIS), str(pred), protocol="four-annotator").as_json()
    assert [entry["expression_id"] for entry in result["missing"]] == ["5"]
    assert result["per_expression"]["pair_anno_1/object_2"]["J"] == 0
    assert result["results"]["anno_0"]["J"] == pytest.approx(0.743520390572485, abs=1e-9)
    merged = Path(shutil.copytree(DAVIS / "pred_anno", tmp_path / "merged"))
    (merged / "anno_2" / "pair" / "00001.png").unlink()
    result = evaluate("ref-davis17", str(DAVIS), str(merged), protocol="four-annotator").as_json()
    assert [entry["expression_id"] for entry in result["missing"]] == ["anno_2"]
    assert result["results"]["anno_2"]["J&F"] == 0


def test_merged_folders_under_the_wrong_protocol_are_refused():
    with pytest.raises(UsageError, match="--protocol four-annotator"):
        evaluate("ref-davis17", str(DAVIS), str(DAVIS / "pred_anno"), protocol="per-expression")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: folder / "absent", "no such file"),
        (lambda folder: DAVIS / "pred_expr", "expected folders such as 'v0aa', found pair"),
        (lambda folder: write_text(folder / "a.json", "[1]"), "prediction_masks"),
        (lambda folder: write_text(folder / "a.json", "{"), "not a JSON file"),
        (lambda folder: write_text(folder / "a.zip", "x"), "not a readable zip"),
    ],
)
def test_what_is_no_prediction_is_refused(tmp_path, make, told):
    with pytest.raises(PipelineError, match=told):
        score(make(tmp_path))


def write_text(path, text):
    path.write_text(text)
    return path


def test_predictions_are_read_from_any_filesystem(tmp_path):
    import fsspec

    filesystem = fsspec.filesystem("memory")
    zipped(CASES / "mevis_tiny" / "pred", tmp_path / "s.zip")
    filesystem.pipe("/predictions/s.zip", (tmp_path / "s.zip").read_bytes())
    assert score("memory://predictions/s.zip")["J&F"] == OFFICIAL["J&F"]
    local = write_dataset(tmp_path / "out")
    (file,) = (local / "masks").glob("*.parquet")
    filesystem.pipe(f"/predictions/out/masks/{file.name}", file.read_bytes())
    assert score("memory://predictions/out")["J&F"] == OFFICIAL["J&F"]


@pytest.fixture
def job(job_here):
    """The command in this process: arguments -> exit code, standard output, standard error."""
    return job_here("evaluate")


def test_the_command_prints_writes_and_reports_by_exit_code(tmp_path, pictures, job):
    options = ["--benchmark", "mevis", "--ground-truth", TRUTH, "--predictions", pictures]
    code, output, errors = job(*options, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv")
    assert (code, errors) == (0, "")
    assert "80.51" in output
    assert json.loads((tmp_path / "a.json").read_text())["J&F"] == OFFICIAL["J&F"]
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [(row["expression_id"], row["expression"]) for row in rows][1] == ("1", "both things")
    shutil.rmtree(pictures / "v0aa" / "1")
    code, _, errors = job(*options)
    assert code == 1
    assert errors.splitlines()[0].startswith("missing: video 'v0aa' expression '1'")
    assert job(*options, "--strict")[0] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["--benchmark", "coco", "--ground-truth", "x", "--predictions", "y"],
        ["--benchmark", "mevis", "--ground-truth", "/absent", "--predictions", "y"],
        ["--benchmark", "mevis", "--ground-truth", TRUTH, "--predictions", "/absent"],
        ["--benchmark", "mevis", "--protocol", "four-annotator", "--ground-truth", TRUTH, "--predictions", "y"],
        ["--benchmark", "mevis", "--ground-truth", TRUTH, "--predictions", "y", "--workers", "0"],
        ["--benchmark", "mevis"],
    ],
)
def test_bad_arguments_end_with_2_and_one_line(arguments, job):
    code, output, errors = job(*arguments)
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1


def run_program(*arguments):
    command = [str(REPOSITORY / "jobs" / "evaluate.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.slow
def test_ray_tasks_give_the_same_numbers(tmp_path, monkeypatch):
    """A private cluster of two; numbers and errors are those of one process."""
    monkeypatch.setenv("RAY_ADDRESS", "local")
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_BACKEND_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    options = ["--benchmark", "ref-davis17", "--ground-truth", DAVIS, "--predictions", DAVIS / "pred_expr"]
    files = [tmp_path / "one.json", tmp_path / "two.json"]
    for workers, file in enumerate(files, start=1):
        done = run_program(*options, "--protocol", "four-annotator", "--workers", workers, "--json", file)
        assert done.returncode == 0, done.stderr
    assert files[0].read_text() == files[1].read_text()
