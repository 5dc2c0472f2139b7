"""Masks that are given on some frames of an object, carried through the rest of its video by SAM 2.

No language model takes part: the given masks stand in the place of the first masks that it would prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.masks import areas_and_bboxes, decode_masks
from pipeline.model.procedure import Procedure
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import MaskStream, SegmentOptions
from pipeline.model.segment import Track, encode_tracks, set_score
from pipeline.schema import Rle
from pipeline.video.frames import FrameSource
from pipeline.video.section import Section


def propagate_masks(
    segmenter: Segmenter,
    source: FrameSource,
    objects: Sequence[Mapping[int, Rle]],
    procedure: Procedure,
    options: SegmentOptions | None = None,
    *,
    first_frame: int = 0,
) -> list[Track]:
    """Tracks of objects whose masks are given on some frames; on these frames they are the tracks' masks, unchanged.

    From the first given frame on the video is gone through forwards, with all given masks in memory; frames before it
    are gone through backwards from there. Objects with masks on the same frames go together, others by themselves.

    Args:
        segmenter: SAM 2.
        source: The frames.
        objects: Of each object: masks by frame index, at least one, none empty, of the video's size.
        procedure: Decides which decoder propagates.
        options: Batch sizes.
        first_frame: Before it no object is there.

    Raises:
        VideoError: a frame cannot be read.
        ValueError: a mask is invalid or of another size.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, masks in enumerate(objects):
        groups.setdefault(tuple(sorted(masks)), []).append(number)
    tracks: dict[int, Track] = {}
    run = _Run(segmenter, source, procedure, options, first_frame)
    for frames, members in groups.items():
        tracks.update(zip(members, run.tracks(frames, [objects[number] for number in members]), strict=True))
    return [tracks[number] for number in range(len(objects))]


@dataclass(frozen=True)
class _Run:
    """What is the same for all objects of a video."""

    segmenter: Segmenter
    source: FrameSource
    procedure: Procedure
    options: SegmentOptions | None
    first_frame: int

    def tracks(self, frames: Sequence[int], objects: Sequence[Mapping[int, Rle]]) -> list[Track]:
        """Of objects whose masks are given on the same frames, ascending."""
        start, count = frames[0], len(self.source)
        later = self._one_way(range(start, count), frames, objects)
        earlier = self._one_way(range(start, self.first_frame - 1, -1), frames[:1], objects)
        tracks = []
        for after, before, masks in zip(later, earlier, objects, strict=True):
            track = Track(
                masks=[None] * self.first_frame + before.masks[:0:-1] + after.masks,
                scores=[0.0] * self.first_frame + before.scores[:0:-1] + after.scores,
            )
            for index, rle in masks.items():  # the tracker gives them back at its own low resolution
                track.masks[index] = rle
            track.areas, track.bboxes = areas_and_bboxes(track.masks)
            set_score(track, frames, 1.0, np.ones(len(frames), np.float32))
            tracks.append(track)
        return tracks

    def _one_way(self, way: range, frames: Sequence[int], objects: Sequence[Mapping[int, Rle]]) -> list[Track]:
        """Tracks along ``way``, which begins on a given frame, with the masks that are given on ``frames``."""
        height, width = self.source.height, self.source.width
        if len(way) == 1:
            return [Track(masks=[masks[way[0]]], scores=[1.0]) for masks in objects]
        given = {way.index(i): decode_masks([masks[i] for masks in objects], height, width) for i in frames}
        prompts = np.zeros((len(objects), self.segmenter.config.d_model), np.float32)
        stream = MaskStream(
            self.segmenter, Section(self.source, way), prompts, self.procedure, sorted(given), self.options, given=given
        )
        return encode_tracks(stream.masks(), len(objects))
