"""Benchmarks' meta_expressions.json files as manifests."""

import json

import pytest

from pipeline.errors import UsageError
from pipeline.manifest import read_manifest

MEVIS = {
    "videos": {
        "0a1b": {
            "vid_id": 3,
            "frames": ["00000", "00002", "00001"],
            "expressions": {
                "0": {"exp": "The two birds", "obj_id": [0, 2], "anno_id": [17, 19]},
                "10": {"exp": "nothing like this", "obj_id": [], "anno_id": []},
                "2": {"exp": " Bird that stays "},
            },
        },
        "set/clip 2": {
            "height": 480,
            "width": 854,
            "frames": ["00005", "00010"],
            "expressions": {"0": {"exp": "a dog", "type_id": 1}},
        },
    }
}


@pytest.fixture
def split(tmp_path):
    folder = tmp_path / "valid"
    (folder / "JPEGImages" / "0a1b").mkdir(parents=True)
    (folder / "JPEGImages" / "set" / "clip 2").mkdir(parents=True)
    (folder / "meta_expressions.json").write_text(json.dumps(MEVIS))
    return folder


def test_frames_ids_and_texts_are_taken_exactly(split):
    first, second = read_manifest(str(split / "meta_expressions.json"), videos=str(split / "JPEGImages"))
    assert first.frames == ("00000", "00002", "00001")
    assert [item.expression_id for item in first.expressions] == ["0", "10", "2"]
    assert first.expressions[2].text == " Bird that stays "
    assert first.video == str(split / "JPEGImages" / "0a1b")
    assert (second.video_id, second.video) == ("set/clip 2", str(split / "JPEGImages" / "set" / "clip 2"))


def test_the_image_folder_beside_the_file_is_found(split):
    meta = str(split / "meta_expressions.json")
    assert read_manifest(meta) == read_manifest(meta, videos=str(split / "JPEGImages"))


def test_the_other_splits_videos_are_left_out(split, tmp_path):
    other = tmp_path / "test.json"
    other.write_text(json.dumps({"videos": {"0a1b": MEVIS["videos"]["0a1b"]}}))
    meta = str(split / "meta_expressions.json")
    assert [task.video_id for task in read_manifest(meta, exclude_meta=str(other))] == ["set/clip 2"]
    with pytest.raises(UsageError, match="excludes every video"):
        read_manifest(meta, exclude_meta=meta)


def test_limit_counts_videos_after_exclusion(split, tmp_path):
    other = tmp_path / "test.json"
    other.write_text(json.dumps({"videos": {"0a1b": MEVIS["videos"]["0a1b"]}}))
    tasks = read_manifest(str(split / "meta_expressions.json"), exclude_meta=str(other), limit=1)
    assert [task.video_id for task in tasks] == ["set/clip 2"]


def test_a_missing_video_among_others_is_not_the_manifests_fault(split):
    (split / "JPEGImages" / "0a1b").rmdir()
    assert len(read_manifest(str(split / "meta_expressions.json"))) == 2


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        (".", "none of the 2 videos .* expected folders such as '0a1b', found .*give --videos .*/valid/JPEGImages"),
        ("..", "none of the 2 videos .* found 'valid'"),
        ("nowhere", "nowhere: no such folder"),
    ],
)
def test_a_wrong_image_root_says_what_is_there(split, videos, message):
    with pytest.raises(UsageError, match=message):
        read_manifest(str(split / "meta_expressions.json"), videos=str(split / videos))


def test_no_image_root_asks_for_one(tmp_path):
    (tmp_path / "meta_expressions.json").write_text(json.dumps(MEVIS))
    with pytest.raises(UsageError, match=r"--videos .*JPEGImages"):
        read_manifest(str(tmp_path / "meta_expressions.json"))


def with_video(**changes):
    return {"videos": {"v": {"frames": ["0"], "expressions": {"0": {"exp": "x"}}, **changes}}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"info": {}, "annotations": []}, "the top level: .*expected .*'info', 'annotations'"),
        ([1, 2], "the top level: .*found list"),
        ({"videos": [{"id": 1, "file_names": []}]}, "the top level"),
        ({"videos": {}}, "lists no video"),
        (with_video(frames=None), "'frames' of video 'v': .*found nothing"),
        (with_video(frames=[1, 2]), "'frames' of video 'v'"),
        (with_video(frames=[]), "'frames' of video 'v'"),
        (with_video(expressions=["x"]), "'expressions' of video 'v'"),
        (with_video(expressions={"0": "x"}), "expression '0' of video 'v'"),
        (with_video(expressions={"0": {"text": "x"}}), "expression '0' of video 'v': .*'text'"),
        ({"videos": {"../../etc": with_video()["videos"]["v"]}}, "not the name of a folder inside JPEGImages"),
        ({"videos": {"/etc": with_video()["videos"]["v"]}}, "not the name of a folder inside JPEGImages"),
    ],
)
def test_other_json_is_refused_with_what_was_found(tmp_path, content, message):
    (tmp_path / "JPEGImages" / "v").mkdir(parents=True)
    (tmp_path / "meta.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message) as caught:
        read_manifest(str(tmp_path / "meta.json"))
    assert str(caught.value).startswith(str(tmp_path / "meta.json"))


def test_a_repeated_key_is_refused_rather_than_lost(tmp_path):
    (tmp_path / "meta.json").write_text('{"videos": {"v": {}, "v": {}}}')
    with pytest.raises(UsageError, match="the key 'v' appears twice"):
        read_manifest(str(tmp_path / "meta.json"))
