"""Collecting the masks of a video's objects frame by frame into run-length encoded tracks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.masks import areas_and_bboxes, encode_masks
from pipeline.model.background import Background
from pipeline.model.inference import SegmentedFrame, SegmentOptions, TrackEvidence, segment_video
from pipeline.model.procedure import Procedure
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.score import Evidence, gather_evidence, track_score
from pipeline.schema import Rle
from pipeline.video.frames import FrameSource

FRAMES_AHEAD = 4
"""Frames that may wait for the encoder of run-lengths."""


@dataclass
class Track:
    """One object through a video; all lists have one entry per frame.

    Attributes:
        masks: COCO run-lengths, ``None`` where the object is absent.
        areas: Pixels.
        bboxes: COCO ``[x, y, width, height]``, ``None`` where absent.
        scores: SAM 2's presence confidence, 0..1.
        score: One number for the track, see :func:`pipeline.model.score.track_score`; 0 if no frame shows it.
        evidence: What ``score`` is made of.
        shared_with: Number of the expression and of its object whose track this is too, if it has none of its own.
    """

    masks: list[Rle | None] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    bboxes: list[list[float] | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    score: float = 0.0
    evidence: Evidence | None = None
    shared_with: tuple[int, int] | None = None


def segment_tracks(
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
    chances = [chance for one in seg_probabilities for chance in one]
    if not chances:
        return [[] for _ in prompts]
    evidence: list[TrackEvidence] = []
    together = np.concatenate([one for one in prompts if len(one)])
    frames = segment_video(
        segmenter, source, together, procedure, num_keyframes, options=options, on_keyframes=evidence.append
    )
    tracks = collect_tracks(frames, len(together))
    places = [(number, k) for number, one in enumerate(seg_probabilities) for k in range(len(one))]
    found = evidence[0]
    for number, (track, chance, ious) in enumerate(zip(tracks, chances, found.keyframe_ious.T, strict=True)):
        _judge(track, found.keyframes, chance, ious)
        owner = found.shared_with[number]
        track.shared_with = places[owner] if owner != number else None
    remaining = iter(tracks)
    return [[next(remaining) for _ in one] for one in seg_probabilities]


def _judge(track: Track, keyframes: Sequence[int], seg_probability: float, keyframe_ious: np.ndarray) -> None:
    track.evidence = gather_evidence(
        masks=track.masks,
        areas=track.areas,
        bboxes=track.bboxes,
        scores=track.scores,
        keyframes=keyframes,
        seg_probability=seg_probability,
        keyframe_ious=keyframe_ious,
    )
    track.score = track_score(track.evidence) if any(track.areas) else 0.0


def collect_tracks(frames: Iterable[SegmentedFrame], count: int) -> list[Track]:
    """Encode the masks of ``count`` objects as they come, frame by frame in time order.

    Encoding runs in a thread of its own, so that the model works on the next frames meanwhile.
    """
    tracks = [Track() for _ in range(count)]
    with Background[SegmentedFrame](lambda frame: _add(tracks, frame), ahead=FRAMES_AHEAD) as encoder:
        for frame in frames:
            encoder.put(frame)
    return tracks


def _add(tracks: Sequence[Track], frame: SegmentedFrame) -> None:
    encoded = encode_masks(frame.masks)
    areas, bboxes = areas_and_bboxes(encoded)
    for track, row in zip(tracks, frame.track_of, strict=True):
        track.masks.append(encoded[row])
        track.areas.append(areas[row])
        track.bboxes.append(bboxes[row])
        track.scores.append(float(frame.presence[row]))
