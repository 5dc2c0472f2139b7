"""Merging staged rows into the file of their part: copy on write, one file replaced in one step.

Whatever is killed in between, nothing is lost or doubled: rows stay staged until the part that holds them is there, and
merging rows that the part already holds gives the same part.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.dataset.damage import Sound, keep_damaged, sound_rows
from pipeline.dataset.files import BrokenFileError, read_group, read_metadata
from pipeline.dataset.layout import part_file
from pipeline.dataset.notes import VideoNote, notes_from_metadata, notes_to_metadata
from pipeline.dataset.owner import check_owner
from pipeline.dataset.sources import is_same
from pipeline.dataset.staging import StagedFile, delete_all, stage_video_files, staged_of_part
from pipeline.dataset.tables import RowGroupWriter, sorted_rows
from pipeline.dataset.writer import RunHold
from pipeline.errors import StorageError
from pipeline.schema import MASKS_SCHEMA
from pipeline.storage import FileInfo, PendingFile, file_version, find_file, join, scrub

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Merged:
    """What became of a part.

    Attributes:
        part: Its number.
        damage: What did not read back and has to be done again, a line each; empty as a rule.
    """

    part: int
    damage: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PartMerger:
    """Merges parts of one output for a run; can be sent to other processes, of which one a part may work at a time.

    Attributes:
        url: The output.
        run: The run.
        metadata: Strings for the metadata of the files.
    """

    url: str
    run: RunHold
    metadata: Mapping[str, str]

    def merge(self, part: int, video_files: Sequence[str] = ()) -> Merged:
        """Merge what is staged for a part into its file.

        Args:
            part: The part.
            video_files: Files of single videos under ``masks`` that become rows of the part.

        Raises:
            LostOutputError: Another run has taken the output over.
            StorageError: The storage failed for good; what was staged still is.
        """
        check_owner(self.url, self.run.owner)
        if video_files:
            stage_video_files(self.url, self.run.owner.generation, part, video_files)
        staged = staged_of_part(self.url, self.run.owner.generation, part)
        target = join(self.url, part_file(part, self.run.parts))
        before = find_file(target)
        damage: list[str] = []
        sound = Sound() if before else None
        while staged or damage:
            try:
                self._write(target, before, sound, staged, video_files)
                break
            except BrokenFileError as error:
                broken = next((item for item in staged if item.file.url == error.file), None)
                if broken is not None:
                    staged.remove(broken)
                    damage.append(f"{error}; its rows have to be done again")
                    keep_damaged(self.url, broken.file)
                elif before is not None and sound == Sound():
                    sound = sound_rows(before)
                    damage.append(f"{error}; {sound.lost_text()} to be done again")
                    keep_damaged(self.url, before, copy=True)
                else:
                    raise
        delete_all([item.file.url for item in staged])
        for line in damage:
            logger.error("%s", line)
        return Merged(part=part, damage=tuple(damage))

    def repair(self, part: int) -> Merged:
        """Write a part anew from those of its rows that read back, and from what is staged."""
        before = find_file(join(self.url, part_file(part, self.run.parts)))
        if before is None:
            return self.merge(part)
        check_owner(self.url, self.run.owner)
        sound = sound_rows(before)
        line = f"{scrub(before.url)}: does not read back everywhere; {sound.lost_text()} to be done again"
        keep_damaged(self.url, before, copy=True)
        staged = staged_of_part(self.url, self.run.owner.generation, part)
        self._write(before.url, before, sound, staged, ())
        delete_all([item.file.url for item in staged])
        logger.error("%s", line)
        return Merged(part=part, damage=(line,))

    def _write(
        self,
        target: str,
        before: FileInfo | None,
        sound: Sound | None,
        staged: Sequence[StagedFile],
        video_files: Sequence[str],
    ) -> None:
        """Write the part: a new file beside the old one, which it replaces at the end."""
        notes: dict[str, VideoNote] = {}
        version = file_version(target)
        with PendingFile(target) as pending:
            with RowGroupWriter(pending.file, self.metadata) as writer:
                for video_id, rows, note in _merged(before, sound, staged):
                    writer.add(rows)
                    notes[video_id] = note
                writer.add_metadata(notes_to_metadata(notes))
            check_owner(self.url, self.run.owner)
            if file_version(target) != version:
                raise StorageError(f"{scrub(target)}: was replaced by another process; start the same command again")
            # their rows are staged; should this be the end of it, the next run merges them
            delete_all(video_files)
            pending.publish()


def _merged(
    before: FileInfo | None, sound: Sound | None, staged: Sequence[StagedFile]
) -> Iterator[tuple[str, pa.Table, VideoNote]]:
    """Videos in the order of their ids, with all their rows."""
    waiting = _by_video(staged)
    order = sorted(waiting, reverse=True)
    for video_id, rows, note in _old_videos(before, sound):
        while order and order[-1] < video_id:
            new = order.pop()
            yield new, *_with_staged(None, VideoNote(), waiting[new])
        if order and order[-1] == video_id:
            order.pop()
            yield video_id, *_with_staged(rows, note, waiting[video_id])
        else:
            yield video_id, rows, note
    for new in reversed(order):
        yield new, *_with_staged(None, VideoNote(), waiting[new])


def _by_video(staged: Sequence[StagedFile]) -> dict[str, list[StagedFile]]:
    found: dict[str, list[StagedFile]] = defaultdict(list)
    for item in staged:
        ids = read_group(item.file, 0, ["video_id"])
        found[ids["video_id"][0].as_py()].append(item)
    return found


def _with_staged(rows: pa.Table | None, note: VideoNote, staged: Sequence[StagedFile]) -> tuple[pa.Table, VideoNote]:
    """A video's rows after its staged commits, each of which replaces the expressions that it holds."""
    pieces = [] if rows is None else [rows]
    for item in staged:
        metadata, groups = read_metadata(item.file)
        new = pa.concat_tables(read_group(item.file, group, MASKS_SCHEMA.names) for group in range(groups))
        video_id = new["video_id"][0].as_py()
        newer = notes_from_metadata(metadata, video_id=video_id).get(video_id, VideoNote())
        if not is_same(note.source, newer.source):
            pieces, note = [], VideoNote()  # rows of what was another video under this id
        replaced = set(new["expression_id"].to_pylist())
        pieces = [kept for piece in pieces for kept in _without(piece, replaced)] + [new]
        note = note.updated(newer, replaced)
    return sorted_rows(pa.concat_tables(piece.replace_schema_metadata(MASKS_SCHEMA.metadata) for piece in pieces)), note


