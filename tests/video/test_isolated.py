import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
from video_clips import make_clip, number_of
from video_fake_openers import COUNT

from pipeline.errors import PipelineError, VideoError
from pipeline.video.isolated import IsolatedDecoder
from pipeline.video.source import FrameSelection, VideoLimits, open_video

FAKE = "video_fake_openers:open_fake"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(make_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 60, options={"g": "12"}))


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path, monkeypatch):
    """Every test ends with no child process alive and no temporary file."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    yield
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert left == []
    assert list(temporary.iterdir()) == []


def positions(frames):
    return [int(frame[0, 0, 0]) for frame in frames]


def test_same_frames_as_in_this_process(clip):
    selection = FrameSelection(frame_stride=7, max_frames=8)
    with open_video(clip, selection) as here, IsolatedDecoder() as decoder, decoder.open(clip, selection) as there:
        assert there.frame_names == here.frame_names
        assert (there.height, there.width, len(there), there.is_image) == (96, 128, 8, False)
        for indices, side in ((range(8), None), ([0, 3, 7], 64), ([5, 5], 1024), ([], None)):
            frames = list(there.read(indices, side))
            assert len(frames) == len(indices)
            for frame, expected in zip(frames, here.read(indices, side), strict=True):
                assert np.array_equal(frame, expected)
                frame[:] = 0  # the caller's own, also after the next one has come


def test_many_videos_and_reads_in_one_process(clip):
    with IsolatedDecoder(prefetch=2) as decoder:
        with decoder.open(clip) as first, decoder.open(clip) as second:
            pid = decoder.pid
            pairs = zip(first.read(range(20)), second.read(range(20, 40)), first.read(range(40, 60)), strict=True)
            assert [tuple(map(number_of, pair)) for pair in pairs] == [(n, n + 20, n + 40) for n in range(20)]
        with decoder.open(clip) as third:
            assert number_of(next(third.read([9]))) == 9
            assert decoder.pid == pid


def test_errors_come_as_in_this_process_and_the_process_lives_on(clip, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    with IsolatedDecoder(opener=FAKE) as decoder:
        decoder.open(clip).close()
        pid = decoder.pid
        with pytest.raises(VideoError, match=r"nothing\.mp4: no such file"):
            decoder.open(str(tmp_path / "nothing.mp4"))
        with pytest.raises(VideoError, match=r"text\.mp4: is not a readable video"):
            decoder.open(str(tmp_path / "text.mp4"))
        with pytest.raises(VideoError, match="limit is 10"):
            decoder.open(clip, limits=VideoLimits(max_frames_in_video=10))
        with decoder.open("fake:refuse:3") as source:
            read = source.read(range(COUNT))
            assert positions(next(read) for _ in range(3)) == [0, 1, 2]
            with pytest.raises(VideoError, match="frame 3 is no good"):
                next(read)
            assert list(read) == []
            with pytest.raises(IndexError):
                source.read([COUNT])
        with decoder.open("fake:surprise:0") as source, pytest.raises(VideoError, match=r"fake:surprise:0: .*KeyError"):
            next(source.read([0]))
        assert decoder.pid == pid


@pytest.mark.parametrize("action", ["hang", "hang-holding-gil"])
def test_a_hanging_decoder_is_killed_at_the_deadline(clip, action):
    with IsolatedDecoder(timeout_s=1.5, prefetch=2, opener=FAKE) as decoder:
        source = decoder.open(f"fake:{action}:4")
        pid = decoder.pid
        read = source.read(range(COUNT))
        assert positions(next(read) for _ in range(4)) == [0, 1, 2, 3]
        started = time.monotonic()
        with pytest.raises(VideoError, match=rf"fake:{action}:4: reading frame '00004' took more than 1\.5 s"):
            next(read)
        assert 1 < time.monotonic() - started < 10
        assert not psutil.pid_exists(pid)
        with pytest.raises(VideoError, match="open the video again"):
            source.read([0])
        source.close()
        with decoder.open(clip) as next_video:
            assert number_of(next(next_video.read([30]))) == 30


def test_opening_may_take_long_but_not_stand_still():
    with IsolatedDecoder(timeout_s=1.5, opener=FAKE) as decoder:
        with decoder.open("fake:slow-open:9") as source:  # 1.8 s with signs of life
            assert len(source) == COUNT
        with pytest.raises(VideoError, match=r"fake:hang-open: opening it took more than 1\.5 s"):
            decoder.open("fake:hang-open")


def test_a_crash_costs_one_video(clip):
    with IsolatedDecoder(opener=FAKE) as decoder:
        with decoder.open("fake:crash:2") as source:
            read = source.read(range(COUNT))
            with pytest.raises(
                VideoError, match=r"fake:crash:2: reading frame .* ended the decoder process \(SIGSEGV\)"
            ):
                list(read)
        with decoder.open(clip) as next_video:
            assert number_of(next(next_video.read([7]))) == 7


def test_a_process_killed_between_videos_is_replaced(clip):
    with IsolatedDecoder() as decoder:
        decoder.open(clip).close()
        os.kill(decoder.pid, signal.SIGKILL)
        with decoder.open(clip) as source:
            assert number_of(next(source.read([7]))) == 7


def test_work_is_ahead_of_the_consumer_by_prefetch_frames(tmp_path):
    log = tmp_path / "log"

    def decoded():
        return len(log.read_text().splitlines()) if log.exists() else 0

    with IsolatedDecoder(prefetch=3, opener=FAKE) as decoder, decoder.open(f"fake:log:{log}:0.01") as source:
        read = source.read(range(COUNT))
        time.sleep(0.5)
        assert decoded() == 3  # before anything was taken
        next(read)
        next(read)
        time.sleep(0.3)
        assert decoded() == 5


def test_decoding_overlaps_with_the_consumer(tmp_path):
    count, each_s = 10, 0.1
    with IsolatedDecoder(opener=FAKE) as decoder, decoder.open(f"fake:log:{tmp_path / 'log'}:{each_s}") as source:
        started = time.monotonic()
        for _ in source.read(range(count)):
            time.sleep(each_s)
        assert time.monotonic() - started < 1.75 * count * each_s  # in turns it would be 2


@pytest.mark.parametrize("how", ["close the read", "drop the read", "close the source"])
def test_stopping_early_stops_the_work(tmp_path, how):
    log = tmp_path / "log"
    with IsolatedDecoder(prefetch=10, opener=FAKE) as decoder:
        source = decoder.open(f"fake:log:{log}:0.1")
        read = source.read(range(COUNT))
        next(read)
        if how == "close the read":
            read.close()
            assert list(read) == []
        elif how == "drop the read":
            del read
        else:
            source.close()
            with pytest.raises(ValueError, match="read after close"):
                next(read)
        time.sleep(0.15)
        done = len(log.read_text().splitlines())
        time.sleep(0.4)
        assert len(log.read_text().splitlines()) == done < 10
        if how != "close the source":
            assert positions(source.read([4])) == [4]


def test_closing_ends_a_busy_process_at_once():
    decoder = IsolatedDecoder(opener=FAKE)
    read = decoder.open("fake:hang:0").read([0])
    started = time.monotonic()
    decoder.close()
    decoder.close()
    assert time.monotonic() - started < 2
    with pytest.raises(VideoError, match="open the video again"):
        next(read)


def test_a_dropped_decoder_takes_its_process_along(clip):
    decoder = IsolatedDecoder()
    source = decoder.open(clip)
    pid = decoder.pid
    del decoder, source
    assert not psutil.pid_exists(pid)


@contextmanager
def web_server(folder):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_remote_video_is_fetched_and_leaves_no_file(clip, tmp_path):
    with web_server(Path(clip).parent) as address, IsolatedDecoder(timeout_s=20) as decoder:
        with decoder.open(f"{address}/clip.mp4") as source:
            assert [number_of(frame) for frame in source.read([0, 30, 59])] == [0, 30, 59]
        decoder.open(f"{address}/clip.mp4")
        os.kill(decoder.pid, signal.SIGKILL)  # with the fetched copy open
        with pytest.raises(VideoError, match=r"gone\.mp4: no such file"):
            decoder.open(f"{address}/gone.mp4")
        with pytest.raises(VideoError, match="over the limit of 100 bytes"):
            decoder.open(f"{address}/clip.mp4", limits=VideoLimits(max_file_bytes=100))


def test_a_killed_owner_takes_its_process_along(clip):
    program = (
        "import sys, time\n"
        "from pipeline.video.isolated import IsolatedDecoder\n"
        "decoder = IsolatedDecoder()\n"
        "read = decoder.open(sys.argv[1]).read(range(60))\n"
        "print(decoder.pid, flush=True)\n"
        "time.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, clip], stdout=subprocess.PIPE, text=True) as owner:
        child = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_the_decoder_of_local_files_inherits_no_secrets(clip, monkeypatch):
    secrets = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN", "DB_PASSWORD")
    for name in secrets:
        monkeypatch.setenv(name, "hidden-value")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    with IsolatedDecoder(timeout_s=30) as decoder, decoder.open(clip):
        environment = psutil.Process(decoder.pid).environ()
    assert "hidden-value" not in environment.values()
    assert environment["HTTPS_PROXY"] == "http://proxy:1"
    with IsolatedDecoder(timeout_s=30) as decoder:
        with pytest.raises(PipelineError):
            decoder.open("hf://datasets/nobody::x")
        environment = psutil.Process(decoder.pid).environ()
    assert {name for name in secrets if name in environment} == {*secrets} - {"RAY_AUTH_TOKEN"}


def test_pauses_of_a_store_that_does_not_answer_are_signs_of_life():
    with IsolatedDecoder(timeout_s=2, opener=FAKE) as decoder, decoder.open("fake:pausing-store:1") as source:
        assert len(list(source.read([0, 1]))) == 2
