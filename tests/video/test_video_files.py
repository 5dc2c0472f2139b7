from fractions import Fraction

import av
import numpy as np
import pytest
from video_clips import (
    HEIGHT,
    WIDTH,
    copy_packets,
    cut_file,
    cut_from_frame,
    make_clip,
    number_of,
    numbered_frame,
    packet_places,
)

from pipeline.errors import VideoError
from pipeline.video.isolated import IsolatedDecoder
from pipeline.video.source import FrameSelection, VideoLimits, open_video

B_FRAMES = {"bf": "3", "g": "12"}

# Keyframes that decoding cannot start at, each in its own way; decord miscounts after seeking in all of them.
OPEN_GOP_H264 = {"x264-params": "open-gop=1:keyint=12:bframes=3:scenecut=0"}
OPEN_GOP_H265 = {"x265-params": "open-gop=1:keyint=12:bframes=3:scenecut=0:log-level=none"}
INTRA_REFRESH = {"x264-params": "intra-refresh=1:keyint=15:bframes=0"}
CLOSED_GOP_H265 = {"x265-params": "open-gop=0:keyint=12:bframes=3:log-level=none"}

KINDS = {
    "h264-b-frames.mp4": {"options": B_FRAMES},
    "h264-index-first.mp4": {"options": B_FRAMES, "muxer_options": {"movflags": "faststart"}},
    "h264-fragmented.mp4": {"options": B_FRAMES, "muxer_options": {"movflags": "frag_keyframe+empty_moov"}},
    "h264-variable-rate.mp4": {"options": B_FRAMES, "uneven": True},
    "h264-open-gop.mp4": {"options": OPEN_GOP_H264},
    "h264-intra-refresh.mp4": {"options": INTRA_REFRESH},
    "h264-keyframes-only.mov": {"options": {"g": "1"}},
    "h264.mkv": {"options": B_FRAMES, "uneven": True},
    "h264.ts": {"options": B_FRAMES},
    "h264.flv": {"options": B_FRAMES},
    "h264.avi": {"options": {"bf": "0", "g": "12"}},
    "h264.264": {"options": B_FRAMES, "container_format": "h264"},
    "h264-odd-size.mp4": {"pixels": "yuv444p", "height": HEIGHT + 1, "width": WIDTH + 1},
    "h265-open-gop.mp4": {"codec": "libx265", "options": OPEN_GOP_H265},
    "h265-ten-bits.mp4": {"codec": "libx265", "options": CLOSED_GOP_H265, "pixels": "yuv420p10le"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "15", "deadline": "realtime"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "crf": "20"}},
    "mpeg4-b-frames.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "motion-jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
}

READ_BY_DECORD = {"h264-b-frames.mp4", "h264-variable-rate.mp4", "h264.mkv", "h265-ten-bits.mp4", "vp9.webm"}


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_the_one_its_name_says(tmp_path, name):
    path = make_clip(tmp_path / name, 60, **KINDS[name])
    with open_video(str(path)) as source:
        assert source.frame_names == tuple(f"{index:05d}" for index in range(60))
        assert [number_of(frame) for frame in source.read(range(60))] == list(range(60))
        for stride in (2, 7, 25):
            wanted = list(range(0, 60, stride))
            assert [number_of(frame) for frame in source.read(wanted)] == wanted
        jumps = [59, 0, 31, 30, 13, 12, 11, 58, 58]
        assert [number_of(frame) for frame in source.read(jumps)] == jumps
        if name in READ_BY_DECORD:
            assert source._decord is not None, "decord is the first choice where it is right"


def test_shapes_and_colours(tmp_path):
    make_clip(tmp_path / "a.mp4", 3, pixels="yuv444p", height=HEIGHT + 1, width=WIDTH + 1)
    with open_video(str(tmp_path / "a.mp4")) as source:
        assert (source.height, source.width, source.is_image) == (HEIGHT + 1, WIDTH + 1, False)
        (frame,) = source.read([2])
        assert frame.dtype == np.uint8
        assert frame.flags.writeable
        assert np.abs(frame.astype(int) - numbered_frame(2, HEIGHT + 1, WIDTH + 1)).mean() < 3
        (square,) = source.read([2], side=50)
        assert square.shape == (50, 50, 3)


@pytest.mark.parametrize("name", ["h264-b-frames.mp4", "vp9.webm"])
def test_both_decoders_give_the_same_pixels(tmp_path, name):
    path = make_clip(tmp_path / name, 20, **KINDS[name])
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with open_video(str(path)) as source:
        assert source._decord is not None
        assert np.array_equal(np.stack(list(source.read(range(20)))), np.stack(expected))


