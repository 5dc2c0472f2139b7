"""Files on a local disk or any fsspec URL: whole reads, atomic writes, listings; retried where that can help.

Local paths never pass through fsspec's URL parser, so that a file named ``a::b`` or ``x?y`` is just a file.
"""

import contextlib
import errno
import io
import logging
import os
import posixpath
import random
import re
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import AccessDeniedError as AccessDeniedError
from pipeline.errors import StorageError, StorageUnavailableError

logger = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 8
"""With doubling pauses in between: about half a minute until a storage counts as gone."""

FIRST_PAUSE_S = 0.25
TEMPORARY_PREFIX = ".tmp-"
"""Files of unfinished local writes; hidden and without the final suffix, so no reader's pattern matches them."""

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_TRANSIENT_ERRNOS = {
    getattr(errno, name)
    for name in (
        "EIO",
        "EREMOTEIO",
        "EBUSY",
        "EAGAIN",
        "ETIMEDOUT",
        "ECONNRESET",
        "ECONNREFUSED",
        "EPIPE",
        "EHOSTUNREACH",
    )
    if hasattr(errno, name)
}
_S3_CLIENT = {
    "retries": {"total_max_attempts": 1},  # with_retries repeats, with its own pauses
    # Some servers give a whole object's checksum with a part of it, or refuse requests that carry one.
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_CLIENT_PACKAGES = frozenset(
    {
        "botocore",
        "aiobotocore",
        "aiohttp",
        "google",
        "gcsfs",
        "azure",
        "adlfs",
        "huggingface_hub",
        "requests",
        "urllib3",
        "httpx",
        "httpcore",
    }
)
"""Packages of storage clients, told by an error's module, so that none of them has to be installed."""
_REFUSED_CREDENTIALS = frozenset(
    {
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"),  # Amazon
        *("DefaultCredentialsError", "RefreshError", "MalformedError"),  # Google
        *("ClientAuthenticationError", "CredentialUnavailableError", "GatedRepoError"),  # Azure, Hugging Face
    }
)
_REFUSED_CODES = frozenset(
    ("ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "AccessDenied", "RequestExpired")
)
_SECRET_SETTING = re.compile(
    r"(?i)\b((?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|awsaccesskeyid|sig|"
    r"[a-z_]*(?:secret|password|token|access_key|api_key)[a-z_]*)=)[^\s&'\",;)]+"
)


_watcher: ContextVar[Callable[[], None] | None] = ContextVar("watcher of pauses", default=None)


class MissingFileError(StorageError):
    """There is no such file, folder or bucket."""


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """One listed file."""

    url: str
    size_bytes: int


def is_local(url: str) -> bool:
    """Whether ``url`` is a path of this machine (a plain path or ``file://``)."""
    return url.startswith("file://") or not _SCHEME.match(url)


def local_path(url: str) -> str:
    """A local path or ``file://`` URL as a path: ``~`` is the home folder, ``%20`` in a URL a space."""
    if not url.startswith("file://"):
        return os.path.expanduser(url)  # noqa: PTH111 - pathlib refuses some odd names
    path = url.removeprefix("file://").removeprefix("localhost")
    return path if os.path.lexists(path) else urllib.parse.unquote(path)


def absolute(url: str) -> str:
    """A local path made absolute (see :func:`local_path`); any other URL without its trailing slash."""
    if is_local(url):
        return os.path.abspath(local_path(url))  # noqa: PTH100 - pathlib refuses no fewer odd names
    scheme, rest = url.split("://", 1)
    return f"{scheme}://{rest.rstrip('/')}"


def join(url: str, *parts: str) -> str:
    """``url`` extended by relative ``parts``; ``.`` and ``..`` are resolved, because object stores do not do so."""
    if is_local(url):
        return os.path.normpath(os.path.join(absolute(url), *parts))  # noqa: PTH118
    scheme, rest = absolute(url).split("://", 1)
    bucket, _, key = rest.partition("/")
    key = posixpath.normpath(posixpath.join("/", key, *parts)).lstrip("/")
    return f"{scheme}://{bucket}/{key}" if key else f"{scheme}://{bucket}"


def parent(url: str) -> str:
    """The folder that holds ``url``."""
    return join(url, "..")


def resolve(location: str, base: str) -> str:
    """``location`` itself when it is absolute or a URL, else ``location`` under the folder ``base``."""
    if _SCHEME.match(location) or location.startswith(("/", "~/")):
        return absolute(location)
    return join(base, location)


def open_filesystem(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The filesystem of ``url`` and the path in it.

    Raises:
        StorageError: The URL's scheme is unknown or the package that serves it is not installed.
    """
    if is_local(url):
        return LocalFileSystem(), absolute(url)
    options: dict[str, Any] = {"use_listings_cache": False}  # another process adds files while this one looks
    if url.startswith(("s3://", "s3a://")):
        options["config_kwargs"] = _S3_CLIENT
    try:
        return fsspec.url_to_fs(absolute(url), **options)
    except (ValueError, ImportError) as error:
        raise StorageError(f"{scrub(url)}: cannot open this kind of URL: {scrub(str(error))}") from error


def scrub(text: str) -> str:
    """``text`` without credentials: user info and query strings of URLs, and the values of secret-looking keys."""
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"?#]+@", r"\1***@", text)
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?]*)\?[^\s'\"]*", r"\1?***", text)
    return _SECRET_SETTING.sub(r"\1***", text)


def with_retries(action: Callable[[], T], url: str, doing: str) -> T:
    """Run ``action``, again after a growing pause where its error may pass (500, 503, timeouts, dropped connections).

    Args:
        action: Must be safe to run twice.
        url: Named in the error.
        doing: What the action does, for the error: ``"read"``, ``"write"``, ``"list"``.

    Raises:
        MissingFileError: At once, for 404 and missing local files.
        AccessDeniedError: At once, for 401, 403, missing, wrong or expired credentials.
        StorageUnavailableError: For 5xx, 429 and trouble with the connection, after the last attempt.
        StorageError: For any other storage failure.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except Exception as error:  # every client library has its own classes; what is no storage error goes on
            failure = _explain(error, url, doing)
            if failure is None:
                raise
            if attempt == ATTEMPTS or not _is_transient(error, url):
                raise failure from error
            pause_s = FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            logger.warning("%s; attempt %d of %d, next in %.1f s", failure, attempt, ATTEMPTS, pause_s)
            _pause(pause_s)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def watched_pauses(is_alive: Callable[[], None]) -> Iterator[None]:
    """Call ``is_alive`` before every second of the pauses that :func:`with_retries` makes inside the block."""
    token = _watcher.set(is_alive)
    try:
        yield
    finally:
        _watcher.reset(token)


def _pause(seconds: float) -> None:
    is_alive = _watcher.get()
    while is_alive is not None and seconds > 1:
        is_alive()
        time.sleep(1)
        seconds -= 1
    time.sleep(seconds)


def exists(url: str) -> bool:
    """Whether a file or folder is there. Raises StorageError when that cannot be found out."""
    fs, path = open_filesystem(url)

    def look() -> bool:
        try:
            fs.info(path)
        except FileNotFoundError:
            return False
        return True

    return with_retries(look, url, "look up")


def is_folder(url: str) -> bool:
    """Whether a folder is there, in an object store: whether a file lies below it."""
    fs, path = open_filesystem(url)
    return with_retries(lambda: bool(fs.isdir(path)), url, "look up")


def matching_files(pattern: str) -> list[str]:
    """Files whose path or URL matches a glob (``*``, ``?``, ``[...]``, ``**``), by name."""
    fs, path = open_filesystem(pattern)
    found = with_retries(lambda: list(fs.glob(path)), pattern, "list")
    return sorted(name if is_local(pattern) else fs.unstrip_protocol(name) for name in map(str, found))


def read_bytes(url: str) -> bytes:
    """The whole file. Raises MissingFileError, AccessDeniedError or StorageError."""
    fs, path = open_filesystem(url)
    return with_retries(lambda: bytes(fs.cat_file(path)), url, "read")


def open_input(url: str) -> IO[bytes]:
    """The file, open for reading and seeking; remote ones are fetched whole, so that reading cannot fail later."""
    if is_local(url):
        return with_retries(lambda: Path(absolute(url)).open("rb"), url, "read")
    return io.BytesIO(read_bytes(url))


def atomic_write(url: str, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the whole new one, whatever is killed meanwhile.

    Raises:
        StorageError: Full disk, missing permission, missing bucket, or a storage that stays unavailable.
    """
    if is_local(url):
        with_retries(lambda: _replace_local(Path(absolute(url)), data), url, "write")
        return
    fs, path = open_filesystem(url)
    with_retries(lambda: fs.pipe_file(path, data), url, "write")  # an object appears when its upload is complete


def list_files(url: str, suffix: str = "") -> list[FileInfo]:
    """Files directly in the folder ``url`` whose names end in ``suffix``, by name; hidden ones and folders left out.

    A folder that does not exist is empty.
    """
    fs, path = open_filesystem(url)

    def entries() -> list[dict[str, Any]]:
        try:
            fs.invalidate_cache(path)
            return list(fs.ls(path, detail=True))
        except FileNotFoundError:
            return []

    found = []
    for entry in with_retries(entries, url, "list"):
        name = posixpath.basename(str(entry["name"]).rstrip("/"))
        if entry["type"] == "file" and name.endswith(suffix) and not name.startswith("."):
            found.append(FileInfo(url=join(url, name), size_bytes=int(entry["size"] or 0)))
    return sorted(found, key=lambda info: info.url)


def list_names(url: str) -> list[str]:
    """Names of everything directly in the folder ``url``, sorted. Raises MissingFileError when there is none."""
    fs, path = open_filesystem(url)
    entries = with_retries(lambda: fs.ls(path, detail=False), url, "list")
    return sorted(posixpath.basename(str(entry).rstrip("/")) for entry in entries)


def make_directory(url: str) -> None:
    """Make a local folder and its parents; object stores have none, so nothing happens there."""
    if is_local(url):
        with_retries(lambda: Path(absolute(url)).mkdir(parents=True, exist_ok=True), url, "create")


def delete(url: str) -> None:
    """Delete a file; a missing one is fine."""
    fs, path = open_filesystem(url)

    def remove() -> None:
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            return

    with_retries(remove, url, "delete")


def remove_leftovers(url: str) -> None:
    """Delete what killed writers left at any depth of a local folder; an object store shows no unfinished uploads."""
    if not is_local(url):
        return
    for leftover in Path(absolute(url)).rglob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def _replace_local(path: Path, data: bytes) -> None:
    temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _explain(error: Exception, url: str, doing: str) -> StorageError | None:
    """The error to show instead of ``error``; None when it is no storage failure at all."""
    what = f"{scrub(url)}: cannot {doing}"
    if isinstance(error, StorageError) or not (isinstance(error, OSError) or _is_client_error(error)):
        return None
    status = _http_status(error, url)
    if status == 404 or (status is None and _is_missing(error, url)):
        return MissingFileError(f"{what}: no such file, folder or bucket (404)")
    if status == 410:
        return MissingFileError(f"{what}: HTTP 410: it is gone for good")
    if _is_refused(error, status):
        if url.startswith(("http://", "https://")):
            return AccessDeniedError(f"{what}: HTTP {status or 403}: access denied, or the presigned URL has expired")
        return AccessDeniedError(f"{what}: access denied ({status or 403}); check permissions and credentials")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{what}: no space left; free some and start the same command again")
    cause = _client_cause(error)
    reason = f"HTTP {status}" if status else f"{type(cause).__name__}: {' '.join(scrub(str(cause)).split())}"
    if _is_transient(error, url):
        return StorageUnavailableError(f"{what}: the storage does not answer ({reason})")
    return StorageError(f"{what}: {reason}")


def _is_client_error(error: BaseException) -> bool:
    """Whether a storage client raised this; their classes do not derive from OSError."""
    return any(kind.__module__.split(".")[0] in _CLIENT_PACKAGES for kind in type(error).__mro__)


def _client_cause(error: BaseException) -> BaseException:
    """What a client said before fsspec made "file not found" of it, as its HTTP filesystem does with any failure."""
    cause: BaseException | None = error
    while cause is not None:
        if _is_client_error(cause) or isinstance(cause, TimeoutError):
            return cause
        cause = cause.__cause__
    return error


def _http_status(error: Exception, url: str) -> int | None:
    """The status of the answer that made a client raise ``error``; None where there was no answer."""
    if is_local(url):
        return None
    cause = _client_cause(error)
    response = getattr(cause, "response", None)
    values = [getattr(cause, name, None) for name in ("status", "status_code", "code")]
    if isinstance(response, dict):  # botocore's
        values.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    elif response is not None:
        values += [getattr(response, "status_code", None), getattr(response, "status", None)]
    for value in values:
        if isinstance(value, int | str) and str(value).isdigit() and 400 <= int(value) < 600:
            return int(value)
    return None


def _is_missing(error: Exception, url: str) -> bool:
    """Whether there is no such file. fsspec's HTTP filesystem says so of every failure, so its cause decides."""
    if not isinstance(error, FileNotFoundError):
        return type(error).__name__ in ("ResourceNotFoundError", "NotFound", "NoSuchKey", "NoSuchBucket")
    return not url.startswith(("http://", "https://")) or _client_cause(error) is error


def _is_refused(error: Exception, status: int | None) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return (
        isinstance(error, PermissionError)
        or status in (401, 403)
        or code in _REFUSED_CODES
        or (status is None and bool(names & _REFUSED_CREDENTIALS) and not getattr(error, "retryable", False))
    )


def _is_transient(error: Exception, url: str) -> bool:
    """Whether another attempt may succeed: no answer, 408, 429 or 5xx."""
    if is_local(url):
        return False
    status = _http_status(error, url)
    if status is not None:
        return status in (408, 429) or status >= 500
    if _is_missing(error, url) or _is_refused(error, status):
        return False
    if isinstance(error, TimeoutError | ConnectionError) or _is_client_error(_client_cause(error)):
        return True
    return isinstance(error, OSError) and (error.errno is None or error.errno in _TRANSIENT_ERRNOS)


class PendingFile:
    """A file being written, of any size, that appears under its name in one step or not at all.

    Args:
        url: Where it appears; its folder must exist on a local disk.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._path: Path | None = None
        if is_local(url):
            temporary = Path(absolute(url)).parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
            self._path = temporary
            self.file: IO[bytes] = with_retries(lambda: temporary.open("wb"), url, "write")
        else:
            self.file = tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> "PendingFile":
        return self

    def publish(self) -> None:
        """Make what was written the file at ``url``, replacing an older one. Raises StorageError."""
        self.file.flush()
        if self._path is not None:
            with_retries(lambda: _publish_local(self.file, self._path, Path(absolute(self._url))), self._url, "write")
            return
        fs, path = open_filesystem(self._url)
        with_retries(lambda: fs.put_file(self.file.name, path), self._url, "write")

    def __exit__(self, *exception: object) -> None:
        self.file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def find_file(url: str) -> FileInfo | None:
    """The file at ``url`` as a listing shows it; None when there is none."""
    fs, path = open_filesystem(url)

    def look() -> FileInfo | None:
        try:
            info = fs.info(path)
        except FileNotFoundError:
            return None
        return FileInfo(url=url, size_bytes=int(info["size"] or 0)) if info["type"] == "file" else None

    return with_retries(look, url, "look up")


def list_tree(url: str, suffix: str = "") -> list[FileInfo]:
    """Files at any depth below the folder ``url`` whose names end in ``suffix``, by name; hidden ones left out."""
    fs, path = open_filesystem(url)

    def entries() -> dict[str, dict[str, Any]]:
        try:
            fs.invalidate_cache(path)
            return dict(fs.find(path, detail=True))
        except FileNotFoundError:
            return {}

    root = path.rstrip("/") + "/"
    found = []
    for name, entry in with_retries(entries, url, "list").items():
        inside = str(name).removeprefix(root)
        if inside.endswith(suffix) and not posixpath.basename(inside).startswith("."):
            found.append(FileInfo(url=join(url, inside), size_bytes=int(entry["size"] or 0)))
    return sorted(found, key=lambda info: info.url)


def move(url: str, target: str) -> None:
    """Give a file another name on the same storage; safe to repeat."""
    make_directory(parent(target))
    fs, path = open_filesystem(url)
    target_path = open_filesystem(target)[1]

    def rename() -> None:
        if is_local(url):
            Path(path).replace(target_path)
            return
        fs.cp_file(path, target_path)
        fs.rm_file(path)

    try:
        with_retries(rename, url, "move")
    except MissingFileError:
        if not exists(target):
            raise


def remove_empty_folders(url: str) -> None:
    """Remove the empty folders below a local ``url``, and itself if nothing is left; object stores have none."""
    if not is_local(url):
        return
    for folder, _, _ in os.walk(absolute(url), topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _publish_local(file: IO[bytes], temporary: Path | None, path: Path) -> None:
    assert temporary is not None
    os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    """The rename itself must survive a power cut too."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_version(url: str) -> str | None:
    """A text that differs once the file has been replaced; None when there is no file."""
    fs, path = open_filesystem(url)

    def look() -> str | None:
        try:
            info = fs.info(path)
        except FileNotFoundError:
            return None
        keys = ("ETag", "etag", "md5Hash", "generation", "LastModified", "last_modified", "updated", "mtime", "ino")
        return " ".join(str(info.get(key)) for key in (*keys, "size"))

    return with_retries(look, url, "look up")


def list_details(url: str) -> list[dict[str, Any]]:
    """What the storage tells of each entry of a folder, under the keys of its own; empty where there is no folder."""
    fs, path = open_filesystem(url)

    def entries() -> list[dict[str, Any]]:
        try:
            fs.invalidate_cache(path)
            return list(fs.ls(path, detail=True))
        except FileNotFoundError:
            return []

    return with_retries(entries, url, "list")
