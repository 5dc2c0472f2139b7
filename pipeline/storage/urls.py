"""Paths and URLs: made absolute, joined, opened as a filesystem, shown without their secrets.

Local paths never pass through fsspec's URL parser, so that a file named ``a::b`` or ``x?y`` is just a file.
"""

import os
import posixpath
import re
import urllib.parse

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import StorageError
from pipeline.storage.clients import make_filesystem

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET_SETTING = re.compile(
    r"(?i)\b((?:x-(?:amz|goog)-(?:signature|credential|security-token)|signature|awsaccesskeyid|sig|"
    r"[a-z_]*(?:secret|password|token|access_key|api_key)[a-z_]*)=)[^\s&'\",;)]+"
)


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
    try:
        return make_filesystem(absolute(url))
    except (ValueError, ImportError) as error:
        raise StorageError(f"{scrub(url)}: cannot open this kind of URL: {scrub(str(error))}") from error


def scrub(text: str) -> str:
    """``text`` without credentials: user info and query strings of URLs, and the values of secret-looking keys."""
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'\"?#]+@", r"\1***@", text)
    text = re.sub(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?]*)\?[^\s'\"]*", r"\1?***", text)
    return _SECRET_SETTING.sub(r"\1***", text)
