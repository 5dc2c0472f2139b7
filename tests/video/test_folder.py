import os
import shutil

import fsspec
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UsageError, VideoError
from pipeline.video.source import FrameSelection, VideoLimits, open_video


def save(path, value, height=4, width=6):
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Frames named 00010, 00005, 00000, 100 (sorted as strings), among things that are no frames."""
    made = tmp_path / "clip"
    made.mkdir()
    for name, value in {"00010.png": 10, "00005.png": 5, "00000.png": 0, "100.png": 100}.items():
        save(made / name, value)
    (made / "._00000.png").write_bytes(b"resource fork")
    (made / "notes.txt").write_text("not a frame")
    (made / "masks").mkdir()
    return made


def values(source, indices=None, side=None):
    return [int(frame[0, 0, 0]) for frame in source.read(range(len(source)) if indices is None else indices, side)]


def test_names_are_sorted_as_strings(folder):
    with open_video(str(folder)) as source:
        assert source.frame_names == ("00000", "00005", "00010", "100")
        assert (source.height, source.width, len(source), source.is_image) == (4, 6, 4, False)
        assert values(source) == [0, 5, 10, 100]
        assert values(source, [1, 1, 3]) == [5, 5, 100]
        assert next(source.read([2], side=7)).shape == (7, 7, 3)


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (FrameSelection(frames=("00010", "00000")), ("00010", "00000")),  # that order
        (FrameSelection(frame_stride=2), ("00000", "00010")),
        (FrameSelection(frame_stride=3, max_frames=1), ("00000",)),
        (FrameSelection(max_frames=3), ("00000", "00005", "00010")),
        (FrameSelection(max_frames=99), ("00000", "00005", "00010", "100")),
        (FrameSelection(frames=("100", "00005", "00000"), frame_stride=2), ("100", "00000")),
    ],
)
def test_selection(folder, selection, names):
    with open_video(str(folder), selection) as source:
        assert source.frame_names == names
        assert values(source) == [int(name) for name in names]


def test_frames_are_the_pixels_that_the_reference_opens(tmp_path):
    noise = np.random.default_rng(0)
    for index, side in enumerate([(48, 64, 3)] * 3):
        Image.fromarray(noise.integers(0, 256, side, dtype=np.uint8)).save(tmp_path / f"{index:05d}.jpg", quality=80)
    with open_video(str(tmp_path)) as source:
        frames = list(source.read(range(len(source))))
    for frame, path in zip(frames, sorted(tmp_path.iterdir()), strict=True):
        assert np.array_equal(frame, np.asarray(Image.open(path).convert("RGB")))


def test_one_image_is_a_video_of_one_frame(folder):
    with open_video(str(folder / "00005.png")) as source:
        assert source.is_image
        assert source.frame_names == ("00005",)
        assert values(source) == [5]


def test_any_fsspec_filesystem(folder):
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/frames-in-memory", recursive=True)
    try:
        with open_video("memory://frames-in-memory") as source:
            assert values(source) == [0, 5, 10, 100]
        with open_video("memory://frames-in-memory/100.png") as source:
            assert source.is_image
            assert values(source) == [100]
    finally:
        memory.rm("/frames-in-memory", recursive=True)


def test_a_local_name_that_looks_like_a_url(folder):
    strange = folder.parent / "a::b #1"
    shutil.copytree(folder, strange)
    with open_video(str(strange)) as source:
        assert len(source) == 4


def test_frames_of_another_size_are_refused(folder):
    save(folder / "00005.png", 5, height=5)
    with open_video(str(folder)) as source, pytest.raises(VideoError, match=r"'00005' is 6x5 pixels.* is 6x4"):
        values(source)


def test_a_broken_frame_is_named(folder):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8))
    noise.save(folder / "00010.png")
    data = (folder / "00010.png").read_bytes()
    (folder / "00010.png").write_bytes(data[: len(data) * 2 // 3])
    with open_video(str(folder)) as source:
        assert values(source, [0, 1, 3]) == [0, 5, 100]
        with pytest.raises(VideoError, match=r"clip: 00010\.png: the image is damaged"):
            values(source)


def test_a_frame_asked_for_is_missing(folder):
    with pytest.raises(VideoError, match=r"clip: frame '7' \(and 1 more\) asked for"):
        open_video(str(folder), FrameSelection(frames=("00000", "7", "8")))


def test_two_files_for_one_frame_name(folder):
    save(folder / "00005.bmp", 1)
    with pytest.raises(VideoError, match="same frame name"):
        open_video(str(folder))


def test_limits(folder):
    with pytest.raises(VideoError, match="has 4 frames, the limit is 3"):
        open_video(str(folder), limits=VideoLimits(max_frames_in_video=3))
    with pytest.raises(VideoError, match="over the limit of 10 bytes"):
        open_video(str(folder), limits=VideoLimits(max_image_bytes=10))
    with pytest.raises(VideoError, match="6x4 pixels is over the limit"):
        open_video(str(folder), limits=VideoLimits(max_side=5))


def test_positions_outside_are_refused_at_once(folder):
    with open_video(str(folder)) as source:
        for wrong in (-1, 4):
            with pytest.raises(IndexError):
                source.read([0, wrong])


@pytest.mark.parametrize("wrong", [{"frames": ()}, {"frame_stride": 0}, {"max_frames": 0}])
def test_senseless_selections(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FrameSelection(**wrong)


def test_places_without_a_video(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "gone.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, message in {
        "empty": "empty: holds no images",
        "loop": "loop: cannot be read .*symbolic links",
        "dangling.mp4": "dangling.mp4: no such file",
        "pipe.mp4": "pipe.mp4: is neither a file nor a folder",
        "missing.mp4": "missing.mp4: no such file",
        "missing\0.mp4": "cannot be read",
    }.items():
        with pytest.raises(VideoError, match=message):
            open_video(str(tmp_path / name))
    with pytest.raises(VideoError, match="location is empty"):
        open_video("")
    with pytest.raises(VideoError, match=r"nosuchscheme://x: protocol .* not allowed"):
        open_video("nosuchscheme://x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(folder):
    (folder / "00000.png").chmod(0)
    with pytest.raises(VideoError, match=r"00000\.png: permission denied"):
        open_video(str(folder))
