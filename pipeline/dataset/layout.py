"""Names of everything in an output directory. No other module knows them.

::

    OUTPUT/
      run.json  README.md
      edits.jsonl                              what made this version of its parent, where ``import`` made it
      review.jsonl                             rows to look at and why, where ``curate --for-review`` made the dataset
      masks/part-00003-of-00040.parquet        rows of the videos whose part this is
      masks/a-ca978112ca1bbdca.parquet         rows of one video: outputs of the older layout, and writers without a run
      verdicts/part-00003-of-00040.parquet     what a second model said of rows of these videos
      _state/lock.json  owner.json
      _state/staged/RUN/PART/VIDEO-EXPRESSIONS-ORIGIN.parquet     committed, not yet merged into ``masks``
      _state/verdicts/NUMBER.parquet           verdicts, not yet merged into ``verdicts``
      _state/damaged/                          files that did not read back, taken out of ``masks``
"""

import hashlib
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

RUN_FILE = "run.json"
CARD_FILE = "README.md"
EDITS_FILE = "edits.jsonl"
REVIEW_FILE = "review.jsonl"
MASKS_FOLDER = "masks"
STATE_FOLDER = "_state"
LOCK_FILE = f"{STATE_FOLDER}/lock.json"
OWNER_FILE = f"{STATE_FOLDER}/owner.json"
STAGED_FOLDER = f"{STATE_FOLDER}/staged"
DAMAGED_FOLDER = f"{STATE_FOLDER}/damaged"
VERDICTS_FOLDER = "verdicts"
TEMPLATE_FOLDER = "template-{number}"
"""Where a command with several prompt templates puts the dataset of each, numbered from 1."""
STAGED_VERDICTS_FOLDER = f"{STATE_FOLDER}/verdicts"

VIDEOS_PER_PART = 250
MOST_PARTS = 20_000

_PART = re.compile(r"part-(\d{5})-of-(\d{5})\.parquet")
_VIDEO = re.compile(r".*-([0-9a-f]{16})\.parquet")
_STAGED = re.compile(r"(?P<video>.*-(?P<digest>[0-9a-f]{16}))-(?P<expressions>[0-9a-f]{16})-(?P<origin>\d{6})\.parquet")


def number_of_parts(videos: int) -> int:
    """Parts of a new output that is to hold so many videos: about 250 in each, at most 20,000 parts."""
    return min(MOST_PARTS, max(1, -(-videos // VIDEOS_PER_PART)))


def video_digest(video_id: str) -> str:
    """16 hexadecimal digits that stand for a video's id, the same on every machine."""
    return _digest(video_id)


def part_of(video_id: str, parts: int) -> int:
    """The part that a video belongs to, from 0."""
    return part_of_digest(video_digest(video_id), parts)


def part_of_digest(digest: str, parts: int) -> int:
    """:func:`part_of`, from :func:`video_digest`."""
    return int(digest, 16) % parts


def part_file(part: int, parts: int) -> str:
    """The file of a part.

    Example:
        >>> part_file(3, 40)
        'masks/part-00003-of-00040.parquet'
    """
    return f"{MASKS_FOLDER}/{_part_name(part, parts)}"


def verdict_file(part: int, parts: int) -> str:
    """The file of the verdicts on the videos of a part."""
    return f"{VERDICTS_FOLDER}/{_part_name(part, parts)}"


def _part_name(part: int, parts: int) -> str:
    return f"part-{part:05d}-of-{parts:05d}.parquet"


def part_of_file(url: str) -> tuple[int, int] | None:
    """``(part, parts)`` where ``url`` has the name of a part's file."""
    match = _PART.fullmatch(posixpath.basename(url))
    return (int(match[1]), int(match[2])) if match else None


def video_file(video_id: str) -> str:
    """The file of a single video's rows: readable, then a hash that tells equal slugs apart.

    Example:
        >>> video_file("../../etc/passwd")
        'masks/etc-passwd-3c3d0c6ffb3c2a1d.parquet'
    """
    return f"{MASKS_FOLDER}/{video_stem(video_id)}.parquet"


def video_stem(video_id: str) -> str:
    """A file name without suffix that stands for a video: safe everywhere, of at most 57 characters."""
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", video_id).strip("-")[:40] or "video"
    return f"{slug}-{video_digest(video_id)}"


def digest_of_file(url: str) -> str | None:
    """:func:`video_digest` of the video whose own file ``url`` is; None where it has another kind of name."""
    match = None if part_of_file(url) else _VIDEO.fullmatch(posixpath.basename(url))
    return match[1] if match else None


@dataclass(frozen=True, kw_only=True)
class StagedName:
    """What the name of a staged file says."""

    run: int
    """Generation of the run that merges it."""
    part: int
    video: str
    """:func:`video_stem` of its video."""
    digest: str
    """:func:`video_digest` of its video."""
    expressions: str
    """Stands for the expressions in it, so that the same commit has the same name."""
    origin: int
    """Generation of the run that made its rows: of two files with an expression, the later one's rows count."""

    def path(self) -> str:
        """Relative to the output."""
        name = f"{self.video}-{self.expressions}-{self.origin:06d}.parquet"
        return f"{staged_folder(self.run, self.part)}/{name}"


def staged_folder(run: int, part: int) -> str:
    """Where a run stages commits of a part's videos."""
    return f"{STAGED_FOLDER}/{run:06d}/{part:05d}"


def staged_name(run: int, parts: int, video_id: str, expression_ids: Iterable[str]) -> StagedName:
    """The name for rows of these expressions of a video, made by generation ``run``."""
    digest = video_digest(video_id)
    return StagedName(
        run=run,
        part=part_of_digest(digest, parts),
        video=video_stem(video_id),
        digest=digest,
        expressions=_digest("\0".join(sorted(set(expression_ids)))),
        origin=run,
    )


def parse_staged(url: str) -> StagedName | None:
    """The inverse of :meth:`StagedName.path`; None for any other file."""
    *_, run, part, name = url.split("/")
    match = _STAGED.fullmatch(name)
    if match is None or not (run.isdecimal() and part.isdecimal()):
        return None
    return StagedName(
        run=int(run),
        part=int(part),
        video=match["video"],
        digest=match["digest"],
        expressions=match["expressions"],
        origin=int(match["origin"]),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
