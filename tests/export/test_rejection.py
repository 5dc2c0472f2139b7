"""--reject-below: rejected expressions are empty in every frame, everywhere, and the dataset stays as it is."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_benchmark import EXPRESSIONS, draw, mask_row, write_dataset

from pipeline.curate import Rules
from pipeline.curate.run import curate
from pipeline.dataset import MaskDataset
from pipeline.dataset.verdicts import JUDGED_COLUMNS, row_digest
from pipeline.errors import UsageError
from pipeline.evaluation import evaluate
from pipeline.export import check, export
from pipeline.report import find_video_frames, write_report
from pipeline.schema import VERDICTS_SCHEMA

PRESENCE = {("v0aa", "0"): 0.9, ("v0aa", "1"): 0.6, ("v0aa", "2"): 0.3, ("v0aa", "10"): 0.8, ("v1bb", "0"): 0.2}


@pytest.fixture
def answered(benchmark_of):
    """A dataset that answers every expression with its target, and the one that matches nothing with a mask."""
    rows = []
    for video in EXPRESSIONS:
        rows.append([])
        for key, (text, objects) in EXPRESSIONS[video].items():
            masks = draw(video)[objects or [0]].any(axis=0)
            rows[-1].append(mask_row(video, key, text, masks, presence=PRESENCE[video, key]))
    benchmark_of.dataset = write_dataset(benchmark_of.folder / "answered", rows)
    return benchmark_of


OUTDATED = ("v0aa", "1")
WRITTEN = ("video_id", "expression_id", "object_id", "expression")


@pytest.fixture
def verified(answered):
    """The same with verdicts that contradict the presence of two expressions, and one on masks of earlier."""
    verdicts = {("v0aa", "0"): 0.1, ("v1bb", "0"): 0.9, OUTDATED: 0.0}
    rows = []
    for row in MaskDataset(answered.dataset).iter_rows(["video_id", "expression_id", "object_id", *JUDGED_COLUMNS]):
        key = (row["video_id"], row["expression_id"])
        if key in verdicts:
            judged = {**row, "areas": [1]} if key == OUTDATED else row
            values = dict.fromkeys(VERDICTS_SCHEMA.names, "") | {name: row[name] for name in row if name in WRITTEN}
            values |= {"verdict": verdicts[key], "outlined": True, "frames": [], "votes": []}
            rows.append(values | {"row_digest": row_digest(judged)})
    folder = Path(answered.dataset, "verdicts")
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=VERDICTS_SCHEMA), folder / "part-00000-of-00001.parquet")
    return answered


NOTE = (
    "rejected: 2 expressions with a verdict or presence below 0.5 (1 by verdict, 1 by presence); "
    "1 verdicts are of earlier masks and do not count"
)


def test_a_verdict_counts_instead_of_presence_everywhere(verified, job_here):
    before, output = digest(verified.dataset), verified.folder / "s.zip"
    unrejected = evaluate("mevis-v2", verified.truth, verified.dataset, choose_threshold=True).as_json()
    assert unrejected["verdict AUC"] is None  # of the two that have one, both have a target
    assert unrejected["per_expression"]["v1bb_0"]["verdict"] == pytest.approx(0.9)
    assert unrejected["chosen_threshold"]["value"] == pytest.approx(0.45)  # between the presences of v0aa_2 and v0aa_1
    options = {
        "export": ["--manifest", verified.manifest, "--format", "mevis-v2", "--output", output],
        "evaluate": ["--benchmark", "mevis-v2", "--ground-truth", verified.truth],
        "curate": ["--output", verified.folder / "few", "--keep-no-object"],
        "report": ["--output", verified.folder / "r.html", "--video-output", verified.folder / "movies"],
    }
    Path(verified.dataset, "run.json").write_text("{}")
    for name, more in options.items():
        code, said, _ = job_here(name)("--predictions", verified.dataset, *more, "--reject-below", "0.5")
        assert code == 0, name
        assert NOTE in " ".join(said.split()), name
    scored = evaluate("mevis-v2", verified.truth, str(output)).as_json()
    empty = {key for key, values in scored["per_expression"].items() if not values["predicted_pixels"]}
    rows = MaskDataset(str(verified.folder / "few")).iter_rows()
    kept = {f"{row['video_id']}_{row['expression_id']}" for row in rows if row["status"] == "no_object"}
    assert empty == kept == {"v0aa_0", "v0aa_2"}
    assert len(list((verified.folder / "movies").iterdir())) == 3
    assert NOTE in (verified.folder / "r.html").read_text()
    assert digest(verified.dataset) == before


def digest(dataset):
    files = sorted(Path(dataset).rglob("*.parquet"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_an_export_is_empty_where_presence_is_low(answered):
    before, output = digest(answered.dataset), answered.folder / "s.zip"
    result = export(answered.dataset, answered.manifest, "mevis-v2", str(output), reject_below=0.5)
    assert result.notes == ["rejected: 2 expressions with a presence below 0.5"]
    assert check(str(output), answered.manifest, "mevis-v2") == []
    scored = evaluate("mevis-v2", answered.truth, str(output)).as_json()
    pixels = {key: values["predicted_pixels"] for key, values in scored["per_expression"].items()}
    assert [key for key, value in pixels.items() if not value] == ["v0aa_2", "v1bb_0"]
    assert digest(answered.dataset) == before


@pytest.mark.parametrize(
    ("below", "rejected", "n_acc", "t_acc", "accuracy"),
    [(None, None, 0, 1, 0.8), (0.5, 2, 1, 0.75, 0.8), (0.25, 1, 0, 0.75, 0.6)],
)
def test_evaluation_gives_the_numbers_of_the_rejected_answers(answered, below, rejected, n_acc, t_acc, accuracy):
    result = evaluate("mevis-v2", answered.truth, answered.dataset, reject_below=below).as_json()
    assert result.get("n_rejected") == rejected
    assert (result["N-acc"], result["T-acc"], result["accuracy"]) == (n_acc, t_acc, accuracy)
    assert result["final"] == pytest.approx((result["J&F"] + n_acc + t_acc) / 3)
    assert result["presence AUC"] == 0.75
    if below == 0.5:
        assert result["MCC"] == pytest.approx(3 / 24**0.5)
        output = answered.folder / "s.zip"
        export(answered.dataset, answered.manifest, "mevis-v2", str(output), reject_below=0.5)
        assert evaluate("mevis-v2", answered.truth, str(output)).as_json()["final"] == result["final"]


def test_the_chosen_threshold_is_the_best_one(answered, job_here):
    result = evaluate("mevis-v2", answered.truth, answered.dataset, choose_threshold=True).as_json()
    chosen = result["chosen_threshold"]
    finals = {
        value: evaluate("mevis-v2", answered.truth, answered.dataset, reject_below=value).as_json()["final"]
        for value in (0.0, 0.25, 0.45, 0.7, 0.85, 0.95)
    }
    assert chosen["value"] == pytest.approx(0.45)
    assert chosen["final"] == pytest.approx(max(finals.values())) == finals[0.45]
    assert chosen["final_without"] == pytest.approx(finals[0.0])
    for value in finals:
        point = result["threshold_curve"][round(100 * value)]
        assert point["reject_below"] == value
        there = evaluate("mevis-v2", answered.truth, answered.dataset, reject_below=value).as_json()
        assert point["final"] == pytest.approx(there["final"])
        of_targets = there["results"]["J&F over target expressions, nothing = no pixel"]["final"]
        assert point["final_target"] == pytest.approx(of_targets)
        others = {"n_acc": "N-acc", "t_acc": "T-acc", "accuracy": "accuracy", "mcc": "MCC", "rejected": "n_rejected"}
        assert {name: point[name] for name in others} == pytest.approx({a: there[b] for a, b in others.items()})
    assert chosen["rejected"] == 2
    options = ["--benchmark", "mevis-v2", "--ground-truth", answered.truth, "--predictions", answered.dataset]
    code, said, _ = job_here("evaluate")(*options, "--choose-threshold")
    assert code == 0
    assert "best on this split: --reject-below 0.45" in said


def test_curating_drops_rejected_expressions_or_keeps_them_empty(answered):
    curation = curate(answered.dataset, str(answered.folder / "few"), Rules(reject_below=0.5))
    assert (curation.rejected, curation.after.rows, curation.dropped["no object"]) == (2, 3, 2)
    curate(answered.dataset, str(answered.folder / "all"), Rules(reject_below=0.5, keep_no_object=True))
    rows = {(r["video_id"], r["expression_id"]): r for r in MaskDataset(str(answered.folder / "all")).iter_rows()}
    assert len(rows) == 5
    assert rows["v1bb", "0"]["status"] == "no_object"
    assert not any(rows["v1bb", "0"]["masks"])
    assert rows["v1bb", "0"]["presence"] == pytest.approx(0.2)
    curation = curate(answered.dataset, str(answered.folder / "present"), Rules(min_presence=0.7))
    assert (curation.after.rows, curation.dropped["presence too low"]) == (2, 3)


def test_a_report_shows_rejected_expressions_as_without_object(answered):
    page = answered.folder / "report.html"
    with find_video_frames({}) as video_frames:
        summary = write_report(answered.dataset, str(page), video_frames, reject_below=0.5)
    assert summary.rejected == 2
    assert "rejected: 2 expressions with a presence below 0.5" in page.read_text()


def test_a_report_with_ground_truth_draws_what_each_threshold_gives(answered, job_here):
    Path(answered.dataset, "run.json").write_text("{}")
    page = answered.folder / "report.html"
    options = ["--benchmark", "mevis-v2", "--ground-truth", answered.truth, "--output", page]
    assert job_here("report")("--predictions", answered.dataset, *options)[0] == 0
    chosen = evaluate("mevis-v2", answered.truth, answered.dataset, choose_threshold=True).threshold
    expected = (
        f"best at 0.45: final {100 * chosen.final:.1f} instead of {100 * chosen.final_without:.1f}, 2 expressions"
    )
    assert expected in page.read_text()
    assert page.read_text().count("<polyline") == 3
    assert job_here("report")("--predictions", answered.dataset, *options, "--reject-below", "0.45")[0] == 0
    assert "<polyline" not in page.read_text()


def test_without_any_presence_nothing_can_be_rejected(benchmark_of, job_here):
    for name, options in {
        "export": [
            "--manifest",
            benchmark_of.manifest,
            "--format",
            "mevis-v2",
            "--output",
            benchmark_of.folder / "s.zip",
        ],
        "evaluate": ["--benchmark", "mevis-v2", "--ground-truth", benchmark_of.truth],
        "curate": ["--output", benchmark_of.folder / "few"],
        "report": ["--output", benchmark_of.folder / "r.html"],
    }.items():
        Path(benchmark_of.dataset, "run.json").write_text("{}")
        code, _, errors = job_here(name)("--predictions", benchmark_of.dataset, *options, "--reject-below", "0.5")
        assert code == 2, name
        assert "nothing can be rejected" in errors
    with pytest.raises(UsageError, match="no expression has a presence"):
        evaluate("mevis-v2", benchmark_of.truth, benchmark_of.dataset, choose_threshold=True)
    with pytest.raises(UsageError, match="not for mevis"):
        evaluate("mevis", benchmark_of.truth, benchmark_of.dataset, choose_threshold=True)


def test_expressions_without_a_presence_are_kept_and_counted(tmp_path):
    manifest = tmp_path / "m.jsonl"
    lines = [{"video_id": "v", "video": "v", "expression_id": str(i), "expression": "a"} for i in range(2)]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    full = np.ones((1, 4, 6), bool)
    rows = [mask_row("v", str(i), "a", full, frames=["00000"], presence=p) for i, p in enumerate((0.1, None))]
    result = export(write_dataset(tmp_path / "d", [rows]), str(manifest), "png", str(tmp_path / "p"), reject_below=0.5)
    assert result.notes == ["rejected: 1 expressions with a presence below 0.5; 1 have no presence and were kept"]
