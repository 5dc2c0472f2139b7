"""A benchmark's ``meta_expressions.json`` (MeViS, Ref-YouTube-VOS, Ref-DAVIS17, ReVOS) read as a manifest.

They share one shape: ``{"videos": {video: {"frames": [...], "expressions": {id: {"exp": text}}}}}``. Frame lists are
taken exactly as listed, and ids stay strings.
"""

import json
import posixpath
from collections.abc import Iterator
from typing import Any

from pipeline.errors import UsageError
from pipeline.manifest.rows import ManifestRow, shown
from pipeline.storage import MissingFileError, exists, join, list_names, parent, read_bytes, scrub

_EXPECTED = '{"videos": {VIDEO: {"frames": [...], "expressions": {ID: {"exp": TEXT}}}}}'


def read_meta_expressions(manifest: str) -> dict[str, dict[str, Any]]:
    """The ``videos`` of a meta file, its shape checked down to every expression.

    Raises:
        UsageError: It is not such a file; the message says what was expected and what was found.
    """
    try:
        content = json.loads(read_bytes(manifest), object_pairs_hook=_object_without_repeats)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{scrub(manifest)}: not a JSON file: {error}") from error
    videos = content.get("videos") if isinstance(content, dict) else None
    if not isinstance(videos, dict):
        raise _wrong(manifest, "the top level", content)
    if not videos:
        raise UsageError(f"{scrub(manifest)}: the file lists no video")
    for key, video in videos.items():
        _check_video(manifest, key, video)
    return videos


def rows_of(videos: dict[str, dict[str, Any]]) -> Iterator[ManifestRow]:
    """One row per expression, in the file's order; the video's location is its key, relative to the images' root."""
    number = 0
    for key, video in videos.items():
        frames = tuple(video["frames"])
        for expression_id, expression in video["expressions"].items():
            number += 1
            yield ManifestRow(number, key, key, expression_id, expression["exp"], frames)


def image_root(manifest: str, videos: dict[str, dict[str, Any]], given: str | None) -> str:
    """The ``JPEGImages`` folder: ``given``, or the one beside the meta file; checked to hold these videos.

    Raises:
        UsageError: There is none, or not a single listed video is in it.
    """
    beside = join(parent(manifest), "JPEGImages")
    if given is None and not exists(beside):
        raise UsageError(f"{scrub(manifest)}: name the folder of its videos with --videos .../JPEGImages")
    root = given or beside
    try:
        found = set(list_names(root))
    except MissingFileError:
        raise UsageError(f"{scrub(root)}: no such folder; --videos names the benchmark's JPEGImages folder") from None
    first_parts = {key.split("/")[0] for key in videos}
    if not found & first_parts:
        example = next(iter(videos))
        hint = f"; give --videos {scrub(join(root, 'JPEGImages'))}" if "JPEGImages" in found else ""
        listing = ", ".join(shown(name) for name in sorted(found)[:5]) or "nothing"
        raise UsageError(
            f"{scrub(root)}: none of the {len(videos)} videos of {posixpath.basename(manifest)} is here: "
            f"expected folders such as {shown(example)}, found {listing}{hint}"
        )
    return root


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shown(twice)} appears twice in one object")
    return content


def _check_video(manifest: str, key: str, video: object) -> None:
    where = f"video {shown(key)}"
    if not key or key.startswith("/") or "://" in key or ".." in key.split("/"):
        raise UsageError(f"{scrub(manifest)}: {where}: not the name of a folder inside JPEGImages")
    _check_unicode(manifest, where, key)
    if not isinstance(video, dict):
        raise _wrong(manifest, where, video)
    frames, expressions = video.get("frames"), video.get("expressions")
    if not isinstance(frames, list) or not frames or not all(type(name) is str for name in frames):
        raise _wrong(manifest, f"'frames' of {where}", frames)
    if not isinstance(expressions, dict):
        raise _wrong(manifest, f"'expressions' of {where}", expressions)
    for name in frames:
        _check_unicode(manifest, where, name)
    for expression_id, expression in expressions.items():
        if not isinstance(expression, dict) or type(expression.get("exp")) is not str:
            raise _wrong(manifest, f"expression {shown(expression_id)} of {where}", expression)
        _check_unicode(manifest, where, expression_id + expression["exp"])


def _check_unicode(manifest: str, where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{scrub(manifest)}: {where}: half a surrogate pair in {shown(text)}") from error


def _wrong(manifest: str, where: str, found: object) -> UsageError:
    if isinstance(found, dict):
        what = "an object with the keys " + (", ".join(shown(key) for key in list(found)[:6]) or "(none)")
    else:
        what = "nothing" if found is None else f"{type(found).__name__} {shown(str(found))}"
    return UsageError(
        f"{scrub(manifest)}: {where}: not a benchmark's meta_expressions.json: expected {_EXPECTED}, found {what}"
    )
