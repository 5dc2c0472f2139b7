"""A VOT referral dataset (VOTSr) as a manifest: ``sequences/list.txt`` and a ``sequence`` file in each folder."""

import hashlib
import posixpath

from pipeline.errors import UsageError
from pipeline.schema import Expression, VideoTask
from pipeline.storage import MissingFileError, absolute, exists, join, list_names, read_bytes, scrub

_PICTURES = (".jpg", ".jpeg", ".png")


def sequences_folder(location: str) -> str | None:
    """The folder of sequences that ``location`` is or holds; None if it is no such dataset."""
    for folder in (location, join(location, "sequences")):
        if exists(join(folder, "list.txt")):
            return absolute(folder)
    return None


def read_sequences(location: str) -> list[VideoTask]:
    """One task per sequence, one expression per prompt; its id is the prompt's hash, as result files are named.

    Args:
        location: The ``sequences`` folder, or the folder that holds it.

    Raises:
        UsageError: It is no such dataset, or a sequence lacks its pictures, its prompts or its file.
    """
    folder = sequences_folder(location)
    if folder is None:
        raise UsageError(f"{scrub(location)}: no VOT dataset: it holds no list.txt of sequences")
    names = [line.strip() for line in _text(join(folder, "list.txt")).splitlines() if line.strip()]
    if not names:
        raise UsageError(f"{scrub(folder)}: list.txt names no sequence")
    return [_task(folder, name) for name in dict.fromkeys(names)]


def prompt_hash(prompt: str) -> str:
    """What the toolkit calls a prompt in file names.

    Example:
        >>> prompt_hash("the red boat")
        'fae7afd6'
    """
    return hashlib.md5(prompt.encode("utf-8"), usedforsecurity=False).hexdigest()[:8]


def _task(folder: str, name: str) -> VideoTask:
    if "/" in name or name in (".", ".."):
        raise UsageError(f"{scrub(folder)}: list.txt names {name!r}, which is no folder in it")
    file = join(folder, name, "sequence")
    values = dict(line.rstrip().partition("=")[::2] for line in _text(file).splitlines() if "=" in line)
    if "prompts" not in values:
        raise UsageError(f"{scrub(file)}: names no prompts, so it is not of a referral dataset")
    prompts = dict.fromkeys(values["prompts"].split(";"))  # not trimmed: blanks belong to the prompt and its hash
    pattern = values.get("channels.color", "color/%08d.jpg")
    pictures = join(folder, name, posixpath.dirname(pattern))
    return VideoTask(
        video_id=name,
        video=pictures,
        expressions=tuple(Expression(expression_id=prompt_hash(prompt), text=prompt) for prompt in prompts),
        frames=_frames(pictures, values.get("length"), join(folder, name), file),
    )


def _frames(pictures: str, length: str | None, sequence: str, file: str) -> tuple[str, ...]:
    """Names of the frames: as many as are stated, else as there are pictures, else as the ground truth has lines."""
    try:
        names = [name for name in list_names(pictures) if posixpath.splitext(name)[1].lower() in _PICTURES]
    except MissingFileError:
        names = []
    if length is not None and not length.strip().isdecimal():
        raise UsageError(f"{scrub(file)}: length={length} is no number")
    count = int(length) if length is not None else len(names) or _truth_length(sequence)
    if not count:
        raise UsageError(f"{scrub(pictures)}: holds no pictures of the sequence, and nothing says how many there are")
    if len(names) >= count:
        return tuple(posixpath.splitext(name)[0] for name in names[:count])
    return tuple(f"{number:08d}" for number in range(1, count + 1))


def _truth_length(sequence: str) -> int:
    for name in ("groundtruth.txt", "groundtruth_object1.txt"):
        if exists(join(sequence, name)):
            return len(_text(join(sequence, name)).splitlines())
    return 0


def _text(location: str) -> str:
    try:
        return read_bytes(location).decode("utf-8")
    except MissingFileError as error:
        raise UsageError(str(error)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{scrub(location)}: not UTF-8 text") from error
