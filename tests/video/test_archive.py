import contextlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import VideoError
from pipeline.video.source import FrameSelection, VideoLimits, open_video


def picture(value):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


FRAMES = {"clip/00002.png": picture(2), "clip/00000.png": picture(0), "clip/00001.png": picture(1)}


def make_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.xz"])
def test_archives_are_read_in_place(tmp_path, name):
    members = {**FRAMES, "clip/notes.txt": b"x", "__MACOSX/clip/00000.png": b"x", "clip/._00000.png": b"x"}
    mode = {"a.tar": "w", "a.tar.xz": "w:xz"}.get(name, "w:gz")
    path = make_zip(tmp_path / name, members) if name == "a.zip" else make_tar(tmp_path / name, members, mode)
    with open_video(str(path)) as source:
        assert source.frame_names == ("00000", "00001", "00002")
        assert (source.height, source.width) == (20, 30)
        for index in (0, 1, 2, 0):
            assert np.array_equal(next(source.read([index])), pixels(FRAMES[f"clip/0000{index}.png"]))
    with open_video(str(path), FrameSelection(frames=("00002",))) as source:
        assert len(source) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name", ["../00000.png", "/tmp/00000.png", "a/../../00000.png", "..\\00000.png", "C:/00000.png"]
)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_members_that_climb_out_are_refused(tmp_path, make, name):
    path = make(tmp_path / ("a.zip" if make is make_zip else "a.tar"), {**FRAMES, name: picture(1)})
    with pytest.raises(VideoError, match="climbs out of the archive"):
        open_video(str(path))


def test_backslashes_of_windows_tools_part_folders(tmp_path):
    path = tmp_path / "a.zip"
    make_zip(path, {"clip\\": b"", **{name.replace("/", "\\"): data for name, data in FRAMES.items()}})
    with open_video(str(path)) as source:
        assert source.frame_names == ("00000", "00001", "00002")
        assert np.array_equal(next(source.read([1])), pixels(FRAMES["clip/00001.png"]))


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("00000.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(VideoError, match=r"00000\.png is a link"):
        open_video(str(tmp_path / "a.tar"))


def test_bombs_are_refused_before_they_are_unpacked(tmp_path):
    zeros = bytes(3 * 2**20)
    with pytest.raises(VideoError, match="possibly a bomb"):
        open_video(str(make_zip(tmp_path / "a.zip", {"00000.png": zeros})))
    small = VideoLimits(max_image_bytes=2**20)
    with pytest.raises(VideoError, match="over the limit"):
        open_video(str(make_tar(tmp_path / "a.tar.gz", {"notes.txt": zeros, **FRAMES}, "w:gz")), limits=small)
    with pytest.raises(VideoError, match="over the limit"):
        open_video(str(make_zip(tmp_path / "b.zip", {"00000.png": zeros}, zipfile.ZIP_STORED)), limits=small)
    with pytest.raises(VideoError, match="limit is 2"):
        open_video(str(make_tar(tmp_path / "c.tar", FRAMES)), limits=VideoLimits(max_frames_in_video=2))


def test_names_and_sums_of_a_tar_are_bounded(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 2**21}):
        pass
    with pytest.raises(VideoError, match=r"a\.tar\.gz: .*possibly a bomb"):
        open_video(str(tmp_path / "a.tar.gz"))
    many = make_tar(tmp_path / "b.tar.gz", {**FRAMES, "a.txt": bytes(2**19), "b.txt": bytes(2**19)}, "w:gz")
    with pytest.raises(VideoError, match="unpacks to more than the limit of 1000000 bytes"):
        open_video(str(many), limits=VideoLimits(max_file_bytes=1_000_000))


class OfUnknownLength(BaseHTTPRequestHandler):
    """Serves files in chunks: no length, no ranges, as pages made on request are served."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        data = self.server.files[self.path]
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), 4096):
                chunk = data[start : start + 4096]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def chunked():
    server = ThreadingHTTPServer(("127.0.0.1", 0), OfUnknownLength)
    server.files = {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_servers_that_tell_no_length_are_read_within_bounds(chunked, tmp_path):
    tars = make_tar(tmp_path / "b.tar", FRAMES), make_tar(tmp_path / "c.tgz", FRAMES, "w:gz")
    archives = make_zip(tmp_path / "a.zip", FRAMES), *tars
    chunked.files = {f"/{path.name}": path.read_bytes() for path in archives} | {"/d.png": picture(0)}
    root = f"http://127.0.0.1:{chunked.server_port}"
    for name in chunked.files:
        with open_video(root + name) as source:
            assert np.array_equal(next(source.read([0])), pixels(picture(0)))
        with pytest.raises(VideoError, match="over the limit of 1000 bytes"):
            open_video(root + name, limits=VideoLimits(max_file_bytes=1000, max_image_bytes=1000))


def test_damaged_archives(tmp_path):
    for path in (
        make_zip(tmp_path / "a.zip", FRAMES),
        make_tar(tmp_path / "a.tar", FRAMES),
        make_tar(tmp_path / "a.tar.gz", FRAMES, "w:gz"),
    ):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
        with pytest.raises(VideoError, match=rf"{path.name}.*damaged"):
            open_video(str(path))
        path.write_bytes(b"hello")
        with pytest.raises(VideoError, match=rf"{path.name}.*damaged"):
            open_video(str(path))
        path.write_bytes(b"")
        with pytest.raises(VideoError, match=f"{path.name}: the file is empty"):
            open_video(str(path))


def test_a_member_with_a_wrong_checksum(tmp_path):
    path = make_zip(tmp_path / "a.zip", FRAMES, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(FRAMES["clip/00001.png"]) + 100] ^= 0xFF
    path.write_bytes(data)
    with open_video(str(path)) as source, pytest.raises(VideoError, match=r"00001\.png: the archive is damaged"):
        list(source.read([0, 1]))


def test_a_member_without_a_name_is_no_reason_to_fail(tmp_path):
    path = make_zip(tmp_path / "a.zip", {"q": b"", **FRAMES})
    data = bytearray(path.read_bytes())
    for header, at in ((b"PK\3\4", 26), (b"PK\1\2", 28)):
        start = data.index(header) + at
        data[start : start + 4] = b"\0\0\1\0"  # a name of no bytes, and one of extra data
    path.write_bytes(data)
    with open_video(str(path), FrameSelection(), VideoLimits()) as source:
        assert len(source) == 3


def test_an_archive_holds_one_video(tmp_path):
    with pytest.raises(VideoError, match=r"2 folders \(clip, other"):
        open_video(str(make_zip(tmp_path / "a.zip", {**FRAMES, "other/00000.png": picture(3)})))
    with pytest.raises(VideoError, match="holds no images"):
        open_video(str(make_zip(tmp_path / "b.zip", {"readme.txt": b"x"})))
