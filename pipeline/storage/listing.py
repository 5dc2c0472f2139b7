"""What lies in a folder; a folder that does not exist is empty unless said otherwise."""

import posixpath
from dataclasses import dataclass
from typing import Any

from pipeline.storage.retries import with_retries
from pipeline.storage.urls import is_local, join, open_filesystem


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """One listed file."""

    url: str
    size_bytes: int


def details(url: str) -> dict[str, Any] | None:
    """What the storage tells of a file or folder, under the keys of its own; None when there is none."""
    fs, path = open_filesystem(url)

    def look() -> dict[str, Any] | None:
        try:
            return dict(fs.info(path))
        except FileNotFoundError:
            return None

    return with_retries(look, url, "look up")


def find_file(url: str) -> FileInfo | None:
    """The file at ``url`` as a listing shows it; None when there is none."""
    info = details(url)
    if info is None or info["type"] != "file":
        return None
    return FileInfo(url=url, size_bytes=int(info["size"] or 0))


def is_folder(url: str) -> bool:
    """Whether a folder is there, in an object store: whether a file lies below it."""
    info = details(url)  # not isdir(), for which some clients call every failure "no"
    return info is not None and info["type"] == "directory"


def list_files(url: str, suffix: str = "") -> list[FileInfo]:
    """Files directly in the folder ``url`` whose names end in ``suffix``, by name; hidden ones and folders left out.

    A folder that does not exist is empty.
    """
    found = []
    for entry in list_details(url):
        name = posixpath.basename(str(entry["name"]).rstrip("/"))
        if entry["type"] == "file" and name.endswith(suffix) and not name.startswith("."):
            found.append(FileInfo(url=join(url, name), size_bytes=int(entry["size"] or 0)))
    return sorted(found, key=lambda info: info.url)


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


def list_names(url: str) -> list[str]:
    """Names of everything directly in the folder ``url``, sorted. Raises MissingFileError when there is none."""
    fs, path = open_filesystem(url)
    entries = with_retries(lambda: fs.ls(path, detail=False), url, "list")
    return sorted(posixpath.basename(str(entry).rstrip("/")) for entry in entries)


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


def matching_files(pattern: str) -> list[str]:
    """Files whose path or URL matches a glob (``*``, ``?``, ``[...]``, ``**``), by name."""
    fs, path = open_filesystem(pattern)
    found = sorted(map(str, with_retries(lambda: list(fs.glob(path)), pattern, "list")))
    if is_local(pattern):
        return found
    # Clients leave out scheme and, on Azure, the account. The files get what the pattern has.
    scheme, rest = pattern.split("://", 1)
    root = f"{scheme}://{rest.partition('/')[0]}"
    return [name if "://" in name else f"{root}/{name.lstrip('/').partition('/')[2]}" for name in found]
