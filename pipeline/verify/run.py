"""The verb: a finished dataset in, a second model's verdicts on its rows beside it."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.dataset.files import mask_files
from pipeline.dataset.identity import differences
from pipeline.dataset.layout import STATE_FOLDER, number_of_parts, part_of_file
from pipeline.dataset.lock import RunLock
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.run_file import read_run
from pipeline.dataset.state import DatasetState
from pipeline.dataset.verdicts import Verdicts
from pipeline.dataset.video_frames import VideoFrames, find_video_frames
from pipeline.errors import UsageError, VideoError
from pipeline.storage import join, make_directory, scrub
from pipeline.verify.items import Item, Pending, find_pending, groups_of, items_of_videos
from pipeline.verify.judge import EndpointError
from pipeline.verify.panel import Outcome, Panel
from pipeline.verify.pictures import scaled
from pipeline.verify.settings import VerifySettings
from pipeline.verify.store import VerdictStore, other_settings

log = logging.getLogger(__name__)

MOST_FAILURES_IN_A_ROW = 20
"""So many questions without an answer, and none with one in between: the fault is not theirs."""
_LAST_REPLIES_S = 3.0
_TELL_EVERY_S = 30.0
_NAMED_FAILURES = 100


@dataclass(kw_only=True)
class Verification:
    """What came of it."""

    judged: int = 0
    """Rows that got a verdict now."""
    said_yes: int = 0
    """How many of these have a verdict of at least 0.5."""
    judged_before: int = 0
    failed: int = 0
    """Rows that were to get a verdict and got none."""
    failures: list[tuple[str, str, int, str]] = field(default_factory=list)
    """The first of these: video, expression, object, and why."""
    left: int = 0
    """Rows that ``limit`` left for another time."""
    damage: list[str] = field(default_factory=list)
    """With ``allow_missing``: what of the dataset does not read back, a line each."""


def verify(
    predictions: str,
    settings: VerifySettings,
    *,
    manifest: str | None = None,
    videos: str | None = None,
    allow_missing: bool = False,
    report_line: Callable[[str], None] = log.info,
) -> Verification:
    """Ask other models about every row of a dataset that has no verdict yet, and keep what they say beside it.

    Verdicts are kept as they come: a run that is ended goes on where it was, and no row gets two. The dataset's own
    files stay as they are. Memory holds a few rows and frames, and about 30 bytes of each verdict.

    Args:
        predictions: URL of a mask dataset.
        settings: Who is asked what.
        manifest: Names the videos; by default the manifest of the dataset's run.
        videos: Folder that relative video paths start from.
        allow_missing: Leave out rows that do not read back.
        report_line: Told how far it is, now and then.

    Raises:
        UsageError: It is no mask dataset, another run works on it, its verdicts were made in another way, or a key's
            variable is not set.
        EndpointError: A server answers nothing; what was judged is kept.
        DamagedDatasetError: Rows do not read back, and ``allow_missing`` is off; likewise.
        StorageError: The storage failed; likewise.
    """
    dataset = MaskDataset(predictions, skip_damaged=allow_missing)
    files = mask_files(dataset.url)
    if not files:
        raise UsageError(f"{scrub(dataset.url)}: not a mask dataset: no masks/*.parquet in it")
    _check_settings(dataset.url, settings)
    with (
        Panel(settings) as panel,
        find_video_frames(read_run(dataset.url), manifest, videos) as video_frames,
    ):
        make_directory(join(dataset.url, STATE_FOLDER))
        lock = RunLock(dataset.url)
        lock.acquire()
        try:
            run = _Run(dataset, settings, panel, video_frames, lock, report_line)
            return run.run(skip_damaged=allow_missing)
        finally:
            lock.release()


def _check_settings(url: str, settings: VerifySettings) -> None:
    """Refuse to mix verdicts that were made in different ways."""
    for other in [] if settings.replace else other_settings(url, settings.digest()).values():
        own = settings.deciding()
        changes = "; ".join(differences({name: other[name] for name in own if name in other}, own))
        raise UsageError(
            f"{scrub(url)}: has verdicts that were made in another way: {changes}; use the old settings, or judge all "
            "anew with --replace"
        )


class _Run:
    def __init__(
        self,
        dataset: MaskDataset,
        settings: VerifySettings,
        panel: Panel,
        video_frames: VideoFrames,
        lock: RunLock,
        report_line: Callable[[str], None],
    ) -> None:
        self._dataset, self._settings, self._panel, self._lock = dataset, settings, panel, lock
        self._video_frames, self._report_line = video_frames, report_line
        self._result = Verification()
        self._failures_in_a_row = 0
        self._started = self._told = time.monotonic()
        self._given = 0

    def run(self, *, skip_damaged: bool) -> Verification:
        self._skip_damaged = skip_damaged
        settings = self._settings
        self._store = VerdictStore(
            self._dataset.url,
            _parts(self._dataset.url),
            settings.digest(),
            settings.noted(),
            check=self._lock.check,
        )
        verdicts = Verdicts.of_dataset(self._dataset.url, settings_digest=settings.digest())
        pending = find_pending(self._dataset, verdicts, self._store.parts, plain=settings.plain)
        self._result.judged_before = pending.judged
        self._to_do = pending.rows if settings.limit is None else min(settings.limit, pending.rows)
        self._result.left = pending.rows - self._to_do
        note = f", {pending.outdated} of them because their masks have changed" if pending.outdated else ""
        self._report_line(f"{self._to_do} rows to judge{note}; {pending.judged} have a verdict")
        try:
            self._judge_all(pending, verdicts)
            while self._panel.waiting:
                self._collect()
        except BaseException:
            self._panel.stop()
            self._keep_last_replies()
            raise
        finally:
            self._store.close()
        self._result.damage = [str(file) for file in self._dataset.damaged.values()]
        return self._result

    def _judge_all(self, pending: Pending, verdicts: Verdicts) -> None:
        """A part of the dataset at a time, so that each file of verdicts is written few times."""
        for part in sorted(pending.videos):
            some = MaskDataset(self._dataset.url, video_ids=pending.videos[part], skip_damaged=self._skip_damaged)
            for video_id, items in items_of_videos(some, verdicts, self._settings):
                for group in groups_of(items[: self._to_do - self._given]):
                    self._give(video_id, group)
                if self._given >= self._to_do:
                    return
            self._dataset.damaged |= some.damaged

    def _give(self, video_id: str, items: Sequence[Item]) -> None:
        self._given += len(items)
        usable = [item for item in items if self._is_sound(item)]
        try:
            frames = self._frames_of(video_id, usable)
        except VideoError as error:
            for item in usable:
                self._failed(item, scrub(str(error)))
            return
        for item in usable:
            while self._panel.is_full:
                self._collect()
            self._panel.give(item, [frames[name] for name in item.names])
        self._store.tick()

    def _is_sound(self, item: Item) -> bool:
        if not item.names or not all(item.size):
            self._failed(item, "its row names no frames, or no size")
            return False
        wrong = [mask["size"] for mask in item.masks if mask is not None and tuple(mask["size"]) != item.size]
        if wrong:
            self._failed(item, f"damaged mask: its size is {list(wrong[0])}, the video's {list(item.size)}")
        return not wrong

    def _frames_of(self, video_id: str, items: Sequence[Item]) -> dict[str, np.ndarray]:
        """Scaled frames by name, each decoded once. Raises VideoError."""
        if not items:
            return {}
        pairs = sorted({pair for item in items for pair in zip(item.frames, item.names, strict=True)})
        names = list(dict.fromkeys(name for _, name in pairs))
        found = self._video_frames.read(video_id, names, items[0].size)
        return {name: scaled(frame, self._settings.picture_side) for name, frame in zip(names, found, strict=True)}

    def _collect(self) -> None:
        """Wait a moment for a row to be judged, and keep the verdict."""
        outcome = self._panel.collect(wait_s=1.0)
        self._lock.check()
        if outcome is not None:
            self._take(outcome)
        self._store.tick()
        now = time.monotonic()
        if now - self._told >= _TELL_EVERY_S:
            self._told = now
            rate = 60 * self._result.judged / (now - self._started)
            self._report_line(f"{self._result.judged} of {self._to_do} rows judged, {rate:.0f} a minute")

    def _take(self, outcome: Outcome) -> None:
        if outcome.verdict is not None:
            self._failures_in_a_row = 0
            self._result.judged += 1
            self._result.said_yes += outcome.verdict["verdict"] >= 0.5
            self._store.add(outcome.verdict)
            return
        self._failed(outcome.item, outcome.why)
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
            raise EndpointError(
                f"{self._failures_in_a_row} rows in a row got no verdict, the last: {outcome.why}; what was judged is "
                "kept, the same command goes on"
            )

    def _failed(self, item: Item, why: str) -> None:
        self._result.failed += 1
        if len(self._result.failures) < _NAMED_FAILURES:
            self._result.failures.append((item.video_id, item.expression_id, item.object_id, why))

    def _keep_last_replies(self) -> None:
        """Replies that were paid for, after something has ended the run."""
        until = time.monotonic() + _LAST_REPLIES_S
        while self._panel.waiting and time.monotonic() < until:
            try:
                outcome = self._panel.collect(wait_s=0.2)
            except EndpointError as error:  # another error is on its way already
                log.info("%s", error)
                continue
            if outcome is not None and outcome.verdict is not None:
                self._store.add(outcome.verdict)


def _parts(url: str) -> int:
    """The dataset's own number of parts, else as many as a new one of its size would have."""
    found = {numbers[1] for file in mask_files(url) if (numbers := part_of_file(file.url))}
    return found.pop() if len(found) == 1 else number_of_parts(DatasetState(url).counts().videos)
