"""The files that a manifest's location names: one file, a folder of them as Spark, Dask or Ray write it, or a glob."""

import gzip
import io
import posixpath
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from pipeline.errors import UsageError
from pipeline.manifest.canonical import READERS
from pipeline.storage import exists, is_folder, join, list_tree, matching_files, open_input, parent, scrub

_GZIP = ".gz"
_GLOB = "*?["


def kind_of(url: str) -> str:
    """The lower-case extension that says how a file is read, without ``.gz`` and a web address's query."""
    path = urllib.parse.urlsplit(url).path if url.startswith(("http://", "https://")) else url
    path = path.lower()
    kind = posixpath.splitext(path.removesuffix(_GZIP))[1]
    return kind + _GZIP if kind == ".parquet" and path.endswith(_GZIP) else kind


def manifest_files(manifest: str) -> tuple[list[str], str] | None:
    """The files of a manifest with rows, by name, and the folder that relative videos are taken from.

    That folder is the one that holds the file or the folder named, or the part of a glob before its first wildcard.
    ``None``: ``manifest`` is a file of another kind.

    Raises:
        UsageError: A folder or glob without files of rows.
        MissingFileError: There is no such file or folder.
    """
    is_web = manifest.startswith(("http://", "https://"))
    if not is_web and any(sign in manifest for sign in _GLOB) and not exists(manifest):
        return _with_rows(matching_files(manifest), manifest), _folder_before_wildcards(manifest)
    if not is_web and is_folder(manifest):
        found = [file.url for file in list_tree(manifest)]
        return _with_rows(found, manifest), parent(manifest)
    return ([manifest], parent(manifest)) if kind_of(manifest) in READERS else None


def _with_rows(found: list[str], manifest: str) -> list[str]:
    chosen = [url for url in found if kind_of(url) in READERS and not posixpath.basename(url).startswith(("_", "."))]
    if not chosen:
        others = ", ".join(sorted({posixpath.basename(url) for url in found})[:5]) or "nothing"
        raise UsageError(
            f"{scrub(manifest)}: holds no manifest: expected files of {', '.join(READERS)} (also .gz of text), "
            f"found {others}"
        )
    return chosen


def _folder_before_wildcards(pattern: str) -> str:
    first = min(pattern.index(sign) for sign in _GLOB if sign in pattern)
    return join(pattern[:first].rpartition("/")[0] or "/")


@contextmanager
def open_manifest(url: str) -> Iterator[IO[bytes]]:
    """A manifest's file, unpacked where its name ends in ``.gz``."""
    with open_input(url) as file:
        path = urllib.parse.urlsplit(url).path if url.startswith(("http://", "https://")) else url
        if not path.lower().endswith(_GZIP):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unpacked, io.BufferedReader(unpacked) as buffered:
            yield buffered
