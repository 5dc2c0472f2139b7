"""A video that is not the same any more is annotated again; one that was only moved or copied is not."""

import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from pipeline.dataset import DatasetWriter, MaskDataset, OutputDirectory
from pipeline.dataset.lock import RunLock
from pipeline.dataset.sources import source_of, what_changed
from pipeline.schema import Expression, VideoTask


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(300_000))
    return path


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(3):
        Image.new("RGB", (64, 48), (index * 40, 0, 0)).save(folder / f"{index:05d}.png")
    return folder


def task(video, frames=None, ids=("0", "1")):
    expressions = tuple(Expression(expression_id=key, text=f"the thing {key}") for key in ids)
    return VideoTask(video_id="clip", video=str(video), expressions=expressions, frames=frames)


def test_nothing_changed(clip, frames):
    assert what_changed(source_of(task(clip)), task(clip)) is None
    assert what_changed(source_of(task(frames, ("00000",))), task(frames, ("00000",))) is None
    assert what_changed(source_of(task("s3://b/clip.mp4")), task("s3://b/clip.mp4")) is None


def test_another_content(clip, frames):
    of_clip, of_frames = source_of(task(clip)), source_of(task(frames))
    clip.write_bytes(clip.read_bytes() + b"x")
    assert "size has changed from 300000 to 300001 bytes" in what_changed(of_clip, task(clip))
    Image.effect_noise((64, 48), 90).convert("RGB").save(frames / "00001.png")
    assert "size has changed" in what_changed(of_frames, task(frames))


def test_another_content_of_the_same_size(clip):
    then = source_of(task(clip))
    content = bytearray(clip.read_bytes())
    content[150_000] ^= 1
    clip.write_bytes(content)
    os.utime(clip, ns=(then.modified_ns + 10**9,) * 2)
    assert what_changed(then, task(clip)) == "its content has changed"


def test_a_frame_more_or_another_list_of_frames(frames):
    then = source_of(task(frames))
    shutil.copy(frames / "00000.png", frames / "00003.png")
    assert "size" in what_changed(then, task(frames))
    listed = source_of(task(frames, ("00000", "00001")))
    assert what_changed(listed, task(frames, ("00000", "00002"))) == "its list of frames has changed"
    assert what_changed(listed, task(frames)) == "its list of frames has changed"


def test_another_location(clip, tmp_path):
    then = source_of(task("s3://b/clip.mp4"))
    assert what_changed(then, task("s3://b/other.mp4")) == "its location has changed from s3://b/clip.mp4"
    other = tmp_path / "other.mp4"
    other.write_bytes(os.urandom(300_000))
    assert what_changed(source_of(task(clip)), task(other)) == "its content has changed"


def test_a_copy_elsewhere_with_other_times_is_the_same(clip, frames, tmp_path):
    for path in (clip, frames):
        then = source_of(task(path))
        moved = tmp_path / "moved" / path.name
        moved.parent.mkdir(exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, moved)
        for file in moved.iterdir() if moved.is_dir() else [moved]:
            os.utime(file, (1, 1))
        assert what_changed(then, task(moved)) is None


def test_a_signature_is_no_part_of_a_location(clip):
    then = source_of(task("https://me:secret@host/clip.mp4?X-Amz-Signature=abc"))
    assert "secret" not in then.location
    assert "abc" not in then.location
    assert what_changed(then, task("https://me:other@host/clip.mp4?X-Amz-Signature=def")) is None


def test_a_video_that_is_gone_keeps_its_masks(clip):
    then = source_of(task(clip))
    clip.unlink()
    assert what_changed(then, task(clip)) is None


def begin(url):
    output = OutputDirectory(str(url), lock=RunLock(str(url), settle_s=0.01))
    output.begin(identity={}, description={})
    return output


def test_a_run_does_a_changed_video_again_and_says_so(clip, tmp_path, make_row, caplog):
    url = tmp_path / "out"
    with begin(url) as output:
        rows = [make_row(expression_id=key, answer="old") for key in "012"]
        output.writer.commit(rows, source=source_of(task(clip)))
        output.finish({})
    clip.write_bytes(b"another video")
    with begin(url) as output:
        assert output.remaining([task(clip)], retry_failed=False) == [task(clip)]
        assert "1 videos have changed" in caplog.text
        assert "'clip': its size has changed from 300000 to 13 bytes" in caplog.text
        # cut off after one of its expressions: the others are not taken for those of the new video
        output.writer.commit([make_row(expression_id="0", answer="new")], source=source_of(task(clip)))
        assert output.remaining([task(clip)], retry_failed=False) == [task(clip, ids=("1",))]
    assert [(row["expression_id"], row["answer"]) for row in MaskDataset(str(url)).iter_rows()] == [("0", "new")]
    assert OutputDirectory(str(url)).remaining([task(clip)], retry_failed=False) == [task(clip, ids=("1",))]


def test_files_of_single_videos_know_their_source_too(clip, tmp_path, make_row):
    url = str(tmp_path / "out")
    DatasetWriter(url).commit([make_row(expression_id=key) for key in "01"], source=source_of(task(clip)))
    clip.write_bytes(b"another video")
    DatasetWriter(url).commit([make_row(expression_id="1")], source=source_of(task(clip)))
    assert [row["expression_id"] for row in MaskDataset(url).iter_rows()] == ["1"]


def test_rows_of_unknown_source_are_left_alone(clip, tmp_path, make_row):
    url = str(tmp_path / "out")
    DatasetWriter(url).commit([make_row(expression_id=key) for key in "01"])
    assert OutputDirectory(url).remaining([task(clip)], retry_failed=False) == []
    assert OutputDirectory(url).remaining([replace(task(clip), frames=("0",))], retry_failed=False) == []
