"""What a storage's failure becomes: a video's, a store's or this machine's."""

import errno
import io

import aiohttp
import botocore.exceptions
import pytest
from PIL import Image

from pipeline import storage
from pipeline.errors import AccessDeniedError, NodeError, StorageError, StorageUnavailableError, VideoError
from pipeline.video import locations
from pipeline.video.folder import natural_order
from pipeline.video.source import open_video


def _error(module, name, **attributes):
    return type(name, (Exception,), {"__module__": module, **attributes})("sig=SECRET")


UNAVAILABLE = [
    _error("google.api_core.exceptions", "ServiceUnavailable", code=503),
    _error("google.auth.exceptions", "TransportError"),
    _error("gcsfs.retry", "HttpError", code=429),
    _error("azure.core.exceptions", "ServiceRequestError"),
    _error("azure.core.exceptions", "HttpResponseError", status_code=500),
    _error("botocore.exceptions", "ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
    ConnectionResetError("reset"),
]
DENIED = [
    _error("google.auth.exceptions", "DefaultCredentialsError"),
    _error("google.auth.exceptions", "RefreshError"),
    _error("gcsfs.retry", "HttpError", code=401),
    _error("azure.core.exceptions", "ClientAuthenticationError"),
    _error("azure.core.exceptions", "HttpResponseError", status_code=403),
    _error("botocore.exceptions", "ClientError", response={"Error": {"Code": "ExpiredToken"}}),
    PermissionError("403"),
]


def _raise(error):
    raise error


@pytest.fixture
def pauses(monkeypatch):
    slept = []
    monkeypatch.setattr("pipeline.storage.retries.time.sleep", slept.append)
    return slept


@pytest.mark.parametrize("error", UNAVAILABLE, ids=repr)
def test_a_store_that_is_away_is_asked_again_with_growing_pauses(error, pauses):
    with pytest.raises(StorageUnavailableError) as raised:
        storage.with_retries(lambda: _raise(error), "gs://b/x", "read")
    assert "SECRET" not in str(raised.value)
    assert len(pauses) == storage.ATTEMPTS - 1
    assert sum(pauses) > 10
    assert pauses[-1] > 10 * pauses[0]


@pytest.mark.parametrize("error", DENIED, ids=repr)
def test_refused_credentials_are_told_at_once(error, pauses):
    with pytest.raises(AccessDeniedError):
        storage.with_retries(lambda: _raise(error), "az://b/x", "read")
    assert pauses == []


def test_googles_client_makes_a_plain_error_of_a_403(pauses):
    refused = OSError("Forbidden: https://storage.googleapis.com/storage/v1/b/b/o/x\nno access")
    with pytest.raises(AccessDeniedError, match=r"gs://b/x: cannot read: access denied .403."):
        storage.with_retries(lambda: _raise(refused), "gs://b/x", "read")
    assert not pauses


def test_a_request_that_google_calls_wrong_is_told_and_not_repeated(pauses):
    with pytest.raises(StorageError, match=r"gs://b/x: cannot write: ValueError: Bad Request: .*invalid bucket"):
        storage.with_retries(lambda: _raise(ValueError("Bad Request: b/b\ninvalid bucket")), "gs://b/x", "write")
    with pytest.raises(ValueError, match="other"):
        storage.with_retries(lambda: _raise(ValueError("other")), "gs://b/x", "write")
    assert not pauses


def test_a_request_that_no_client_sends_is_not_repeated_and_told_without_its_password(pauses):
    error = botocore.exceptions.ParamValidationError(report="Invalid bucket name 'user:SECRET@nowhere'")
    with pytest.raises(StorageError) as raised:
        storage.with_retries(lambda: _raise(error), "s3://user:SECRET@nowhere/x.png", "read")
    assert not isinstance(raised.value, StorageUnavailableError)
    assert "SECRET" not in str(raised.value)
    assert pauses == []


@pytest.mark.parametrize("url", ["s3://user:SECRET@bucket/x.mp4", "gs://user:SECRET@bucket/x.mp4"])
def test_a_password_where_none_belongs_is_refused_before_anything_is_read(url, monkeypatch):
    monkeypatch.setattr(locations, "open_filesystem", lambda url: pytest.fail("reached fsspec"))
    with pytest.raises(VideoError, match="take no password") as raised:
        open_video(url)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_http_says_what_it_was(status, pauses):
    def fetch():
        try:
            _raise(aiohttp.ClientResponseError(None, (), status=status))
        except aiohttp.ClientResponseError as error:
            raise FileNotFoundError("u") from error

    url = "https://user:SECRET@h/x?sig=SECRET"
    with pytest.raises(VideoError) as raised, locations.storage_errors(url):
        storage.with_retries(fetch, url, "read")
    assert ("no such file" in str(raised.value)) == (status == 404)
    assert status == 404 or f"HTTP {status}" in str(raised.value)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOMEM, errno.EMFILE, errno.EROFS])
def test_trouble_of_this_machine_is_no_videos(number):
    with pytest.raises(NodeError), locations.storage_errors("/a.mp4"):
        raise OSError(number, "trouble")


@pytest.mark.parametrize("url", ["reference://a.png::/r.json", "simplecache::s3://b/x.mp4", "zip://a::file:///x.zip"])
def test_a_protocol_that_does_more_than_fetch_is_refused(url, monkeypatch):
    monkeypatch.setattr(locations, "open_filesystem", lambda url: pytest.fail("reached fsspec"))
    with pytest.raises(VideoError, match="not allowed"):
        open_video(url)


def test_names_of_files_are_told_without_the_query():
    place = locations.Place(
        location="https://h/A.ZIP?sig=a/b.mp4",
        filesystem=None,
        path="https://h/A.ZIP?sig=a/b.mp4",
        is_folder=False,
        size_bytes=None,
    )
    assert place.file_name == "a.zip"


def test_numbers_are_in_their_own_order():
    names = ["f_10", "f_2", "f_1", "f_9999", "f_10000", "a10b2", "a10b10", "a9b3"]
    expected = ["a9b3", "a10b2", "a10b10", "f_1", "f_2", "f_10", "f_9999", "f_10000"]
    assert sorted(names, key=natural_order) == expected


@pytest.mark.parametrize("suffix", ["webp", "png", "tif"])
def test_several_pictures_in_one_file_are_not_dropped(tmp_path, suffix):
    pictures = [Image.new("RGB", (8, 6), (40 * i, 0, 0)) for i in range(3)]
    pictures[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=pictures[1:])
    with pytest.raises(VideoError, match="3 pictures"):
        open_video(str(tmp_path / f"x.{suffix}"))


def test_heic_is_refused_by_name(tmp_path):
    (tmp_path / "photo.HEIC").write_bytes(io.BytesIO(b"x").read())
    with pytest.raises(VideoError, match="HEIC"):
        open_video(str(tmp_path / "photo.HEIC"))


def test_a_name_in_another_unicode_form_is_pointed_out(tmp_path):
    (tmp_path / "cafe\u0301.mp4").touch()
    with pytest.raises(VideoError, match=r"another Unicode form \(NFD\)"):
        locations.find(str(tmp_path / "caf\u00e9.mp4"))


def test_home_folders_and_escapes_in_file_urls(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a b.mp4").touch()
    for location in ("~/a b.mp4", f"file://{tmp_path}/a%20b.mp4", f"file://localhost{tmp_path}/a%20b.mp4"):
        assert locations.find(location).path == str(tmp_path / "a b.mp4")