def test_frame_stride_keeps_original_indices_as_names(tmp_path):
    path = str(make_clip(tmp_path / "a.mp4", 40, options=B_FRAMES))
    with open_video(path, FrameSelection(frame_stride=15)) as source:
        assert source.frame_names == ("00000", "00015", "00030")
        assert [number_of(frame) for frame in source.read(range(3))] == [0, 15, 30]
    with open_video(path, FrameSelection(frame_stride=15, max_frames=2)) as source:
        assert source.frame_names == ("00000", "00015")
    with open_video(path, FrameSelection(frames=("00021", "00007"))) as source:
        assert [number_of(frame) for frame in source.read([0, 1])] == [21, 7]
    with pytest.raises(VideoError, match=r"a\.mp4: frame '00040' asked for"):
        open_video(path, FrameSelection(frames=("00000", "00040")))


def test_edit_lists_hide_what_they_hide(tmp_path):
    whole = make_clip(tmp_path / "whole.mp4", 60, options=B_FRAMES)
    path = cut_from_frame(whole, tmp_path / "cut.mp4", frame=20, keyframe=12)
    with open_video(str(path)) as source:
        assert len(source) == 40
        assert [number_of(frame) for frame in source.read(range(40))] == list(range(20, 60))
        assert number_of(next(source.read([17]))) == 37


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (180, 2), (270, 3), (0, 0)])
@pytest.mark.parametrize("options", [{"bf": "0"}, OPEN_GOP_H264], ids=["decord", "pyav"])
def test_rotation_is_applied(tmp_path, rotation, turns, options):
    path = make_clip(tmp_path / "a.mp4", 40, rotation=rotation, options=options)
    with open_video(str(path)) as source:
        assert (source._decord is None) == (options is OPEN_GOP_H264)
        frame = next(source.read([21]))
        assert frame.shape[:2] == (source.height, source.width)
        assert number_of(np.rot90(frame, -turns)) == 21


def test_a_container_that_announces_too_many_frames(tmp_path):
    whole = make_clip(tmp_path / "whole.mp4", 30, options=B_FRAMES)
    path = copy_packets(whole, tmp_path / "more.mp4", extra_packets=5)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 35
    with open_video(str(path)) as source:
        assert [number_of(frame) for frame in source.read(range(len(source)))] == list(range(30))


def test_one_frame_and_two_pixels(tmp_path):
    make_clip(tmp_path / "a.mp4", 1)
    with open_video(str(tmp_path / "a.mp4"), FrameSelection(frame_stride=30)) as source:
        assert source.frame_names == ("00000",)
        assert number_of(next(source.read([0]))) == 0
    make_clip(tmp_path / "tiny.mkv", 3, codec="ffv1", pixels="bgr0", height=1, width=1)
    with open_video(str(tmp_path / "tiny.mkv")) as source:
        assert [frame.shape for frame in source.read(range(3))] == [(1, 1, 3)] * 3


