"""The Propagate stage, in the place of Ground and Segment: masks given on some frames to masks on every frame."""

from collections.abc import Mapping
from typing import Any

from pipeline.config import RunConfig
from pipeline.dataset.content import version_of
from pipeline.dataset.reader import MaskDataset, mask_row
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.stage import Row
from pipeline.errors import VideoError
from pipeline.model.propagate import propagate_masks
from pipeline.model.segment import Track
from pipeline.schema import MaskRow, Rle, RowSource, Status, VideoTask, failed_rows
from pipeline.stages.rows import TASK_SCHEMA, task_of
from pipeline.stages.segment import Segment, segmented_row
from pipeline.storage import absolute
from pipeline.video.frames import FrameSource
from pipeline.video.keyframes import uniform_keyframes


class Propagate(Segment):
    """A segmenting worker that starts from the masks of another dataset.

    Rows of that dataset without a mask to start from are taken over as they are.
    """

    input_schema = TASK_SCHEMA

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        assert settings.config.masks is not None
        self.masks = absolute(settings.config.masks)
        self.version = version_of(self.masks)

    def process(self, row: Row) -> Row:
        """See :class:`Stage`: the rows of the dataset for every expression of a video."""
        task = task_of(row)
        return segmented_row(task, self._propagate(task))

    def _propagate(self, task: VideoTask) -> list[MaskRow]:
        given = [mask_row(row) for row in MaskDataset(self.masks, video_ids=[task.video_id]).iter_rows()]
        texts = {expression.expression_id: expression.text for expression in task.expressions}
        here = [row for row in given if row.expression_id in texts]
        rows = []
        with self.decoder.open(task.video, self.settings.selection(task.frames), self.settings.limits()) as source:
            starts = [self._start(row, source) for row in here]
            chosen = [number for number, start in enumerate(starts) if start]
            tracks = propagate_masks(
                self.segmenter,
                source,
                [starts[number] for number in chosen],
                self.procedure,
                self.options,
                first_frame=self._first_frame(source),
            )
            found = dict(zip(chosen, tracks, strict=True))
            for number, row in enumerate(here):
                changes: Mapping[str, Any] = {}
                if number in found:
                    changes = _changes(row, found[number], sorted(starts[number]), source)
                rows.append(MaskRow(**{**vars(row), **changes, "expression": texts[row.expression_id],
                                       "parent": self.version}))  # fmt: skip
        missing = [expression for expression in task.expressions if expression.expression_id not in
                   {row.expression_id for row in here}]  # fmt: skip
        lacking = VideoTask(video_id=task.video_id, video=task.video, expressions=tuple(missing))
        return rows + failed_rows(lacking, f"{MISSING}: {self.settings.config.masks} has no row of this expression")

    def _start(self, row: MaskRow, source: FrameSource) -> dict[int, Rle]:
        """Masks to start from, by frame index of the video as it is read now.

        Raises:
            VideoError: The video has other frames or another size than the masks.
        """
        chosen = self._chosen(row)
        if not chosen:
            return {}
        if (row.height, row.width) != (source.height, source.width):
            raise VideoError(f"is {source.width}x{source.height} pixels, its masks are {row.width}x{row.height}")
        places = {name: index for index, name in enumerate(source.frame_names)}
        unknown = [row.frames[index] for index in chosen if row.frames[index] not in places]
        if unknown:
            raise VideoError(f"has no frame {unknown[0]!r}, on which a mask is given")
        first = self._first_frame(source)
        by_index = {places[row.frames[index]]: rle for index in chosen if (rle := row.masks[index]) is not None}
        return {index: rle for index, rle in by_index.items() if index >= first}

    def _chosen(self, row: MaskRow) -> list[int]:
        """Indices into a row's frames: those whose masks count as given."""
        shown = [index for index, rle in enumerate(row.masks) if rle is not None]
        if not shown or not _is_given(row.status, row.source, self.settings.config):
            return []
        if self.settings.config.given == "keyframes":
            places = sorted(set(uniform_keyframes(len(shown), self.settings.config.num_keyframes)))
            return [shown[place] for place in places]
        return [index for index in shown if row.scores[index] == 1.0]

    def _first_frame(self, source: FrameSource) -> int:
        name = self.settings.config.from_frame
        if name is None:
            return 0
        if name not in source.frame_names:
            raise VideoError(f"has no frame {name!r}, which --from-frame names")
        return list(source.frame_names).index(name)


MISSING = "NoMasksError"
"""How the error of an expression begins that ``--masks`` has nothing of."""


def _is_given(status: str, source: str | None, config: RunConfig) -> bool:
    """Whether masks of a row count as given: those of every row, or of rows that a person or a tool corrected."""
    is_corrected = source not in (None, RowSource.MODEL, RowSource.ACCEPTED)
    return status == Status.OK and (config.given == "keyframes" or is_corrected)


def count_given(dataset: str, config: RunConfig) -> tuple[int, int]:
    """How many rows of a dataset have masks that count as given, and how many rows there are; masks are not read."""
    given = rows = 0
    for batch in MaskDataset(dataset).iter_row_batches(["status", "source"]):
        pairs = zip(batch["status"].to_pylist(), batch["source"].to_pylist(), strict=True)
        given += sum(_is_given(status, source, config) for status, source in pairs)
        rows += batch.num_rows
    return given, rows


def _changes(row: MaskRow, track: Track, given: list[int], source: FrameSource) -> dict[str, Any]:
    """Fields of a row that propagation changes."""
    return {
        "frames": list(source.frame_names),
        "keyframes": given,
        "masks": track.masks,
        "areas": track.areas,
        "bboxes": track.bboxes,
        "scores": track.scores,
        "score": track.score,
        "source": row.source or RowSource.MODEL.value,
    }
