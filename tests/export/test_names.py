"""Names in exports: nothing leaves the export's folder, one odd id costs only itself, pictures keep their own names."""

import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from small_benchmark import mask_row, write_dataset

from pipeline.errors import UsageError
from pipeline.export import IncompleteDatasetError, check, export
from pipeline.export.file_names import FileNames
from pipeline.export.names import NameStyle, UnsafePathError, escaped, safe_path, unusable_names
from pipeline.export.sinks import open_sink
from pipeline.schema import Expression, VideoTask

MASK = np.ones((1, 4, 6), bool)


def write_manifest(folder, videos, *, expression_id="0"):
    manifest = folder / "m.jsonl"
    lines = [{"video_id": v, "video": v, "expression_id": expression_id, "expression": "a"} for v in videos]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(manifest)


@pytest.mark.parametrize("frame", ["../../../escaped/pwned", "/tmp/pwned", "..", "a/b", "a\\b", "a\0b"])
@pytest.mark.parametrize("output", ["deep/out", "deep/out.zip", "memory://traversal/out"])
def test_frame_names_of_a_strangers_dataset_cannot_leave_the_export(tmp_path, frame, output):
    good = mask_row("good", "0", "a", MASK, frames=["00000"])
    bad = mask_row("v", "0", "a", MASK, frames=[frame])
    dataset = write_dataset(tmp_path / "evil", [[good], [bad]])
    manifest = write_manifest(tmp_path, ["good", "v"])
    before = sorted(tmp_path.rglob("*"))
    target = output if "://" in output else str(tmp_path / output)
    with pytest.raises(IncompleteDatasetError, match="cannot be a file or folder name"):
        export(dataset, manifest, "mevis", target)
    assert sorted(tmp_path.rglob("*")) == before
    result = export(dataset, manifest, "mevis", target, allow_missing=True)
    assert list(result.left_out) == [("v", "0")]
    written = sorted(path for path in tmp_path.rglob("*") if path not in before and path.is_file())
    assert all(path.is_relative_to(tmp_path / "deep") for path in written)


@pytest.mark.parametrize(
    "path", ["../x.png", "/x.png", "a/../../x.png", "a//x.png", "a\\..\\x.png", "C:/x.png", "", "a\0b"]
)
@pytest.mark.parametrize("output", ["out", "out.zip", "memory://sinks/out"])
def test_every_sink_refuses_a_path_that_leaves_it(tmp_path, path, output):
    target = output if "://" in output else str(tmp_path / output)
    with pytest.raises(UnsafePathError), open_sink(target) as sink:
        sink.write(path, b"x")
    assert not list(tmp_path.rglob("*"))
    assert safe_path("a/b.png") == "a/b.png"


def test_one_id_with_a_colon_costs_only_itself(tmp_path):
    rows = [[mask_row(v, "0", "a", MASK, frames=["00000"])] for v in ("clip", "at 12:30")]
    dataset, manifest = write_dataset(tmp_path / "d", rows), write_manifest(tmp_path, ["clip", "at 12:30"])
    with pytest.raises(IncompleteDatasetError, match=r"'at 12:30'.*holds ':'"):
        export(dataset, manifest, "mevis", str(tmp_path / "s.zip"))
    result = export(dataset, manifest, "mevis", str(tmp_path / "s.zip"), allow_missing=True)
    assert list(result.left_out) == [("at 12:30", "0")]
    assert zipfile.ZipFile(tmp_path / "s.zip").namelist() == ["clip/0/00000.png"]
    assert len(check(str(tmp_path / "s.zip"), manifest, "mevis")) == 1  # the colon, not the whole submission
    for name in ("coco", "youtube-vis", "png"):  # text in a file, or escaped
        assert export(dataset, manifest, name, str(tmp_path / name)).left_out == {}
    assert (tmp_path / "png" / "at 12%3A30" / "0" / "00000.png").exists()
    assert check(str(tmp_path / "png"), manifest, "png") == []


