"""Rows that are there when ids are read and gone when masks are read never become black masks without a word."""

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from small_benchmark import mask_row, truth_rows, write_dataset

from pipeline.curate import Rules
from pipeline.curate.run import curate
from pipeline.dataset import DatasetWriter
from pipeline.dataset.verification import DamagedDatasetError
from pipeline.evaluation import evaluate
from pipeline.export import FORMATS, check, export
from pipeline.report import find_video_frames, write_report
from pipeline.schema import Expression, VideoTask, failed_rows


def corrupt_masks(dataset: str, video: str) -> Path:
    """Change bytes of the run lengths in a video's file; its ids and its footer stay whole."""
    import pyarrow.parquet as pq

    (file,) = Path(dataset, "masks").glob(f"{video}-*.parquet")
    with pq.ParquetFile(file) as parquet:
        group = parquet.metadata.row_group(0)
        columns = [group.column(index) for index in range(group.num_columns)]
    column = next(column for column in columns if column.path_in_schema.endswith("counts"))
    data = bytearray(file.read_bytes())
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 255
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("name", ["mevis", "ref-youtube-vos", "revos", "png", "coco", "youtube-vis"])
def test_an_export_stops_and_names_file_and_video(benchmark_of, name):
    file = corrupt_masks(benchmark_of.dataset, "v0aa")
    output = benchmark_of.folder / ("out.json" if FORMATS[name].unit == "annotations" else "out.zip")
    with pytest.raises(DamagedDatasetError, match=f"{file.name}.*'v0aa'.*--allow-missing"):
        export(benchmark_of.dataset, benchmark_of.manifest, name, str(output))
    assert not output.exists()
    result = export(benchmark_of.dataset, benchmark_of.manifest, name, str(output), allow_missing=True)
    assert {video for video, _ in result.missing} == {"v0aa"}
    assert len(result.missing) == 4
    assert "do not read back" in result.missing["v0aa", "0"]


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_file_cut_short_stops_an_export(benchmark_of, damage):
    (file,) = Path(benchmark_of.dataset, "masks").glob("v0aa-*.parquet")
    file.write_bytes(file.read_bytes()[:-7] if damage is None else damage)
    output = benchmark_of.folder / "out.zip"
    with pytest.raises(DamagedDatasetError, match=file.name):
        export(benchmark_of.dataset, benchmark_of.manifest, "mevis", str(output))
    result = export(
        benchmark_of.dataset, benchmark_of.manifest, "mevis", str(output), allow_missing=True, videos=benchmark_of.truth
    )
    assert len(result.missing) + len(result.left_out) == 4


def test_exit_codes_of_every_command(benchmark_of, job_here):
    file = corrupt_masks(benchmark_of.dataset, "v0aa")
    predictions = ["--predictions", benchmark_of.dataset]
    truth = ["--benchmark", "mevis", "--ground-truth", benchmark_of.truth]
    of = ["--manifest", benchmark_of.manifest, "--format", "mevis"]
    Path(benchmark_of.dataset, "run.json").write_text(json.dumps({"state": "finished", "run_id": "r"}))
    outputs = (benchmark_of.folder / name for name in ("a.zip", "b", "c.html"))
    commands = {
        "export": [*predictions, *of, "--output", next(outputs)],
        "evaluate": [*predictions, *truth],
        "curate": [*predictions, "--output", next(outputs)],
        "report": [*predictions, "--output", next(outputs)],
    }
    for name, arguments in commands.items():
        code, _, errors = job_here(name)(*arguments)
        assert code == 3, name
        assert file.name in errors, name
        assert "'v0aa'" in errors, name
        code, _, errors = job_here(name)(*arguments, "--allow-missing")
        assert code == 1, name
        assert "v0aa" in errors, name
    code, said, _ = job_here("status")(benchmark_of.dataset)
    assert code == 3
    assert file.name in said


def test_curating_counts_what_it_leaves_out(benchmark_of):
    corrupt_masks(benchmark_of.dataset, "v0aa")
    Path(benchmark_of.dataset, "run.json").write_text("{}")
    new = str(benchmark_of.folder / "new")
    with pytest.raises(DamagedDatasetError):
        curate(benchmark_of.dataset, new, Rules())
    curation = curate(benchmark_of.dataset, new, Rules(), allow_missing=True)
    assert curation.after.rows == 1
    assert any("4 rows of damaged files are left out" in line for line in curation.lost)


def test_a_report_on_a_damaged_dataset_says_so_on_its_page(benchmark_of):
    file = corrupt_masks(benchmark_of.dataset, "v0aa")
    page = benchmark_of.folder / "report.html"
    with find_video_frames({}) as video_frames:
        write_report(benchmark_of.dataset, str(page), video_frames, allow_missing=True)
    assert file.name in page.read_text()


def test_expressions_of_a_damaged_file_score_0_only_where_that_is_allowed(benchmark_of):
    corrupt_masks(benchmark_of.dataset, "v0aa")
    with pytest.raises(DamagedDatasetError):
        evaluate("mevis", benchmark_of.truth, benchmark_of.dataset)
    result = evaluate("mevis", benchmark_of.truth, benchmark_of.dataset, allow_missing=True).as_json()
    assert (result["n_missing"], result["J"]) == (4, 0.2)


def test_a_mask_that_does_not_decode_is_missing_where_that_is_allowed(benchmark_of):
    rows = truth_rows("v0aa")
    rows[0].masks[0] = {"size": [24, 36], "counts": "zzz"}
    dataset = write_dataset(benchmark_of.folder / "broken", [rows, truth_rows("v1bb")])
    output = benchmark_of.folder / "out.zip"
    result = export(dataset, benchmark_of.manifest, "mevis", str(output), allow_missing=True)
    assert list(result.missing) == [("v0aa", "0")]
    assert "damaged mask" in result.missing["v0aa", "0"]
    assert check(str(output), benchmark_of.manifest, "mevis") == []


def test_a_video_whose_frames_nobody_knows_is_left_out_by_name(tmp_path):
    lines = [{"video_id": v, "video": f"{v}.mp4", "expression_id": "0", "expression": "a"} for v in ("good", "gone")]
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    good = mask_row("good", "0", "a", np.ones((2, 4, 6), bool), frames=["00000", "00001"])
    dataset = write_dataset(tmp_path / "out", [[good]])
    task = VideoTask(video_id="gone", video="gone.mp4", expressions=(Expression(expression_id="0", text="a"),))
    DatasetWriter(dataset).commit(failed_rows(task, "VideoError: gone.mp4: no such file"))
    for name in FORMATS:
        if FORMATS[name].read_manifest or FORMATS[name].picks_frames or name == "ref-davis17":
            continue  # formats of one benchmark, and those that read the videos themselves
        if name == "rerun" and find_spec("rerun") is None:
            continue
        output = tmp_path / f"{name}.{'json' if FORMATS[name].unit == 'annotations' else 'zip'}"
        result = export(dataset, str(manifest), name, str(output), allow_missing=True)
        assert list(result.left_out) == [("gone", "0")], name
        assert "no such file" in result.left_out["gone", "0"]
        assert result.missing == {}
        assert output.exists()
    with zipfile.ZipFile(tmp_path / "png.zip") as archive:
        assert archive.namelist() == ["good/0/00000.png", "good/0/00001.png"]
