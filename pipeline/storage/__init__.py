"""Files on a local disk or any fsspec URL: whole reads, atomic writes, listings; retried where that can help."""

from pipeline.storage.atomic import TEMPORARY_PREFIX, PendingFile
from pipeline.storage.failures import MissingFileError
from pipeline.storage.files import (
    atomic_write,
    delete,
    exists,
    file_version,
    make_directory,
    move,
    open_input,
    read_bytes,
    remove_empty_folders,
    remove_leftovers,
)
from pipeline.storage.listing import (
    FileInfo,
    find_file,
    is_folder,
    list_details,
    list_files,
    list_names,
    list_tree,
    matching_files,
)
from pipeline.storage.retries import ATTEMPTS, watched_pauses, with_retries
from pipeline.storage.urls import absolute, is_local, join, local_path, open_filesystem, parent, resolve, scrub

__all__ = [
    "ATTEMPTS", "TEMPORARY_PREFIX", "FileInfo", "MissingFileError", "PendingFile", "absolute", "atomic_write", "delete",
    "exists", "file_version", "find_file", "is_folder", "is_local", "join", "list_details", "list_files", "list_names",
    "list_tree", "local_path", "make_directory", "matching_files", "move", "open_filesystem", "open_input", "parent",
    "read_bytes", "remove_empty_folders", "remove_leftovers", "resolve", "scrub", "watched_pauses", "with_retries",
]  # fmt: skip
