"""The storage helpers on local paths; what needs a server is in test_s3_output.py."""

import errno
import os
import subprocess
import sys

import pytest

from pipeline import storage
from pipeline.errors import StorageError
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("location", "base", "expected"),
    [
        ("a.mp4", "/data", "/data/a.mp4"),
        ("../a.mp4", "/data/clips", "/data/a.mp4"),
        ("/x/a.mp4", "/data", "/x/a.mp4"),
        ("s3://b/a.mp4", "/data", "s3://b/a.mp4"),
        ("a.mp4", "s3://b/root", "s3://b/root/a.mp4"),
        ("../a.mp4", "s3://b/root", "s3://b/a.mp4"),
        ("../../../a.mp4", "s3://b/root", "s3://b/a.mp4"),
        ("a::b?c#d.mp4", "/data", "/data/a::b?c#d.mp4"),
        ("file:///x/a.mp4", "/data", "/x/a.mp4"),
    ],
)
def test_resolve(location, base, expected):
    assert storage.resolve(location, base) == expected


def test_odd_local_names_are_just_files(tmp_path):
    for name in ("a::b", "x?y", "per%20cent", "hash#tag", "star*", "[0]"):
        storage.atomic_write(str(tmp_path / name), name.encode())
        assert storage.read_bytes(str(tmp_path / name)) == name.encode()
        assert storage.exists(str(tmp_path / name))
    assert len(storage.list_files(str(tmp_path))) == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://key:secret@bucket/x failed", "s3://***@bucket/x failed"),
        ("https://h/x?X-Amz-Credential=a&b=c failed", "https://h/x?*** failed"),
        ("s3://bucket/me@home.mp4", "s3://bucket/me@home.mp4"),
        ("what? nothing://", "what? nothing://"),
    ],
)
def test_scrub(text, expected):
    assert storage.scrub(text) == expected


def test_local_failures_are_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.storage.retries.time.sleep", lambda seconds: pytest.fail("slept"))
    with pytest.raises(storage.MissingFileError, match="nowhere"):
        storage.read_bytes(str(tmp_path / "nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/x"):
        storage.atomic_write(str(tmp_path / "file" / "x"), b"")
    with pytest.raises(StorageError, match="list"):
        storage.with_retries(_raise(OSError(errno.EIO, "broken disk")), str(tmp_path), "list")


def test_a_programming_error_is_not_dressed_up():
    with pytest.raises(ZeroDivisionError):
        storage.with_retries(_raise(ZeroDivisionError()), "s3://bucket/x", "read")


def test_an_unknown_scheme_is_named():
    with pytest.raises(StorageError, match="nosuch://bucket/x"):
        storage.read_bytes("nosuch://bucket/x")


def _raise(error):
    def action():
        raise error

    return action


def test_requester_pays_and_endpoints_come_from_the_environment():
    """As the room's README says; fsspec reads it when it is imported, so in a process of its own."""
    program = (
        "from pipeline.storage import open_filesystem as o; fs, _ = o('s3://bucket/key'); fs.connect(); "
        "print(fs.req_kw, fs.s3.meta.endpoint_url)"
    )
    variables = {"FSSPEC_S3_REQUESTER_PAYS": "true", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **variables}, cwd=ROOT
    )
    assert done.stdout.strip() == "{'RequestPayer': 'requester'} http://127.0.0.1:9", done.stderr
