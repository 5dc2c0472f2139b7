"""Real clips, kept outside the repository; these tests are skipped where they are not at hand."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.video.isolated import IsolatedDecoder
from pipeline.video.source import FrameSelection, open_video

VIDEOS = Path(__file__).resolve().parents[2].parent / "shared" / "videos"

pytestmark = pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"no real clips at {VIDEOS}")


@pytest.mark.parametrize("name", ["01_dog.mp4", "05_default_juggle.mp4", "bedroom.mp4"])
def test_strided_reading_gives_the_frames_of_a_plain_decode(name):
    wanted = (0, 30, 60, 150)
    expected = {}
    count = 0
    with av.open(str(VIDEOS / name)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                expected[index] = frame.to_ndarray(format="rgb24")
            count += 1
    with IsolatedDecoder() as decoder, decoder.open(str(VIDEOS / name), FrameSelection(frame_stride=30)) as source:
        assert source.frame_names == tuple(f"{index:05d}" for index in range(0, count, 30))
        for index, frame in zip(wanted, source.read([index // 30 for index in wanted]), strict=True):
            assert np.array_equal(frame, expected[index])


def test_frame_folder_shows_what_the_clip_shows():
    folder = VIDEOS / "bedroom_frames"
    with open_video(str(folder)) as frames, open_video(str(VIDEOS / "bedroom.mp4")) as clip:
        assert frames.frame_names[:3] == ("00000", "00004", "00008")
        for name, frame in zip(frames.frame_names, frames.read(range(len(frames))), strict=True):
            (same,) = clip.read([int(name)])
            assert np.abs(frame.astype(int) - same).mean() < 4  # JPEG
