"""The verb: a dataset and edits in, a new dataset out; the old one is not touched."""

import posixpath
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.carry_verdicts import carry_verdicts
from pipeline.dataset.content import content_hash, version_of
from pipeline.dataset.layout import EDITS_FILE, number_of_parts
from pipeline.dataset.output import OutputDirectory
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.run_file import read_run
from pipeline.dataset.state import Counts
from pipeline.dataset.videos import count_rows, iter_videos
from pipeline.errors import StorageError, UsageError
from pipeline.schema import VideoTask
from pipeline.storage import absolute, atomic_write, join, scrub
from pipeline.versions.apply import EditError, edited_rows, with_lineage
from pipeline.versions.edits import Edit, EditFile

_MANY = 5
"""Faults of an edit file that are told at once."""


@dataclass(frozen=True, kw_only=True)
class NewVersion:
    """What became of a dataset.

    Attributes:
        parent: Version that was changed.
        counts: What the new dataset holds.
        rows_before: Rows of the parent.
        edits: Edits by action.
        undecided: Lines of the edit file that decide nothing.
        verdicts: How many verdicts of a second model were taken along, as a line; empty where there are none.
    """

    parent: str
    counts: Counts
    rows_before: int
    edits: dict[str, int]
    undecided: int
    verdicts: str


def make_version(parent: str, edits: EditFile, output: str, *, tool: str = "edits") -> NewVersion:
    """Write ``parent`` with ``edits`` applied as a new dataset.

    Rows that no edit names keep their masks to the byte. A call that was cut off can be made again and goes on where it
    was; each row is in the result exactly once.

    Args:
        parent: A mask dataset.
        edits: What to change.
        output: Directory for the new one; bound to the parent's version and the edits.
        tool: Where the edits come from, for the card.

    Raises:
        UsageError: An edit does not fit the dataset (nothing is written then), or ``output`` holds something else.
        DamagedDatasetError: Rows of the parent do not read back.
        StorageError: Storage failed, or a run added to the parent meanwhile.
    """
    if absolute(parent) == absolute(output):
        raise UsageError(f"{scrub(output)}: is the dataset to change; name a new --output")
    dataset, content, version = MaskDataset(parent), content_hash(absolute(parent)), version_of(absolute(parent))
    rows_of = count_rows(dataset)
    by_video = edits.by_video()
    _check_edits(dataset, rows_of, by_video)
    run = read_run(dataset.url)
    by_action = dict(sorted(Counter(edit.action.value for edit in edits.edits).items()))
    with OutputDirectory(output) as target:
        target.begin(
            identity=_identity(dataset.url, run, version, edits, tool),
            description={
                "model": run.get("model"),
                "source": scrub(dataset.url),
                "parent": version,
                "ancestors": [*run.get("ancestors", []), version],
                "edits": by_action,
            },
            parts=run.get("parts") or number_of_parts(len(rows_of)),
        )
        _write(target, dataset, rows_of, by_video, version)
        if content_hash(dataset.url) != content:
            raise StorageError(f"{scrub(dataset.url)}: changed while it was read; start again once its run has ended")
        atomic_write(join(target.url, EDITS_FILE), edits.to_bytes())
        counts = target.finish({})
        carried = carry_verdicts(dataset.url, target.url)
    return NewVersion(
        parent=version,
        counts=counts,
        rows_before=sum(rows_of.values()),
        edits=by_action,
        undecided=edits.undecided,
        verdicts=str(carried),
    )


def _write(
    target: OutputDirectory,
    dataset: MaskDataset,
    rows_of: Counter[str],
    by_video: dict[str, list[Edit]],
    version: str,
) -> None:
    """Commit every video that an earlier attempt has not."""
    done = set(target.done())
    target.expect([VideoTask(video_id=video_id, video="", expressions=()) for video_id in rows_of.keys() - done])
    for video_id, rows in iter_videos(dataset, rows_of):
        if video_id in done:
            continue
        edits = by_video.get(video_id)
        changed = edited_rows(rows, edits, version) if edits else with_lineage(rows, version)
        if changed is not None:
            target.commit(changed)


def _check_edits(dataset: MaskDataset, rows_of: Counter[str], by_video: dict[str, list[Edit]]) -> None:
    """Apply all edits without writing, so that a fault of the last one is found before anything is made."""
    faults = [
        f"{edit.where}: there is no video {video_id!r}"
        for video_id, edits in by_video.items()
        for edit in edits
        if video_id not in rows_of
    ]
    concerned = sorted(by_video.keys() & rows_of.keys())
    some = Counter({video_id: rows_of[video_id] for video_id in concerned})
    for video_id, rows in iter_videos(MaskDataset(dataset.url, video_ids=concerned), some) if concerned else ():
        try:
            edited_rows(rows, by_video[video_id], "")
        except EditError as error:
            faults.append(str(error))
    if faults:
        more = f" (and {len(faults) - _MANY} more)" if len(faults) > _MANY else ""
        raise UsageError("; ".join(faults[:_MANY]) + more)


def _identity(url: str, run: dict[str, Any], version: str, edits: EditFile, tool: str) -> dict[str, Any]:
    """What the card says about how the version was made."""
    identity = run.get("identity")
    made = identity if isinstance(identity, dict) else {}
    own = {
        "version_of": posixpath.basename(scrub(url)),
        "parent": version,
        "edited_with": tool,
        "edits": edits.digest,
    }
    return {
        **own,
        **{f"source_{name.removeprefix('source_')}": value for name, value in made.items() if name not in own},
    }
