"""The Segment stage: prompt vectors to masks on every frame."""

from collections.abc import Mapping

import pyarrow as pa

from pipeline.dataset.notes import RowKey, VideoNote, notes_to_metadata
from pipeline.dataset.sources import source_of
from pipeline.dataset.tables import row_table
from pipeline.engine.model_files import model_on_this_node
from pipeline.engine.settings import WorkerSettings
from pipeline.engine.stage import PoolSpec, Row, Stage
from pipeline.model.checkpoint.open import open_checkpoint
from pipeline.model.device import resolve_dtype
from pipeline.model.presence import Calibration
from pipeline.model.procedure import keyframes_of
from pipeline.model.rows import mask_rows
from pipeline.model.sam2.propagation import check_procedure
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import SegmentOptions
from pipeline.model.segment import Track, segment_video
from pipeline.schema import MaskRow, VideoTask, failed_rows
from pipeline.stages.rows import GROUNDED_SCHEMA, SEGMENTED_SCHEMA, GroundedVideo, grounded_of, task_of, to_ipc
from pipeline.video.frames import FrameSource
from pipeline.video.isolated import IsolatedDecoder


class Segment(Stage):
    """One segmenting worker: SAM 2 on its device, and a decoder that may be killed."""

    name = "segment"
    input_schema = GROUNDED_SCHEMA
    output_schema = SEGMENTED_SCHEMA
    pool = PoolSpec(worker="segmenter", gpu_share=3, shares_gpus=True)

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        config = settings.config
        self.procedure = config.resolved_procedure()
        files, model = open_checkpoint(model_on_this_node(settings.model))
        settings.use_threads(model.grounding.image_size)
        device = settings.device(self.name)
        self.segmenter = Segmenter.from_checkpoint(
            files, model, device=device, dtype=resolve_dtype(config.dtype, device)
        )
        check_procedure(self.segmenter, self.procedure)
        self.calibration = settings.calibration or Calibration.of_checkpoint(files.directory)
        self.options = SegmentOptions(
            frames_per_batch=config.frames_per_batch or (4 if device.type == "cuda" else 1),
            max_objects=config.max_objects,
            merge_tracks=config.merge_tracks,
        )
        if config.compile:
            self.segmenter.compile_steps(self.options.frames_per_batch)
        self.decoder = IsolatedDecoder(timeout_s=config.decode_timeout_s)

    def process(self, row: Row) -> Row:
        """See :class:`Stage`: the rows of the dataset for every expression of a video."""
        video = grounded_of(row)
        return segmented_row(video.task, *self._segment(video))

    @classmethod
    def failed(cls, row: Row, message: str) -> Row:
        """See :class:`Stage`."""
        task = task_of(row)
        return segmented_row(task, failed_rows(task, message))

    def masks_in(self, result: Row) -> int:
        """See :class:`Stage`."""
        masks: int = result["masks_done"]
        return masks

    def close(self) -> None:
        """End the decoder's process."""
        if hasattr(self, "decoder"):
            self.decoder.close()

    def _segment(self, video: GroundedVideo) -> tuple[list[MaskRow], dict[RowKey, RowKey]]:
        """A video's rows, and which of them were given the track of another one because it is similar."""
        task = video.task
        with self.decoder.open(task.video, self.settings.selection(task.frames), self.settings.limits()) as source:
            tracks = segment_video(
                self.segmenter,
                source,
                video.prompts,
                video.seg_probabilities,
                self.procedure,
                self.settings.config.num_keyframes,
                self.options,
            )
            rows = []
            for i, expression_tracks in enumerate(tracks):
                rows += self._rows(video, i, expression_tracks, source)
            return rows, self._shared(video, tracks) if self.options.merge_tracks is not None else {}

    def _shared(self, video: GroundedVideo, tracks: list[list[Track]]) -> dict[RowKey, RowKey]:
        ids = [expression.expression_id for expression in video.task.expressions]
        return {
            (ids[i], number): (ids[track.shared_with[0]], track.shared_with[1])
            for i, found in enumerate(tracks)
            for number, track in enumerate(found)
            if track.shared_with is not None
        }

    def _rows(self, video: GroundedVideo, i: int, tracks: list[Track], source: FrameSource) -> list[MaskRow]:
        """The rows of the video's expression number ``i``."""
        expression = video.task.expressions[i]
        return mask_rows(
            video_id=video.task.video_id,
            expression_id=expression.expression_id,
            expression=expression.text,
            answer=video.answers[i],
            tracks=tracks,
            frame_names=source.frame_names,
            keyframes=keyframes_of(source, self.procedure, self.settings.config.num_keyframes),
            height=source.height,
            width=source.width,
            notes=[video.notes[i], source.note],
            presence=self.calibration.of_tracks(video.yes_probabilities[i], tracks),
            error=video.expression_errors[i],
        )


def segmented_row(task: VideoTask, rows: list[MaskRow], shared: Mapping[RowKey, RowKey] | None = None) -> Row:
    """A row of SEGMENTED_SCHEMA, without the seconds; ``rows`` get the terms that the manifest has for the video."""
    for row in rows:
        row.license = task.license or row.license
        row.video_source = task.video_source or row.video_source
    table = pa.concat_tables([row_table(row) for row in rows])
    notes = notes_to_metadata({task.video_id: VideoNote(source=source_of(task), shared=shared or {})})
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **notes})
    return {
        "video_id": task.video_id,
        "expression_ids": [expression.expression_id for expression in task.expressions],
        "rows": to_ipc(table),
        "frames_done": max((len(row.frames) for row in rows), default=0),
        "masks_done": sum(mask is not None for row in rows for mask in row.masks),
    }
