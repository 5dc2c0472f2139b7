"""Overlay videos: playable everywhere, masks in their colours, names that are safe."""

import av
import numpy as np
from report_datasets import HOSTILE_ID

from pipeline.dataset.video_frames import GROUND
from pipeline.report.movies import movie_name
from pipeline.report.overlay import COLOURS
from tests.conftest import run_job


def read_movie(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]


def test_every_expression_with_masks_has_a_movie_of_all_frames(reported):
    files = sorted(path.name for path in reported.movies.iterdir())
    assert files == sorted(movie_name(key) for key in reported.problems)
    assert ("broken", "0") not in reported.problems
    stream, frames = read_movie(reported.movies / movie_name(("clip0", "two")))
    assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    assert float(stream.average_rate) == 6
    assert [frame.shape for frame in frames] == [(192, 256, 3)] * 8


def test_objects_have_the_colours_of_the_report(reported):
    """On plain ground, so that half the tint is known."""
    _, frames = read_movie(reported.movies / movie_name((HOSTILE_ID, HOSTILE_ID)))
    tint = (np.array(COLOURS[0]) + GROUND) / 2
    near = np.abs(frames[0].astype(float) - tint).max(axis=2) < 30
    assert near.sum() > 20


def test_odd_sizes_are_padded(reported):
    _, frames = read_movie(reported.movies / movie_name((HOSTILE_ID, HOSTILE_ID)))  # its masks are 191x255
    assert frames[0].shape == (192, 256, 3)
    assert "no such video" in reported.problems[HOSTILE_ID, HOSTILE_ID]


def test_names_are_safe_and_differ():
    ids = ["a", "a b", "b", "", "..", "/etc/passwd", HOSTILE_ID, "é" * 500, "a\0b", "con"]
    names = {movie_name((video, expression)) for video in ids for expression in ids}
    assert len(names) == len(ids) ** 2
    assert all(name.replace("-", "").replace("_", "").replace(".mp4", "").isalnum() for name in names)
    assert max(map(len, names)) < 100


def test_the_command_writes_movies_without_a_report(reported, tmp_path):
    done = run_job("report", "--predictions", reported.dataset, "--video-output", tmp_path / "m", "--fps", "5")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "m").glob("*.mp4"))) == len(reported.problems)
    assert "1 of them on a grey background" in done.stdout
