"""The files of a submission by name, whoever wrote it, and what is wrong with the names themselves."""

import stat
import zipfile
from collections import Counter
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.evaluation.pictures import MAX_FILE_BYTES, PictureError, PictureTree
from pipeline.storage import absolute, exists, is_local, open_filesystem, open_input, scrub, with_retries


class Submission:
    """The files of a zip or a folder. Nothing is unpacked, whatever the names say.

    Args:
        location: Path or fsspec URL of a zip file (ends in ``.zip``) or a folder.

    Raises:
        UsageError: Nothing is there, or it is no zip file.
    """

    def __init__(self, location: str) -> None:
        if not exists(location):
            raise UsageError(f"{scrub(location)}: no such file or folder")
        self.faults: list[str] = []
        """What is wrong with names: paths that climb out, links, doubled or encrypted entries."""
        self._tree = PictureTree(location)
        self._archive: zipfile.ZipFile | None = None
        if location.lower().endswith(".zip"):
            self.names = self._zip_names(location)
        elif is_local(location) and Path(absolute(location)).is_file():
            raise UsageError(f"{scrub(location)}: expected a .zip file or a folder")
        else:
            self.names = _folder_names(location)

    def read(self, name: str) -> bytes:
        """One file's bytes. Raises PictureError where they cannot be read."""
        if self._archive is None:
            return self._tree.read(name)
        if self._archive.getinfo(name).file_size > MAX_FILE_BYTES:
            raise PictureError(f"{name} unpacks to more than {MAX_FILE_BYTES} bytes")
        try:
            return self._archive.read(name)
        except Exception as error:
            raise PictureError(f"{name} cannot be unpacked: {type(error).__name__}: {error}") from error

    def _zip_names(self, location: str) -> set[str]:
        try:
            self._archive = zipfile.ZipFile(open_input(location))
            entries = self._archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise UsageError(f"{scrub(location)}: not a readable zip file: {error}") from error
        counts = Counter(entry.filename for entry in entries)
        self.faults += [f"{name!r}: {count} entries of this name" for name, count in counts.items() if count > 1]
        names = set()
        for entry in entries:
            fault = _entry_fault(entry)
            if fault is not None:
                self.faults.append(f"{entry.orig_filename!r}: {fault}")
            elif not entry.is_dir():
                names.add(entry.filename)
        return names


def _entry_fault(entry: zipfile.ZipInfo) -> str | None:
    name = entry.orig_filename
    if not name:
        return "an entry without a name"
    if "\0" in name:
        return "the name holds a NUL character"
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return "absolute path"
    if ".." in name.replace("\\", "/").split("/"):
        return "the path climbs out of the zip"
    if "\\" in name:
        return "backslashes in the path; zip files separate folders by /"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "a symbolic link"
    if entry.flag_bits & 0x1:
        return "encrypted"
    return None


def _folder_names(location: str) -> set[str]:
    if is_local(location):
        root = Path(absolute(location))
        return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}
    fs, path = open_filesystem(location)
    found = with_retries(lambda: fs.find(path), location, "list")
    return {str(name)[len(path.rstrip("/")) + 1 :] for name in found}
