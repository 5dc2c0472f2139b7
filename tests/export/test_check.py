"""--check finds every fault that servers refuse and offline scorers drop silently; and it survives any file."""

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_benchmark import EXPRESSIONS, FRAMES, SIZES, draw

from pipeline.errors import PipelineError, UsageError
from pipeline.export import check, export
from pipeline.export.pictures import label_png, mask_png

ONE = "v0aa/1/00005.png"


def png(image, format_name="PNG"):
    data = io.BytesIO()
    image.save(data, format_name)
    return data.getvalue()


def right(prefix=""):
    """A submission without faults."""
    return {
        f"{prefix}{video}/{expression}/{frame}.png": mask_png(draw(video)[objects, index].any(axis=0))
        for video in EXPRESSIONS
        for expression, (_, objects) in EXPRESSIONS[video].items()
        for index, frame in enumerate(FRAMES[video])
    }


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return str(path)


def faults_of(benchmark_of, files, format_name="mevis", **options):
    path = write_zip(benchmark_of.folder / "submission.zip", files)
    return check(path, benchmark_of.manifest, format_name, **options)


def grey(size=(36, 24), value=100):
    return png(Image.fromarray(np.linspace(0, value, size[0] * size[1]).reshape(size[::-1]).astype(np.uint8)))


def test_a_right_submission_has_no_faults(benchmark_of):
    assert faults_of(benchmark_of, right()) == []
    assert faults_of(benchmark_of, right("Annotations/"), "ref-youtube-vos") == []
    folders = {f"{video}/": b"" for video in EXPRESSIONS}  # some zip programs write entries for folders
    assert faults_of(benchmark_of, {**folders, **right()}) == []
    for name, data in right().items():
        target = benchmark_of.folder / "folder" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    assert check(str(benchmark_of.folder / "folder"), benchmark_of.manifest, "mevis") == []


def test_an_entry_without_a_name_is_a_fault(benchmark_of):
    path = Path(write_zip(benchmark_of.folder / "submission.zip", {"q": b"", **right()}))
    data = bytearray(path.read_bytes())
    for header, at in ((b"PK\3\4", 26), (b"PK\1\2", 28)):
        start = data.index(header) + at
        data[start : start + 4] = b"\0\0\1\0"  # a name of no bytes, and one of extra data
    path.write_bytes(data)
    assert check(str(path), benchmark_of.manifest, "mevis") == ["'': an entry without a name"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({ONE: None}, ["'v0aa/1/00005.png' is missing"]),  # a frame
        (
            {f"v0aa/1/{f}.png": None for f in FRAMES["v0aa"]},
            ["'v0aa/1' is missing, with all its 3 frames"],
        ),  # an expression
        ({f"v1bb/0/{f}.png": None for f in FRAMES["v1bb"]}, ["video 'v1bb' is missing"]),  # a video
        ({ONE: mask_png(np.ones((24, 35), bool))}, ["'v0aa/1/00005.png': 35x24 pixels, expected 36x24"]),  # size
        ({ONE: mask_png(np.ones((36, 24), bool))}, ["'v0aa/1/00005.png': 24x36 pixels, expected 36x24"]),  # swapped
        ({ONE: label_png(np.ones((24, 36), np.uint8))}, ["'v0aa/1/00005.png': is palette (mode P), expected grey (L)"]),
        ({ONE: png(Image.new("RGB", (36, 24)))}, ["'v0aa/1/00005.png': is colour (mode RGB), expected grey (L)"]),
        ({ONE: png(Image.new("1", (36, 24)))}, ["'v0aa/1/00005.png': is one bit (mode 1), expected grey (L)"]),
        ({ONE: png(Image.new("L", (36, 24)), "JPEG")}, ["'v0aa/1/00005.png': is JPEG, expected PNG"]),
        ({ONE: grey()}, ["'v0aa/1/00005.png': 100 grey values beside 0; a mask has one, 255"]),
        ({ONE: mask_png(np.ones((24, 36), bool), 1)}, ["'v0aa/1/00005.png': the foreground is 1, expected 255"]),
        ({ONE: b"not a picture"}, ["v0aa/1/00005.png is not a picture"]),
        ({ONE: mask_png(np.ones((24, 36), bool))[:50]}, ["v0aa/1/00005.png"]),  # cut short
        ({"v0aa/1/00006.png": b""}, ["'v0aa/1/00006.png': not part of the submission"]),  # a frame too many
        ({"v0aa/9/00000.png": b""}, ["'v0aa/9/00000.png': not part of the submission"]),  # an expression too many
        ({"__MACOSX/v0aa/._1": b""}, ["'__MACOSX/v0aa/._1': not part of the submission"]),
        ({"../../evil.png": b""}, ["'../../evil.png': the path climbs out of the zip"]),
        ({"/etc/evil.png": b""}, ["'/etc/evil.png': absolute path"]),
        ({"v0aa\\1\\x.png": b""}, [r"'v0aa\\1\\x.png': backslashes in the path; zip files separate folders by /"]),
    ],
)
def test_every_fault_is_listed(benchmark_of, change, expected):
    files = {name: data for name, data in {**right(), **change}.items() if data is not None}
    faults = faults_of(benchmark_of, files)
    assert len(faults) == len(expected)
    for fault, start in zip(faults, expected, strict=True):
        assert fault.startswith(start)


