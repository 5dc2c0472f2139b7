"""What --dry-run says: frames by header and file list, what is done, and GPU-hours."""

import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from pipeline.config import RunConfig
from pipeline.engine.workload import frames_of, measure, seconds_per_frame_of
from pipeline.errors import UsageError, VideoError
from pipeline.schema import Expression, VideoTask
from pipeline.workshop.shapes.demo import write_demo
from tests.conftest import run_job


def config(**settings):
    return RunConfig(manifest="m.jsonl", model="nano", output="out", **settings)


def task(video, frames=None, video_id="v"):
    expressions = (Expression(expression_id="0", text="the circle"),)
    return VideoTask(video_id=video_id, video=str(video), expressions=expressions, frames=frames)


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """clip0: a folder of 7 frames; clip1.mp4: a video of 7; archive.zip, image.jpg; text.mp4: no video."""
    folder = tmp_path_factory.mktemp("media")
    write_demo(folder, num_videos=2, num_frames=7, expressions_per_video=1)
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        for frame in sorted((folder / "JPEGImages" / "clip0").iterdir())[:5]:
            archive.write(frame, frame.name)
    Image.new("RGB", (32, 24)).save(folder / "image.jpg")
    (folder / "text.mp4").write_text("not a video")
    (folder / "hollow").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "frames"),
    [("JPEGImages/clip0", 7), ("videos/clip1.mp4", 7), ("archive.zip", 5), ("image.jpg", 1)],
)
def test_frames_of_every_kind_of_video(media, name, frames):
    assert frames_of(task(media / name), config()) == frames


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"frame_stride": 2}, 4),
        ({"frame_stride": 7}, 1),
        ({"max_frames": 3}, 3),
        ({"frame_stride": 3, "max_frames": 5}, 3),
    ],
)
def test_stride_and_cap_are_counted_as_the_run_does(media, settings, frames):
    assert frames_of(task(media / "JPEGImages/clip0"), config(**settings)) == frames


def test_named_frames_are_counted_without_opening_anything():
    assert frames_of(task("/nowhere", frames=("a", "b", "c")), config()) == 3


@pytest.mark.parametrize("name", ["text.mp4", "missing.mp4", "hollow"])
def test_what_cannot_be_opened_is_named(media, name):
    with pytest.raises(VideoError, match=name):
        frames_of(task(media / name), config())


def test_unreadable_videos_are_counted_and_one_is_shown(media):
    work = measure([task(media / "JPEGImages/clip0"), task(media / "text.mp4")], config(), videos=2)
    assert (work.videos, work.frames, work.unreadable) == (2, 7, 1)
    assert "text.mp4" in str(work)


@pytest.mark.parametrize("name", ["JPEGImages/clip0", "videos/clip1.mp4"])
def test_frames_that_a_video_lacks_are_told_before_the_run(media, name):
    tasks = [task(media / name, frames=("00000.jpg", "3")), task(media / name, frames=("frame_1",))]
    work = measure(tasks, config(), videos=2)
    assert (work.frames, work.unreadable) == (2, 1)
    assert "frame 'frame_1' asked for is not among its 7, which are called '00000'" in str(work)


def test_of_many_videos_a_sample_is_opened_and_the_number_is_called_an_estimate(media):
    tasks = [task(media / "JPEGImages/clip0", video_id=str(i)) for i in range(10)]
    work = measure(tasks, config(), videos=50)
    assert (work.frames, work.opened) == (350, 10)
    assert "about" in str(work)


def test_rate_of_an_earlier_run(tmp_path):
    with pytest.raises(UsageError, match=r"run\.json"):
        seconds_per_frame_of(str(tmp_path), config())
    run = {"timings": {"ground_seconds": 10.0, "segment_seconds": 40.0}, "this_run": {"frames": 100}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert seconds_per_frame_of(str(tmp_path), config()) == 0.5
    assert seconds_per_frame_of(str(tmp_path), config(masks="d")) == 0.4
    (tmp_path / "run.json").write_text(json.dumps(run | {"timings": {"segment_seconds": 40.0}}))  # of --masks
    assert seconds_per_frame_of(str(tmp_path), config(masks="d")) == 0.4
    with pytest.raises(UsageError, match="of the same kind"):
        seconds_per_frame_of(str(tmp_path), config())
    (tmp_path / "run.json").write_text(json.dumps(run | {"this_run": {"frames": 0}}))
    with pytest.raises(UsageError):
        seconds_per_frame_of(str(tmp_path), config())


def test_as_a_user_calls_it(clips, untrained, tmp_path):
    arguments = ("--manifest", clips / "manifest.jsonl", "--model", untrained, "--output", tmp_path / "out")
    rate = ("--dry-run", "--seconds-per-frame", "150", "--price-per-gpu-hour", "2.4")
    done = run_job("annotate", *arguments, *rate)
    assert done.returncode == 0, done.stderr
    assert "3 videos with 6 expressions" in done.stdout
    assert "frames: 24" in done.stdout
    assert "estimate: 1.00 GPU-hours" in done.stdout
    assert "price: 2.40 USD at 2.4 USD a GPU-hour; 50 USD per 1,000 frames and expression" in done.stdout
    assert not (tmp_path / "out").exists()
    refused = run_job("annotate", *arguments, "--seconds-per-frame", "1")
    assert refused.returncode == 2
