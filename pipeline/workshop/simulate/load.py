"""What a simulated run works on: videos as numbers of frames and expressions, and what they cost."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.engine.schedule import number_of_parts, sizes_of_parts, work_of


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One video, or a part of one."""

    frames: int
    expressions: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Seconds on one GPU, as ``python -m pipeline.workshop.bench`` measures them; a video's cost is linear in each."""

    ground_video_s: float = 0.5
    """Reading keyframes and running the vision tower."""
    ground_expression_s: float = 0.15
    """The language model's answer to one expression."""
    encode_frame_s: float = 0.03
    """SAM 2's image encoder, once a frame."""
    propagate_object_s: float = 0.012
    """Memory attention and decoder, for each object on each frame."""

    def ground_s(self, clip: Clip) -> float:
        """Time of the Ground stage."""
        return self.ground_video_s + self.ground_expression_s * clip.expressions

    def segment_s(self, clip: Clip) -> float:
        """Time of the Segment stage."""
        return clip.frames * (self.encode_frame_s + self.propagate_object_s * clip.expressions)

    def scaled(self, factor: float) -> "Costs":
        """Everything ``factor`` times as expensive."""
        return Costs(**{name: value * factor for name, value in asdict(self).items()})


def mevis_like(videos: int, seed: int = 0) -> list[Clip]:
    """Lengths and expression counts as in MeViS: about 80 frames (20 to 200) and 16 expressions (6 to 30) a video."""
    draw = random.Random(seed)
    return [
        Clip(
            frames=min(200, max(20, round(draw.gauss(80, 30)))),
            expressions=min(30, max(6, round(draw.gauss(16, 5)))),
        )
        for _ in range(videos)
    ]


def long_tailed(videos: int, seed: int = 0) -> list[Clip]:
    """Mostly short clips with few expressions, and a few that are a hundred times as much work."""
    draw = random.Random(seed)
    return [
        Clip(
            frames=min(9000, round(40 * draw.paretovariate(1.2))),
            expressions=min(100, round(2 * draw.paretovariate(1.3))),
        )
        for _ in range(videos)
    ]


LOADS = {"mevis": mevis_like, "long-tailed": long_tailed}


def split_long(clips: Sequence[Clip], workers: int) -> list[Clip]:
    """Split the expressions of videos that alone would keep one worker busy for longer than a fair share.

    A part encodes the frames again, so a video is split only as far as that pays, by the same rule as in the real job.
    """
    average = sum(work_of(clip.frames, clip.expressions) for clip in clips) / workers
    return [part for clip in clips for part in _parts(clip, average)]


def longest_first(clips: Sequence[Clip], costs: Costs) -> list[Clip]:
    """The same clips, those that take longest first: what is short fills the gaps at the end."""
    return sorted(clips, key=costs.segment_s, reverse=True)


def _parts(clip: Clip, average: float) -> list[Clip]:
    parts = number_of_parts(clip.frames, clip.expressions, average)
    return [Clip(frames=clip.frames, expressions=size) for size in sizes_of_parts(clip.expressions, parts)]