def test_several_faults_are_all_listed(benchmark_of):
    files = {**right(), ONE: grey(), "extra.txt": b"", "../up": b""}
    del files["v1bb/0/00007.png"]
    assert len(faults_of(benchmark_of, files)) == 4


@pytest.mark.parametrize(
    ("format_name", "prefix", "told"),
    [
        ("mevis", "Annotations/", "the folder 'Annotations' should not be there"),
        ("mevis", "my submission/", "the folder 'my submission' should not be there"),
        ("ref-youtube-vos", "", "everything must lie in the folder 'Annotations'"),
        ("ref-youtube-vos", "out/Annotations/", "the folder 'out' should not be there"),
        ("ref-davis17", "", "expected folders such as 'anno_0/"),
    ],
)
def test_a_wrong_root_is_one_fault(benchmark_of, format_name, prefix, told):
    if format_name == "ref-davis17":
        manifest = benchmark_of.folder / "m.jsonl"
        lines = [f'{{"video_id": "v", "video": "v", "expression_id": "{n}", "expression": "x"}}' for n in range(4)]
        manifest.write_text("\n".join(lines))
        benchmark_of.manifest = str(manifest)
        assert faults_of(benchmark_of, right(), format_name)[0].startswith(f"wrong root: {told}")
        return
    (fault,) = faults_of(benchmark_of, right(prefix), format_name)
    assert fault.startswith(f"wrong root: {told}")


def test_sizes_are_compared_with_the_videos_where_they_are_at_hand(benchmark_of):
    """All pictures of a video at half its size agree with each other, and are wrong all the same."""
    files = {name: data for name, data in right().items() if name.startswith("v0aa")}
    files |= {f"v1bb/0/{frame}.png": mask_png(np.ones((15, 10), bool)) for frame in FRAMES["v1bb"]}
    assert faults_of(benchmark_of, files) == []
    for video, (height, width) in SIZES.items():
        (benchmark_of.folder / "JPEGImages" / video).mkdir(parents=True)
        first = benchmark_of.folder / "JPEGImages" / video / f"{FRAMES[video][0]}.jpg"
        Image.new("RGB", (width, height)).save(first)
    faults = faults_of(benchmark_of, files, videos=str(benchmark_of.folder / "JPEGImages"))
    assert faults == [f"'v1bb/0/{frame}.png': 10x15 pixels, expected 20x30" for frame in FRAMES["v1bb"]]


def test_doubled_entries_links_and_encryption_are_faults(benchmark_of):
    path = benchmark_of.folder / "submission.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in right().items():
            archive.writestr(name, data)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr(ONE, b"")
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    faults = check(str(path), benchmark_of.manifest, "mevis")
    assert f"{ONE!r}: 2 entries of this name" in faults
    assert "'link': a symbolic link" in faults


def test_a_picture_that_unpacks_to_gigabytes_is_not_unpacked(benchmark_of):
    path = benchmark_of.folder / "submission.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in right().items():
            archive.writestr(name, data if name != ONE else b"\0" * (300 << 20))
    assert check(str(path), benchmark_of.manifest, "mevis") == [f"{ONE} unpacks to more than {256 << 20} bytes"]


