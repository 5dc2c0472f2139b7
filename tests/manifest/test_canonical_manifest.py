"""The canonical manifest as users write it: Parquet, JSON lines and CSV, good and bad."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.manifest import read_manifest
from pipeline.schema import Expression

ROWS = [
    {"video_id": "10", "video": "clips/a.mp4", "expression_id": "0", "expression": "the red car"},
    {"video_id": "007", "video": "/abs/b.mp4", "expression_id": "0", "expression": "le chat, à gauche\nqui court"},
    {"video_id": "10", "video": "clips/a.mp4", "expression_id": "1", "expression": ""},
    {"video_id": "s", "video": "s3://bucket/c d.mp4", "expression_id": "x", "expression": "狗 🐕"},
]


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                frames = row.get("frames")
                writer.writerow({**row, "frames": " ".join(frames)} if frames else row)
    return str(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
class TestEveryFormat:
    def test_rows_become_one_task_per_video(self, tmp_path, suffix):
        tasks = read_manifest(write(tmp_path / f"m{suffix}", ROWS))
        assert [task.video_id for task in tasks] == ["10", "007", "s"]
        assert tasks[0].expressions == (
            Expression(expression_id="0", text="the red car"),
            Expression(expression_id="1", text=""),
        )
        assert tasks[1].expressions[0].text == ROWS[1]["expression"]
        assert [task.video for task in tasks] == [str(tmp_path / "clips/a.mp4"), "/abs/b.mp4", "s3://bucket/c d.mp4"]
        assert tasks[0].frames is None

    def test_relative_videos_resolve_against_the_given_root(self, tmp_path, suffix):
        manifest = write(tmp_path / f"m{suffix}", ROWS)
        assert read_manifest(manifest, videos="s3://bucket/root/")[0].video == "s3://bucket/root/clips/a.mp4"
        assert read_manifest(manifest, videos=str(tmp_path / "else"))[0].video == str(tmp_path / "else/clips/a.mp4")

    def test_frames_are_kept_in_order(self, tmp_path, suffix):
        rows = [{**ROWS[0], "frames": ["00010", "00002", "7"]}]
        assert read_manifest(write(tmp_path / f"m{suffix}", rows))[0].frames == ("00010", "00002", "7")

    def test_terms_of_a_video_may_stand_in_one_of_its_rows(self, tmp_path, suffix):
        said = {"license": "cc0-1.0", "video_source": "https://example.com"}
        rows = [{**ROWS[0], "license": None, "video_source": None}, {**ROWS[2], **said}, {**ROWS[1], **said}]
        tasks = read_manifest(write(tmp_path / f"m{suffix}", rows))
        assert [(task.license, task.video_source) for task in tasks] == [tuple(said.values())] * 2
        assert [len(task.expressions) for task in tasks] == [2, 1]
        plain = read_manifest(write(tmp_path / f"n{suffix}", ROWS))
        assert {(task.license, task.video_source) for task in plain} == {(None, None)}

    @pytest.mark.parametrize("column", ["license", "video_source"])
    def test_two_terms_for_one_video_are_refused(self, tmp_path, suffix, column):
        rows = [{**ROWS[0], column: "a"}, {**ROWS[1], column: "c"}, {**ROWS[2], column: "b"}]
        with pytest.raises(UsageError, match=rf"{column}.*'10' has 'b' here and 'a' before"):
            read_manifest(write(tmp_path / f"m{suffix}", rows))

    def test_limit_takes_the_first_videos_whole(self, tmp_path, suffix):
        tasks = read_manifest(write(tmp_path / f"m{suffix}", ROWS), limit=1)
        assert [(task.video_id, len(task.expressions)) for task in tasks] == [("10", 2)]

    @pytest.mark.parametrize("column", ["video_id", "video", "expression_id", "expression"])
    def test_a_missing_column_is_named(self, tmp_path, suffix, column):
        rows = [{key: value for key, value in ROWS[0].items() if key != column}]
        manifest = write(tmp_path / f"m{suffix}", rows)
        with pytest.raises(UsageError, match=f"column '{column}' is missing") as caught:
            read_manifest(manifest)
        assert manifest in str(caught.value)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({}, "video_id '10' has expression_id '0' twice"),
            ({"expression_id": "9", "video": "other.mp4"}, "'video'.*'other.mp4' here and 'clips/a.mp4' before"),
            ({"video_id": ""}, "column 'video_id' is empty"),
            ({"video_id": "new", "expression_id": ""}, "column 'expression_id' is empty"),
            ({"video_id": "new", "video": ""}, "column 'video' is empty"),
        ],
    )
    def test_contradicting_rows_are_refused_by_place(self, tmp_path, suffix, change, message):
        rows = [ROWS[0], ROWS[3], {**ROWS[0], **change}]
        place = "row 3" if suffix == ".parquet" else "line 3" if suffix == ".jsonl" else "line 4"
        with pytest.raises(UsageError, match=f"m{suffix}: {place}: .*{message}") as caught:
            read_manifest(write(tmp_path / f"m{suffix}", rows))
        assert "\n" not in str(caught.value)

    def test_two_frame_lists_for_one_video_are_refused(self, tmp_path, suffix):
        rows = [{**ROWS[0], "frames": ["1", "2"]}, {**ROWS[2], "frames": ["1", "3"]}]
        with pytest.raises(UsageError, match="column 'frames': video_id '10' has another list"):
            read_manifest(write(tmp_path / f"m{suffix}", rows))

    def test_a_frame_named_twice_is_refused(self, tmp_path, suffix):
        with pytest.raises(UsageError, match="column 'frames' names '1' twice"):
            read_manifest(write(tmp_path / f"m{suffix}", [{**ROWS[0], "frames": ["1", "2", "1"]}]))

    def test_garbage_is_refused(self, tmp_path, suffix):
        manifest = tmp_path / f"m{suffix}"
        manifest.write_bytes(b"\x00\xff\xfe garbage \x80\n" * 50)
        with pytest.raises(UsageError, match=str(manifest)):
            read_manifest(str(manifest))

    def test_an_empty_file_is_refused(self, tmp_path, suffix):
        manifest = tmp_path / f"m{suffix}"
        manifest.touch()
        with pytest.raises(UsageError, match=str(manifest)):
            read_manifest(str(manifest))

    def test_a_missing_file_is_refused(self, tmp_path, suffix):
        with pytest.raises(UsageError, match="no such file"):
            read_manifest(str(tmp_path / f"m{suffix}"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"video_id": 1.5, "video": "a", "expression_id": "0", "expression": "x"}', "'video_id' must be a string"),
        ('{"video_id": true, "video": "a", "expression_id": "0", "expression": "x"}', "found a boolean"),
        ('{"video_id": "1", "video": "a", "expression_id": "0", "expression": null}', "'expression' must be a string"),
        ('{"video_id": "1", "video": 7, "expression_id": "0", "expression": "x"}', "'video' must be a string"),
        ('{"video_id": "1", "video": "a", "expression_id": "0", "expression": "\\ud800"}', "surrogate"),
        ('{"video_id": "1", "video": "a", "expression_id": "0", "expression": "x", "frames": "1 2"}', "'frames'"),
        ('{"video_id": "1", "video": "a", "expression_id": "0", "expression": "x", "frames": []}', "empty list"),
        ('["a list"]', "expected a JSON object on each line"),
        ('{"video_id": ', "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"video_id": ' + "1" * 10_000 + "}", "not a JSON object"),
    ],
)
def test_a_bad_json_line_is_named(tmp_path, line, message):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps(ROWS[0]) + "\n\n" + line + "\n")
    with pytest.raises(UsageError, match=f"m.jsonl: line 3: .*{message}"):
        read_manifest(str(manifest))


def test_whole_numbers_are_accepted_as_ids(tmp_path):
    manifest = write(tmp_path / "m.jsonl", [{**ROWS[0], "video_id": 10, "expression_id": 3}])
    task = read_manifest(manifest)[0]
    assert (task.video_id, task.expressions[0].expression_id) == ("10", "3")
    manifest = write(tmp_path / "m.parquet", [{**ROWS[0], "video_id": 10, "expression_id": 3}])
    assert read_manifest(manifest) == [task]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("video_id", pa.array([1.0]), "'video_id' has type double, expected string"),
        ("expression", pa.array([3]), "'expression' has type int64, expected string"),
        ("expression", pa.array([None], pa.string()), "row 1: column 'expression' is null"),
        ("frames", pa.array(["00000"]), "'frames' has type string, expected a list of strings"),
        ("frames", pa.array([["0", None]]), "row 1: column 'frames' holds a null"),
    ],
)
def test_bad_parquet_columns_are_named(tmp_path, column, values, message):
    table = pa.Table.from_pylist(ROWS[:1])
    at = table.schema.get_field_index(column)
    table = table.append_column(column, values) if at < 0 else table.set_column(at, column, values)
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(UsageError, match=message):
        read_manifest(str(tmp_path / "m.parquet"))


def test_dictionary_and_large_strings_are_read(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    table = table.set_column(0, "video_id", table.column("video_id").dictionary_encode())
    table = table.set_column(3, "expression", table.column("expression").cast(pa.large_string()))
    pq.write_table(table, tmp_path / "m.parquet")
    assert read_manifest(str(tmp_path / "m.parquet")) == read_manifest(write(tmp_path / "m.jsonl", ROWS))


def test_a_csv_line_with_too_many_cells_is_named(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text("video_id,video,expression_id,expression\na,a.mp4,0,a dog, running\n")
    with pytest.raises(UsageError, match=r"line 2: 5 cells where the header has 4; quote"):
        read_manifest(str(manifest))


def test_a_csv_of_excel_is_read(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_bytes("\ufeffvideo_id,video,expression_id,expression\r\n007,a.mp4,0,ein Hund\r\n".encode())
    assert read_manifest(str(manifest))[0].video_id == "007"


def test_a_header_alone_is_an_empty_manifest(tmp_path):
    (tmp_path / "m.csv").write_text("video_id,video,expression_id,expression\n")
    with pytest.raises(UsageError, match="the manifest has no rows"):
        read_manifest(str(tmp_path / "m.csv"))


def test_an_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"unknown kind of manifest '.txt'; expected .parquet"):
        read_manifest(str(tmp_path / "m.txt"))


def test_hostile_ids_stay_as_written(tmp_path):
    ids = ["../../x", "/etc/passwd", "a\0b", "a\nb", "a:b", "é" * 5000]
    rows = [{**ROWS[0], "video_id": text, "expression_id": text} for text in ids]
    tasks = read_manifest(write(tmp_path / "m.jsonl", rows))
    assert [task.video_id for task in tasks] == ids
    assert [task.expressions[0].expression_id for task in tasks] == ids
