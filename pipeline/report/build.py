"""The verb: a dataset in, one HTML file to look at it out."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.curate.review import read_reasons
from pipeline.dataset.files import file_of_video, mask_files
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.run_file import read_run
from pipeline.dataset.verification import (
    DamagedDatasetError,
    find_damage,
    lost_rows,
    quick_bytes,
    rows_of_files,
)
from pipeline.dataset.video_frames import VideoFrames
from pipeline.evaluation.rejection import Rejection, open_rejection
from pipeline.report.cards import Card
from pipeline.report.clips import Clip, read_clips
from pipeline.report.collect import Key, Statistics, items_of
from pipeline.report.drawing import FramePictures, draw_frame_pictures, draw_item
from pipeline.report.page import page_html
from pipeline.report.sample import Sampler, ShownItem
from pipeline.report.summary import Totals, summarise
from pipeline.report.truth import Truth
from pipeline.storage import FileInfo, absolute, atomic_write, is_local, join, scrub

log = logging.getLogger(__name__)

FRAMES = 12
"""Frames of a looping overlay; the strip beside it shows six of them."""


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What a report shows."""

    expressions: int
    """Number of (video, expression) pairs in the dataset."""
    shown: int
    without_pictures: int
    """Shown items whose video could not be read."""
    size_bytes: int
    damage: list[str]
    """What of the dataset does not read back or is gone, a line each."""
    rejected: int
    """Expressions shown as answered with nothing, because they are probably not in the video."""
    rejection: str
    """What rejection did, as a line; empty where nothing was to be rejected."""


def write_report(
    dataset: str,
    output: str,
    video_frames: VideoFrames,
    *,
    items: int = 100,
    truth: Truth | None = None,
    movies: Mapping[Key, str] | None = None,
    allow_missing: bool = False,
    reject_below: float | None = None,
    on_progress: Callable[[str], None] = log.info,
) -> ReportSummary:
    """Write a report on a mask dataset: one HTML file that needs nothing else.

    The dataset is streamed, and videos are opened for the items shown only, so memory grows with ``items`` and not with
    the dataset.

    Args:
        dataset: Path or fsspec URL of a mask dataset.
        output: The file to write; path or fsspec URL.
        video_frames: Where its videos are.
        items: (video, expression) pairs to show, at most.
        truth: The dataset's result on a benchmark, to show and to choose worst and best by.
        movies: URLs of overlay videos to link to.
        allow_missing: Show what can be read of a damaged dataset; the page says what cannot.
        reject_below: Show expressions with a lower verdict (or, without one, ``presence``) as answered with nothing.
        on_progress: Called with one line whenever there is progress to tell.

    Raises:
        UsageError: It is not a mask dataset, or no row has a presence to reject by.
        DamagedDatasetError: Rows do not read back, and ``allow_missing`` is off.
        StorageError: It cannot be read, or the report not be written.
    """
    run = read_run(dataset)
    damaged = find_damage(dataset, most_bytes=quick_bytes(dataset)) or []
    if damaged and not allow_missing:
        raise DamagedDatasetError(damaged)
    source = MaskDataset(dataset, skip_damaged=allow_missing)
    rejection = open_rejection(source, reject_below)
    totals, sampled = _collect(source, run, items, truth, rejection)
    lost = lost_rows(run, rows_of_files(dataset))
    totals.notes = [str(file) for file in damaged or source.damaged.values()]
    totals.notes += [f"{lost} rows that the run wrote are in no file any more"] if lost else []
    damage = list(totals.notes)
    totals.notes += [str(rejection)] if reject_below is not None else []
    on_progress(f"{totals.expressions} expressions read, {len(sampled)} of them chosen to be shown")
    shown = {choice.item.key for choice in sampled}
    rejected = {choice.item.key for choice in sampled if choice.item.is_rejected}
    clips = read_clips(dataset, shown, FRAMES, rejected=rejected, allow_missing=allow_missing)
    grounds = draw_frame_pictures(clips, video_frames)
    on_progress(f"pictures of {sum(bool(ground.frames) for ground in grounds.values())} of {len(grounds)} videos made")
    cards = _Cards(dataset, output, clips, grounds, truth, movies or {}, read_reasons(dataset)).of(sampled)
    named = {f"ground-{number}": ground for number, ground in enumerate(grounds.values())}
    content = page_html(summarise(totals, cards, named))
    atomic_write(output, content)
    return ReportSummary(
        expressions=totals.expressions,
        shown=len(cards),
        without_pictures=sum(card.problem is not None for card in cards),
        size_bytes=len(content),
        damage=damage,
        rejected=rejection.rejected,
        rejection=str(rejection) if reject_below is not None else "",
    )


def _collect(
    dataset: MaskDataset, run: dict[str, Any], items: int, truth: Truth | None, rejection: Rejection
) -> tuple[Totals, list[ShownItem]]:
    sampler = Sampler(items, lambda item: item.score if truth is None else truth.both(item.key))
    totals = Totals(dataset=dataset.url, run=run, statistics=Statistics(), truth=truth)
    for item in items_of(dataset, rejection):
        totals.add(item)
        sampler.add(item)
    return totals, sampler.chosen()


@dataclass(frozen=True)
class _Cards:
    """Puts together what is known of the items shown."""

    dataset: str
    output: str
    clips: Mapping[Key, Clip]
    grounds: Mapping[str, FramePictures]
    truth: Truth | None
    movies: Mapping[Key, str]
    reasons: Mapping[Key, str]

    def of(self, sampled: list[ShownItem]) -> list[Card]:
        present = mask_files(self.dataset)
        numbers = {video_id: number for number, video_id in enumerate(self.grounds)}
        return [self._card(number, choice, present, numbers) for number, choice in enumerate(sampled)]

    def _card(self, number: int, choice: ShownItem, present: list[FileInfo], numbers: Mapping[str, int]) -> Card:
        key = choice.item.key
        clip, ground = self.clips.get(key), self.grounds.get(key[0])
        own = file_of_video(present, key[0])
        return Card(
            number=number,
            sampled=choice,
            drawing=draw_item(key, clip, self.truth) if clip is not None else None,
            ground=f"ground-{numbers[key[0]]}" if ground is not None and ground.frames else None,
            problem=ground.problem if clip is not None and ground is not None else None,
            truth_score=self.truth.truth_scores.get(key) if self.truth is not None else None,
            file=own or "masks/*.parquet",  # another writer may name files otherwise
            link=link_between(self.output, join(self.dataset, own)) if own else None,
            query=_query(join(self.dataset, own or "masks/*.parquet"), key),
            reason=self.reasons.get(key),
            movie=link_between(self.output, self.movies[key]) if key in self.movies else None,
        )


def link_between(page: str, target: str) -> str | None:
    """The relative link from a local page to a local file; None where one of them is elsewhere."""
    if not (is_local(page) and is_local(target)):
        return None
    relative = os.path.relpath(absolute(target), Path(absolute(page)).parent)
    return quote(relative)


def _query(url: str, key: Key) -> str:
    """A query to copy, for people; nothing here runs it. Quotes are doubled, as SQL wants them in strings."""
    file, video_id, expression_id = ("'" + part.replace("'", "''") + "'" for part in (scrub(url), *key))
    where = f"video_id = {video_id} and expression_id = {expression_id}"
    return f"select * from read_parquet({file}) where {where}"  # noqa: S608 - text to copy