def test_a_picture_of_absurd_size_is_not_decoded(benchmark_of):
    header = bytearray(png(Image.new("L", (1, 1))))
    header[16:24] = (100_000).to_bytes(4, "big") * 2
    header[29:33] = __import__("zlib").crc32(bytes(header[12:29])).to_bytes(4, "big")
    (fault,) = faults_of(benchmark_of, {**right(), ONE: bytes(header)})
    assert fault.startswith(ONE)


def test_labels_beyond_the_objects_and_grey_pictures_are_faults_of_annotator_folders(tmp_path):
    lines = [
        f'{{"video_id": "v", "video": "v", "expression_id": "{n}", "expression": "x", "frames": ["0", "1"]}}'
        for n in range(8)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    files = {f"anno_{a}/v/{f}.png": label_png(np.full((4, 5), 2, np.uint8)) for a in range(4) for f in "01"}
    manifest = str(tmp_path / "m.jsonl")
    assert check(write_zip(tmp_path / "s.zip", files), manifest, "ref-davis17") == []
    files["anno_1/v/0.png"] = label_png(np.full((4, 5), 3, np.uint8))
    files["anno_2/v/1.png"] = mask_png(np.ones((4, 5), bool))
    del files["anno_3/v/0.png"]
    assert check(write_zip(tmp_path / "s.zip", files), manifest, "ref-davis17") == [
        "'anno_3/v/0.png' is missing",
        "'anno_1/v/0.png': has the label 3, but the video has 2 objects",
        "'anno_2/v/1.png': is grey (mode L), expected palette (P)",
    ]


def test_videos_without_a_frame_list_must_agree_among_their_expressions(tmp_path):
    lines = [
        f'{{"video_id": "v", "video": "v.mp4", "expression_id": "{key}", "expression": "x"}}' for key in ("0", "1")
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    files = {f"v/{key}/{frame}.png": mask_png(np.ones((4, 5), bool)) for key in "01" for frame in ("00000", "00001")}
    assert check(write_zip(tmp_path / "s.zip", files), str(tmp_path / "m.jsonl"), "mevis") == []
    del files["v/1/00001.png"]
    faults = check(write_zip(tmp_path / "s.zip", files), str(tmp_path / "m.jsonl"), "mevis")
    assert faults == ["'v/1/00001.png' is missing"]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_what_is_no_zip_is_refused(benchmark_of, content):
    path = benchmark_of.folder / "s.zip"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not a readable zip"):
        check(str(path), benchmark_of.manifest, "mevis")
    with pytest.raises(UsageError, match="no such file"):
        check(str(benchmark_of.folder / "absent.zip"), benchmark_of.manifest, "mevis")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=12),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_damaged_zips_give_faults_or_a_readable_refusal(benchmark_of, places, cut):
    path = benchmark_of.folder / "fuzzed.zip"
    data = bytearray(Path(write_zip(path, right())).read_bytes())
    for place, value in places:
        data[int(place * len(data))] = value
    path.write_bytes(bytes(data if cut is None else data[: int(cut * len(data))]))
    try:
        faults = check(str(path), benchmark_of.manifest, "mevis")
    except PipelineError:
        return
    assert all(isinstance(fault, str) and fault for fault in faults)


def test_faults_of_json_results(benchmark_of):
    export(benchmark_of.dataset, benchmark_of.manifest, "youtube-vis", str(benchmark_of.folder / "vis"))
    path = benchmark_of.folder / "results.json"
    path.write_text(
        '[{"video_id": 3, "segmentations": []}, {"video_id": 2, "segmentations": [null]}, '
        '{"video_id": 2, "segmentations": [null, {"size": [2, 2], "counts": "zz"}]}, 7]'
    )
    faults = check(str(path), benchmark_of.manifest, "youtube-vis")
    assert [fault.split(":")[0].split(",")[0] for fault in faults] == ["record 0", "record 1", "record 2", "record 3"]
    path.write_text("{")
    with pytest.raises(UsageError, match="not a JSON file"):
        check(str(path), benchmark_of.manifest, "youtube-vis")
    path.write_text('{"images": [], "annotations": [{"image_id": 1}]}')
    faults = check(str(path), benchmark_of.manifest, "coco")
    assert len(faults) == 6  # five frames without an image, one annotation of none