def test_an_expression_id_that_cannot_be_a_name_costs_only_that_expression():
    expressions = tuple(Expression(expression_id=key, text="a") for key in ("0", "x?", "y" * 300))
    task = VideoTask(video_id="v", video="v", expressions=expressions)
    assert set(unusable_names(task, ["00000"], NameStyle.FOLDERS)) == {"x?", "y" * 300}
    assert set(unusable_names(task, ["00000"], NameStyle.ESCAPED)) == {"y" * 300}
    assert unusable_names(task, ["00000"], NameStyle.FREE) == {}


def test_escaped_names_differ_where_names_do():
    names = ["a:b", "a%3Ab", "..", ".", "%2E", "a*b", "e\u0301\u202e", "a\nb"]
    assert len({escaped(name) for name in names}) == len(names)
    assert not any(character in "".join(map(escaped, names)) for character in ":*\n\u202e")


def pictures(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4)).save(folder / name)


def test_pictures_keep_their_place_and_extension(tmp_path):
    pictures(tmp_path, "frames.v2/00000.png", "frames.v2/00001.webp", "photos/IMG_1.jpeg")
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.write(tmp_path / "frames.v2/00000.png", "inner/00000.png")
    with tarfile.open(tmp_path / "pack.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "frames.v2/00000.png", "00000.png")
    names = FileNames(str(tmp_path))

    def of(video, frames=("00000",)):
        return names.of("id", str(tmp_path / video), frames)

    assert of("frames.v2", ("00000", "00001")) == ["frames.v2/00000.png", "frames.v2/00001.webp"]
    assert of("photos/IMG_1.jpeg", ("IMG_1",)) == ["photos/IMG_1.jpeg"]
    assert of("pack.zip") == ["pack.zip/inner/00000.png"]
    assert of("pack.tar.gz") == ["pack.tar.gz/00000.png"]
    assert of("clips/walk.mp4") == ["clips/walk/00000.jpg"]
    assert of("not_here") == ["not_here/00000.jpg"]
    assert names.of("id", "/elsewhere/a.png", ["a"]) == ["/elsewhere/a.png"]
    secret = names.of("id", "https://me:hush@host/a.mp4?X-Amz-Signature=abc", ["00000"])
    assert secret == ["https://***@host/a/00000.jpg"]


def test_another_pattern_of_file_names():
    names = FileNames("/data", "{video}/img_{frame}.png")
    assert names.of("id", "/data/clips/{frame}.mp4", ["00000"]) == ["clips/{frame}/img_00000.png"]
    assert FileNames("/", "{video_id}-{frame}.jpg").of("v", "/x.mp4", ["7"]) == ["v-7.jpg"]
    for pattern in ("{video_id}.jpg", "{frame}{other}", "{frame", "{frame!r}"):
        with pytest.raises(UsageError, match="--file-names"):
            FileNames("/", pattern)


@pytest.mark.parametrize("name", ["coco", "youtube-vis"])
def test_file_names_of_an_export_exist_beside_the_manifest(tmp_path, name):
    pictures(tmp_path, "frames/00000.png", "photos/IMG_1.jpeg")
    manifest = tmp_path / "m.jsonl"
    lines = [("frames", "frames"), ("img", "photos/IMG_1.jpeg")]
    rows = [{"video_id": v, "video": where, "expression_id": "0", "expression": "a"} for v, where in lines]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    masks = [[mask_row(v, "0", "a", MASK, frames=[f])] for v, f in (("frames", "00000"), ("img", "IMG_1"))]
    dataset = write_dataset(tmp_path / "d", masks)
    output = tmp_path / "out.json"
    export(dataset, str(manifest), name, str(output))
    content = json.loads(output.read_text())
    found = [image["file_name"] for image in content.get("images", [])]
    found += [file for video in content.get("videos", []) for file in video.get("file_names", [])]
    assert sorted(found) == ["frames/00000.png", "photos/IMG_1.jpeg"]
    assert all((tmp_path / file).exists() for file in found)
    assert check(str(output), str(manifest), name) == []
    export(dataset, str(manifest), name, str(output), file_names="{video_id}/{frame}.tif")
    assert "img/IMG_1.tif" in output.read_text()
