"""The files: a MeViS tree as FORMATS describes it, and the demo's manifest."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pipeline.manifest import read_manifest
from pipeline.workshop.shapes.benchmark import make_video, write_benchmark
from pipeline.workshop.shapes.demo import write_demo
from pipeline.workshop.shapes.vocabulary import KINDS
from tests.conftest import run_workshop


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    directory = tmp_path_factory.mktemp("mevis")
    write_benchmark(directory, num_videos=4, seed=2, num_frames=(16, 20), sizes=((48, 64), (64, 64)))
    return directory


def read(directory, name):
    return json.loads((directory / name).read_text())


def test_every_frame_and_mask_of_the_meta_file_is_there(tree):
    meta, masks, kinds = read(tree, "meta_expressions.json"), read(tree, "mask_dict.json"), read(tree, "kinds.json")
    assert len(meta["videos"]) == 4
    seen_none = seen_null = False
    for video_id, video in meta["videos"].items():
        pictures = sorted(p.stem for p in (tree / "JPEGImages" / video_id).glob("*.jpg"))
        assert pictures == video["frames"] == sorted(video["frames"])
        assert 16 <= len(pictures) <= 20
        size = Image.open(tree / "JPEGImages" / video_id / f"{pictures[0]}.jpg").size
        assert set(kinds[video_id]) == set(video["expressions"])
        for key, expression in video["expressions"].items():
            assert len(expression["obj_id"]) == len(expression["anno_id"])
            assert kinds[video_id][key] in KINDS
            seen_none |= not expression["anno_id"]
            for number in expression["anno_id"]:
                rles = masks[str(number)]
                assert len(rles) == len(pictures)
                seen_null |= None in rles
                assert all(rle is None or rle["size"] == [size[1], size[0]] for rle in rles)
                assert any(rle is not None and coco_mask.area(rle) > 0 for rle in rles)
    assert seen_none
    assert seen_null


def test_masks_decode_to_what_was_painted(tree):
    video = make_video("x", seed=2 * 100_003, split="test", height_width=(48, 64), num_frames=(16, 20), expressions=6)
    masks = read(tree, "mask_dict.json")
    for k in range(video.num_objects):
        for t, rle in enumerate(masks[str(k)]):
            painted = video.owner[t] == k + 1
            decoded = np.zeros_like(painted) if rle is None else coco_mask.decode(rle).astype(bool)
            assert (decoded == painted).all()
    picture = np.asarray(Image.open(tree / "JPEGImages" / "test-2-0000" / "00000.jpg")).astype(int)
    assert np.abs(picture - video.frames[0]).mean() < 4


def test_the_same_arguments_write_the_same_bytes(tree, tmp_path):
    write_benchmark(tmp_path, num_videos=4, seed=2, num_frames=(16, 20), sizes=((48, 64), (64, 64)))
    for path in sorted(p for p in tree.rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(tree)).read_bytes(), path


def test_the_demo_has_a_manifest_frames_a_video_file_and_ground_truth(tmp_path):
    av = pytest.importorskip("av")
    manifest = write_demo(tmp_path, num_videos=2, num_frames=8, height_width=(48, 64))
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert {tuple(line) for line in lines} == {("video_id", "video", "expression_id", "expression")}
    assert len({(line["video_id"], line["expression_id"]) for line in lines}) == len(lines) == 8
    meta = read(tmp_path, "meta_expressions.json")["videos"]
    places = {line["video_id"]: line["video"] for line in lines}
    assert all((tmp_path / place).exists() for place in places.values())
    assert places["clip0"] == "JPEGImages/clip0"
    with av.open(str(tmp_path / places["clip1"])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 8 == len(meta["clip1"]["frames"])
    picture = np.asarray(Image.open(tmp_path / "JPEGImages" / "clip1" / "00003.jpg")).astype(int)
    assert np.abs(picture - frames[3]).mean() < 15  # noise suffers, the picture does not
    for line in lines:
        assert meta[line["video_id"]]["expressions"][line["expression_id"]]["exp"] == line["expression"]


def test_the_program_draws_a_tree_with_absent_expressions(tmp_path):
    arguments = ["--seed", "5", "--videos", "2", "--min-frames", "4", "--max-frames", "6"]
    done = run_workshop("shapes", "--output", tmp_path / "a", *arguments)
    assert done.returncode == 0, done.stderr
    tasks = read_manifest(str(tmp_path / "a" / "meta_expressions.json"))
    meta = read(tmp_path / "a", "meta_expressions.json")["videos"]
    assert [task.video_id for task in tasks] == list(meta)
    for video in meta.values():
        assert any(not expression["anno_id"] for expression in video["expressions"].values())
        assert any(expression["anno_id"] for expression in video["expressions"].values())
    assert run_workshop("shapes", "--output", tmp_path / "b", "--min-frames", "50").returncode == 2