def _without(rows: pa.Table, expressions: set[str]) -> list[pa.Table]:
    keys = rows["expression_id"].to_pylist()
    if not expressions.intersection(keys):
        return [rows]
    return [rows.slice(index, 1) for index, key in enumerate(keys) if key not in expressions]


def _old_videos(before: FileInfo | None, sound: Sound | None) -> Iterator[tuple[str, pa.Table, VideoNote]]:
    """Videos of the present file, in their order; one of several row groups is put together."""
    if before is None or sound is None or sound.is_unreadable:
        return
    metadata, groups = read_metadata(before)
    notes = notes_from_metadata(metadata)
    held: list[pa.Table] = []
    held_id: str | None = None
    for group in range(groups):
        if group in sound.damaged_groups:
            continue
        table = sound.without_lost(read_group(before, group, MASKS_SCHEMA.names))
        for video_id, rows in _runs(table):
            if video_id != held_id and held_id is not None:
                yield held_id, pa.concat_tables(held), notes.get(held_id, VideoNote())
                held = []
            held_id = video_id
            held.append(rows)
    if held_id is not None:
        yield held_id, pa.concat_tables(held), notes.get(held_id, VideoNote())


def _runs(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Successive rows of one video each."""
    start = 0
    for video_id, count in Counter(table["video_id"].to_pylist()).items():
        yield video_id, table.slice(start, count)
        start += count
