"""The second half of the work on a video: its frames and prompt vectors to scored, run-length encoded tracks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.masks import areas_and_bboxes, encode_masks
from pipeline.model.background import Background
from pipeline.model.procedure import Procedure, keyframes_of
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import MaskChunk, MaskStream, SegmentOptions
from pipeline.model.score import TrackEvidence, gather_evidence, track_score
from pipeline.schema import Rle
from pipeline.video.frames import FrameSource

WAITING_BYTES = 2**28
"""Masks at full size that may wait for their run-length encoding."""


@dataclass
class Track:
    """One object through a video; all lists have one entry per frame.

    Attributes:
        masks: COCO run-lengths, ``None`` where the object is absent.
        areas: Pixels.
        bboxes: COCO ``[x, y, width, height]``, ``None`` where absent.
        scores: SAM 2's presence confidence, 0..1.
        score: One number for the track, see :func:`pipeline.model.score.track_score`; 0 if no frame shows it.
        evidence: What ``score`` is computed from.
        shared_with: ``(expression, object)`` numbers of the track that this one is a copy of; ``None`` for a track of
            its own.
    """

    masks: list[Rle | None] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    bboxes: list[list[float] | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    score: float = 0.0
    evidence: TrackEvidence | None = None
    shared_with: tuple[int, int] | None = None


def segment_video(
    segmenter: Segmenter,
    source: FrameSource,
    prompts: Sequence[np.ndarray],
    seg_probabilities: Sequence[Sequence[float]],
    procedure: Procedure,
    num_keyframes: int,
    options: SegmentOptions | None = None,
) -> list[list[Track]]:
    """Scored tracks of every expression of a video, all objects going through SAM 2 together.

    Args:
        segmenter: SAM 2.
        source: The frames.
        prompts: float32 ``[S, d_model]`` per expression; S may be 0.
        seg_probabilities: S probabilities per expression.
        procedure: Sa2VA-i's, Sa2VA's, or a mixture.
        num_keyframes: K.
        options: Batch sizes.

    Raises:
        VideoError: a frame cannot be read.
    """
    # of each object of the video: which expression it belongs to, and its number there
    objects = [(i, number) for i, vectors in enumerate(prompts) for number in range(len(vectors))]
    tracks: list[list[Track]] = [[] for _ in prompts]
    if not objects:
        return tracks
    together = np.concatenate([vectors for vectors in prompts if len(vectors)])
    keyframes = keyframes_of(source, procedure, num_keyframes)
    stream = MaskStream(segmenter, source, together, procedure, keyframes, options)
    distinct = encode_tracks(stream.masks(), len(set(stream.track_of)))
    for number, (i, k) in enumerate(objects):
        owner = stream.shared_with[number]
        track = replace(distinct[stream.track_of[number]], shared_with=None if owner == number else objects[owner])
        set_score(track, keyframes, seg_probabilities[i][k], stream.keyframe_ious[:, number])
        tracks[i].append(track)
    return tracks


def set_score(track: Track, keyframes: Sequence[int], seg_probability: float, keyframe_ious_K: np.ndarray) -> None:
    """Gather a track's evidence, and set its score by it.

    Args:
        track: With masks, areas, boxes and scores of every frame.
        keyframes: Frames of the first masks.
        seg_probability: Of the object's ``[SEG]``; 1 where no language model took part.
        keyframe_ious_K: Predicted IoU of each first mask.
    """
    track.evidence = gather_evidence(
        masks=track.masks,
        areas=track.areas,
        bboxes=track.bboxes,
        scores=track.scores,
        keyframes=keyframes,
        seg_probability=seg_probability,
        keyframe_ious=keyframe_ious_K,
    )
    track.score = track_score(track.evidence) if any(track.areas) else 0.0


def encode_tracks(chunks: Iterable[MaskChunk], count: int) -> list[Track]:
    """Run-length encode the masks of ``count`` distinct tracks as they come, in time order; scores are left 0.

    Encoding runs in a thread of its own, so that the model works on the next frames meanwhile.
    """
    tracks = [Track() for _ in range(count)]

    def encode(chunk: MaskChunk) -> None:
        _append(tracks, chunk)

    with Background[MaskChunk](encode, size_of=lambda chunk: chunk.masks.nbytes, limit=WAITING_BYTES) as encoder:
        for chunk in chunks:
            encoder.put(chunk)
    return tracks


def _append(tracks: Sequence[Track], chunk: MaskChunk) -> None:
    encoded = encode_masks(chunk.masks)
    areas, bboxes = areas_and_bboxes(encoded)
    for row, number in enumerate(chunk.tracks):
        track = tracks[number]
        track.masks.append(encoded[row])
        track.areas.append(areas[row])
        track.bboxes.append(bboxes[row])
        track.scores.append(float(chunk.presence[row]))
