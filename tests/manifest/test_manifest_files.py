"""Manifests in several files and in other wrappings than one plain file."""

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from pipeline.manifest import read_manifest


def row(number, **more):
    return {
        "video_id": f"v{number}",
        "video": f"clips/{number}.mp4",
        "expression_id": "0",
        "expression": f"the thing {number}",
        **more,
    }


def ids(manifest, **options):
    return [task.video_id for task in read_manifest(str(manifest), **options)]


@pytest.fixture
def folder(tmp_path):
    """A folder as Spark leaves it, with parts of several kinds."""
    parts = tmp_path / "m.parquet"
    (parts / "year=2026").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row(0), row(1)]), parts / "part-0.parquet")
    pq.write_table(pa.Table.from_pylist([row(2)]), parts / "year=2026" / "part-1.parquet")
    (parts / "part-2.jsonl").write_text(json.dumps(row(3)) + "\n")
    (parts / "_SUCCESS").touch()
    (parts / ".part-0.parquet.crc").write_bytes(b"x")
    return parts


def test_a_folder_of_files_is_one_manifest(folder, tmp_path):
    assert sorted(ids(folder)) == ["v0", "v1", "v2", "v3"]
    assert read_manifest(str(folder))[0].video == str(tmp_path / "clips/0.mp4")
    assert sorted(ids(f"file://{folder}/")) == ["v0", "v1", "v2", "v3"]


def test_a_glob_of_files_is_one_manifest(folder):
    assert ids(folder / "part-*.parquet") == ["v0", "v1"]
    assert read_manifest(str(folder / "*.jsonl"))[0].video == str(folder / "clips/3.mp4")
    with pytest.raises(UsageError, match=r"holds no manifest: expected files of \.jsonl.*found nothing"):
        ids(folder / "none-*.parquet")


def test_a_fault_in_one_of_several_files_is_found_in_it(folder):
    (folder / "part-3.jsonl").write_text(json.dumps(row(0)) + "\n")
    with pytest.raises(UsageError, match=r"part-3\.jsonl, line 1: video_id 'v0' has expression_id '0' twice"):
        ids(folder)


def test_a_folder_without_manifests_says_what_it_holds(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match=r"holds no manifest: .*found photo\.jpg"):
        ids(tmp_path)


@pytest.mark.parametrize("name", ["m.jsonl", "m.ndjson", "m.csv", "m.tsv"])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order-mark"])
def test_text_files_of_every_kind_packed_or_not(tmp_path, name, is_packed, mark):
    if name in ("m.csv", "m.tsv"):
        delimiter = "," if name == "m.csv" else "\t"
        lines = [delimiter.join(row(0)), *(delimiter.join(row(number).values()) for number in range(2))]
    else:
        lines = [json.dumps(row(number)) for number in range(2)]
    data = mark + "\n".join(lines).encode() + b"\n"
    path = tmp_path / (name + ".gz" * is_packed)
    path.write_bytes(gzip.compress(data) if is_packed else data)
    assert ids(path) == ["v0", "v1"]


def test_a_damaged_gzip_is_refused(tmp_path):
    whole = gzip.compress(b"\n".join(json.dumps(row(number)).encode() for number in range(100)))
    (tmp_path / "m.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"m\.jsonl\.gz: not a readable jsonl file"):
        ids(tmp_path / "m.jsonl.gz")


def test_a_json_array_of_rows(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps([row(0), row(1)]))
    assert ids(path) == ["v0", "v1"]
    path.write_text(json.dumps([row(0), "text"]))
    with pytest.raises(UsageError, match="row 2: expected an array of JSON objects, found a string"):
        ids(path)


def test_a_long_list_of_frames_fits_a_csv_cell(tmp_path):
    frames = [f"{index:08d}" for index in range(20_000)]
    with (tmp_path / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([[*row(0), "frames"], [*row(0).values(), " ".join(frames)]])
    assert read_manifest(str(tmp_path / "m.csv"))[0].frames == tuple(frames)


def test_frames_named_as_files_are_frames(tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps(row(0, frames=["00000.jpg", "00001.PNG", "shot.2"])))
    assert read_manifest(str(tmp_path / "m.jsonl"))[0].frames == ("00000", "00001", "shot.2")


def test_home_folders_and_file_urls(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my data").mkdir()
    rows = [row(0, video="~/a.mp4"), row(1, video=f"file://{tmp_path}/b%20c.mp4"), row(2)]
    (tmp_path / "my data" / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for manifest in ("~/my data/m.jsonl", f"file://{tmp_path}/my%20data/m.jsonl"):
        videos = [task.video for task in read_manifest(manifest, videos="~/videos")]
        assert videos == [str(tmp_path / name) for name in ("a.mp4", "b c.mp4", "videos/clips/2.mp4")]