def test_cut_short_is_said_with_the_place(tmp_path):
    first = make_clip(tmp_path / "a.mp4", 60, options=B_FRAMES, muxer_options={"movflags": "faststart"})
    places = sorted(packet_places(first))
    cut = cut_file(first, tmp_path / "cut.mp4", places[37][0] + 2)
    with pytest.raises(VideoError, match=r"cut\.mp4: ends after frame 37 of 60"):
        open_video(str(cut))
    last = make_clip(tmp_path / "b.mp4", 60)
    with pytest.raises(VideoError, match=r"no-index\.mp4: its index \(moov\) is missing"):
        open_video(str(cut_file(last, tmp_path / "no-index.mp4", last.stat().st_size // 2)))
    for name in ("c.mkv", "d.avi", "e.webm", "f.mp4"):
        options = {"movflags": "frag_keyframe+empty_moov"} if name == "f.mp4" else {}
        codec = "libvpx-vp9" if name == "e.webm" else "libx264"
        whole = make_clip(tmp_path / name, 60, codec=codec, options={"g": "12"}, muxer_options=options)
        cut = cut_file(whole, tmp_path / f"cut-{name}", whole.stat().st_size * 3 // 5)
        with pytest.raises(VideoError, match=rf"cut-{name}: ends after frame \d+: the file was cut short"):
            open_video(str(cut))


def test_damage_inside_is_an_error_not_a_repeated_frame(tmp_path):
    path = make_clip(tmp_path / "a.mp4", 60, options={"bf": "0", "g": "12"})
    data = bytearray(path.read_bytes())
    offset, size = packet_places(path)[26]
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    with open_video(str(path)) as source:
        assert len(source) == 60
        read = []
        with pytest.raises(VideoError, match=r"a\.mp4: frame 26 of 60 cannot be decoded"):
            read.extend(number_of(frame) for frame in source.read(range(60)))
        with open_video(str(path), FrameSelection(frame_stride=5)) as every_fifth:
            assert [number_of(frame) for frame in every_fifth.read([0, 5, 11])] == [0, 25, 55]


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("left_right", [1, -1])
@pytest.mark.parametrize("top_bottom", [1, -1])
def test_every_display_matrix_is_applied_whole(tmp_path, is_transposed, left_right, top_bottom):
    path = tmp_path / "a.mp4"
    # x' and y' of a stored point (x, y), in 16.16 fixed point; the last entry is 2.30.
    turned = (0, top_bottom, 0, left_right, 0, 0) if is_transposed else (left_right, 0, 0, 0, top_bottom, 0)
    make_clip(path, 12, matrix=[65536 * value for value in turned] + [0, 0, 1 << 30], options={"bf": "0"})
    with open_video(str(path)) as source:
        is_mirror_image = is_transposed ^ (left_right < 0) ^ (top_bottom < 0)
        assert (source._decord is None) == is_mirror_image
        for position, frame in enumerate(source.read(range(12))):
            stored = frame[::top_bottom, ::left_right]
            assert number_of(stored.transpose(1, 0, 2) if is_transposed else stored) == position
            assert frame.shape[:2] == ((WIDTH, HEIGHT) if is_transposed else (HEIGHT, WIDTH))


def sizes_joined(path, codec, options, container_format=None):
    """One stream of ten frames of WIDTH and ten of twice that, as a recorder writes it: headers lie in the packets."""
    encoders = []
    for scale in (1, 2):
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt = WIDTH * scale, HEIGHT * scale, "yuv420p"
        encoder.time_base, encoder.options = Fraction(1, 30), options
        encoders.append(encoder)
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(20):
            picture = np.kron(numbered_frame(number), np.ones((1 + number // 10,) * 2 + (1,), np.uint8))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            packets = encoders[number // 10].encode(frame)
            if number % 10 == 9:
                packets += encoders[number // 10].encode(None)
            for packet in packets:
                packet.stream, packet.time_base = stream, Fraction(1, 30)
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("vp8.webm", "libvpx", {"deadline": "realtime", "lag-in-frames": "0"}),
        ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "lag-in-frames": "0"}),
        ("h264.mkv", "libx264", {"bf": "0", "x264-params": "repeat-headers=1:annexb=1"}),
    ],
)
def test_a_recording_that_changes_its_size_is_scaled_with_a_note(tmp_path, name, codec, options):
    path = sizes_joined(tmp_path / name, codec, options)
    with IsolatedDecoder(timeout_s=30) as decoder, decoder.open(str(path)) as source:
        assert (source.width, source.height) == (WIDTH, HEIGHT)
        assert [number_of(frame) for frame in source.read(range(10))] == list(range(10))
        assert source.note is None
        assert [number_of(frame) for frame in source.read(range(20))] == list(range(20))
        assert source.note == "Note: the recording changes its resolution; frames were scaled to 128x96"
    with open_video(str(path)) as source:
        assert source._decord is None  # it scales too, with another filter and without a word


def test_the_stream_is_the_one_that_ffmpeg_shows(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        for scale in (1, 2):
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = WIDTH * scale, HEIGHT * scale, "yuv420p"
            stream.disposition = av.stream.Disposition(0)
        for stream in container.streams.video:
            for number in range(3):
                picture = numbered_frame(number, stream.height, stream.width)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    with open_video(str(path)) as source:
        assert source.width == 2 * WIDTH


def test_a_heic_picture_called_a_video_is_refused_by_name(tmp_path):
    for name in ("photo.mov", "photo.jpg"):
        (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
        with pytest.raises(VideoError, match="HEIC, HEIF and AVIF pictures are not read"):
            open_video(str(tmp_path / name))


def test_frames_are_named_with_or_without_extension_and_zeros(tmp_path):
    path = str(make_clip(tmp_path / "a.mp4", 12, options={"bf": "0"}))
    for name in ("00007", "7", "00007.jpg", "7.png"):
        with open_video(path, FrameSelection(frames=(name,))) as source:
            assert source.frame_names == ("00007",)
            assert number_of(next(source.read([0]))) == 7
    with pytest.raises(VideoError, match=r"'frame_7' \(and 1 more\).* its 12, which are called '00000', .* '00011'"):
        open_video(path, FrameSelection(frames=("frame_7", "frame_8")))
    with pytest.raises(VideoError, match="frame '00007' is asked for twice"):
        open_video(path, FrameSelection(frames=("7", "00007")))


def test_what_is_no_video(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("I am not a video\n" * 100)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    secret = make_clip(tmp_path / "secret.ts", 5)
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text(f"ffconcat version 1.0\nfile {secret.name}\n")
    for name, message in {
        "empty.mp4": "the file is empty",
        "text.mp4": "is not a readable video",
        "sound.mp4": "has no video stream",
        "list.mp4": "is not a readable video",  # a playlist may name any file of this machine
        "concat.mp4": "is not a readable video",
    }.items():
        with pytest.raises(VideoError, match=f"{name}: {message}"):
            open_video(str(tmp_path / name))


def test_limits(tmp_path):
    path = str(make_clip(tmp_path / "a.mp4", 20))
    with pytest.raises(VideoError, match="limit is 10"):
        open_video(path, limits=VideoLimits(max_frames_in_video=10))
    with pytest.raises(VideoError, match="128x96 pixels is over the limit"):
        open_video(path, limits=VideoLimits(max_side=127))
