"""From one mask dataset to a smaller one: read video by video, select, write anew."""

import json
import posixpath
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.cleanup.cleaner import Cleaner
from pipeline.cleanup.settings import CleanUp
from pipeline.curate.change import clean, reject
from pipeline.curate.plan import Selection, check_not_empty, choose
from pipeline.curate.review import write_review
from pipeline.curate.rules import Rules
from pipeline.curate.shards import ShardWriter
from pipeline.dataset.carry_verdicts import carry_verdicts
from pipeline.dataset.content import content_hash
from pipeline.dataset.files import mask_files
from pipeline.dataset.layout import MASKS_FOLDER
from pipeline.dataset.output import OutputDirectory
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.run_file import read_run
from pipeline.dataset.state import Counts, DatasetState
from pipeline.dataset.verification import lost_rows, rows_of_files
from pipeline.dataset.videos import iter_videos
from pipeline.errors import PipelineError, StorageError, UsageError
from pipeline.evaluation.rejection import Rejection, open_rejection
from pipeline.storage import absolute, delete, scrub
from pipeline.versions.diff import diff


@dataclass(frozen=True, kw_only=True)
class Curation:
    """What became of a dataset.

    Attributes:
        before: What the source holds.
        after: What the new dataset holds.
        dropped: Rows by reason, every reason named.
        splits: Videos and rows of each split.
        rejected: Expressions that were rejected.
        rejection: What rejection did, as a line; empty where nothing was to be rejected.
        cleaned: What the clean-up did; empty without one.
        verdicts: How many verdicts of a second model were taken along, as a line; empty where there are none.
        lost: What could not be read, a line each; these rows are in no count of ``dropped``.
    """

    before: Counts
    after: Counts
    dropped: dict[str, int]
    splits: dict[str, dict[str, int]]
    rejected: int
    rejection: str
    cleaned: str
    verdicts: str
    lost: list[str]


def curate(
    source: str, output: str, rules: Rules, *, clean_up: CleanUp | None = None, allow_missing: bool = False
) -> Curation:
    """Write the rows of ``source`` that ``rules`` keep as a new dataset.

    The same source and rules give the same files. The source is read twice, to select and to write; memory is bounded
    by two files being filled and one video's rows, beside the ids of all videos.

    Args:
        source: A mask dataset; it is not changed.
        output: Directory for the new one; bound to the source's content and the rules, so that another selection
            refuses to mix into it.
        rules: What to keep.
        clean_up: What to clean in the masks that are kept; the rules look at them as they were.
        allow_missing: Go on without rows that do not read back, or that were there when the source's run finished.

    Raises:
        UsageError: ``source`` is no mask dataset, ``output`` holds something else, a split would be empty, or nothing
            can be rejected because no row has a presence.
        DamagedDatasetError: Rows do not read back, and ``allow_missing`` is off.
        PipelineError: Rows are gone, and ``allow_missing`` is off.
        StorageError: Storage failed, or a run added to the source meanwhile.
    """
    if absolute(source) == absolute(output):
        raise UsageError(f"{scrub(output)}: is the dataset to select from; name a new --output")
    dataset = MaskDataset(source, skip_damaged=allow_missing)
    with_verdicts = rules.reject_below is not None or rules.for_review is not None
    state = content_hash(source, with_verdicts=with_verdicts)
    cleaner = Cleaner(clean_up or CleanUp())
    rejects = rules.rejects_below is not None
    rejection = open_rejection(dataset, rules.rejects_below) if rejects else Rejection(None)
    other_iou = {item.row: item.iou for item in diff(source, rules.against).changed} if rules.against else {}
    chosen = choose(dataset, rules, rejection, other_iou=other_iou)
    rejected, rejection_note = rejection.rejected, str(rejection) if rejects else ""
    origin = read_run(dataset.url)
    gone = _check_gone(dataset.url, origin, allow_missing=allow_missing)
    before = DatasetState(dataset.url).counts()
    check_not_empty(chosen, before)
    identity = _identity(dataset.url, origin, state, rules, before, chosen)
    if cleaner.settings.is_on:
        identity.update({f"cleaned_{name}": value for name, value in asdict(cleaner.settings).items()})
    description = {"model": origin.get("model"), "source": scrub(dataset.url), "configuration": rules.as_dict()}
    with OutputDirectory(output) as target:
        target.begin(identity=identity, description=description, parts=0)
        metadata = {"sa2va_i_pipeline.made_by": json.dumps({"identity": identity}, sort_keys=True)}
        shards = {split: ShardWriter(target.url, split, metadata) for split in chosen.splits}
        for video_id, rows in iter_videos(dataset, chosen.rows_of):
            target.check_lock()
            if video_id in chosen.kept:
                rows = reject(rows, rejection)
                kept = rows.take(chosen.kept[video_id])  # a copy, so that the row group need not be held
                shards[rules.split_of(video_id)].add(clean(kept, cleaner))
        if content_hash(source, with_verdicts=with_verdicts) != state:
            raise StorageError(f"{scrub(dataset.url)}: changed while it was read; start again once its run has ended")
        for shard in shards.values():
            shard.finish()
        _remove_others(target.url, [file for shard in shards.values() for file in shard.files])
        if rules.for_review is not None:
            write_review(target.url, chosen.picks)
        summary = {"before": asdict(before), "dropped": chosen.dropped, "splits": chosen.splits}
        after = target.finish(summary)
        carried = carry_verdicts(dataset.url, target.url)
    lost = gone + [str(file) for file in dataset.damaged.values()]
    if chosen.unreadable:
        lost.append(f"{chosen.unreadable} rows of damaged files are left out")
    return Curation(
        before=before,
        after=after,
        dropped=chosen.dropped,
        splits=chosen.splits,
        rejected=rejected,
        rejection=rejection_note,
        cleaned=str(cleaner) if cleaner.settings.is_on else "",
        verdicts=str(carried),
        lost=lost,
    )


def _check_gone(url: str, run: dict[str, Any], *, allow_missing: bool) -> list[str]:
    """Rows that the source's run counted and that no file holds any more, as lines. Raises PipelineError."""
    gone = lost_rows(run, rows_of_files(url)) if run.get("counts") else 0
    if not gone:
        return []
    line = f"{scrub(url)}: {gone} rows that its run wrote are in no file any more"
    if not allow_missing:
        raise PipelineError(f"{line}; the same annotate command does them again, --allow-missing goes on without them")
    return [line]


def _identity(
    url: str, origin: dict[str, Any], state: str, rules: Rules, before: Counts, chosen: Selection
) -> dict[str, Any]:
    """What the card says about how the rows were selected and made."""
    by = {f"selected_by_{name}": value for name, value in rules.as_dict().items()}
    splits = {split: f"{MASKS_FOLDER}/{split}-*.parquet" for split in rules.splits}
    made = origin.get("identity") if isinstance(origin.get("identity"), dict) else {}
    return {
        "selected_from": posixpath.basename(scrub(url)),
        "selected_from_content": state,
        **by,
        "splits": splits,
        "rows_before": before.rows,
        "rows_after": sum(counts["rows"] for counts in chosen.splits.values()),
        "rows_dropped": chosen.dropped,
        **{f"source_{name}": value for name, value in (made or {}).items()},
    }


def _remove_others(url: str, files: list[str]) -> None:
    """Files of an earlier attempt that this one did not write again."""
    for file in mask_files(url):
        if file.url not in files:
            delete(file.url)
